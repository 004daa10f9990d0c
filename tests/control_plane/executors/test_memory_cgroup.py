"""Groups that limit memory, of both versions: where they are made, what is written, how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from pathlib import Path

import pytest

from copilot.control_plane.executors.processes.memory_cgroup import (
    V2,
    MemoryCgroup,
    make_memory_cgroup,
    memory_limits_work,
    places,
)

TOP = Path("/g")
JOINS = ["/bin/sh", "-c", 'echo 0 >"$1" && exec sleep 600', "sh"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["4:memory:/a/b", "1:cpu:/", "0::/"], [(TOP / "memory/a/b", 1), (TOP / "memory", 1), (TOP, V2)]),
        (["5:cpu,memory:/"], [(TOP / "memory", 1)]),
        (["0::/user.slice/x.scope"], [(TOP / "user.slice/x.scope", V2), (TOP / "user.slice", V2)]),
        (["0::/"], [(TOP, V2)]),
        (["1:cpu:/a"], []),
        ([], []),
    ],
)
def test_groups_are_made_where_the_kernel_may_allow_it(lines: list[str], expected: list[tuple[Path, int]]) -> None:
    assert places(lines, TOP) == expected


def test_version_2_is_told_the_limit_that_swap_is_none_of_it_and_that_the_group_dies_whole(tmp_path: Path) -> None:
    group = make_memory_cgroup("g", 64_000_000, (tmp_path, V2))
    assert group is not None
    said = {each.name: each.read_text() for each in group.path.iterdir()}
    assert said == {"memory.max": "64000000", "memory.swap.max": "0", "memory.oom.group": "1"}


@pytest.mark.parametrize(("version", "file"), [(1, "memory.oom_control"), (V2, "memory.events")])
def test_what_the_kernel_killed_is_counted(tmp_path: Path, version: int, file: str) -> None:
    group = MemoryCgroup(tmp_path, version)
    assert group.oom_kills() == 0
    (tmp_path / file).write_text("low 0\nunder_oom 0\noom 3\noom_kill 2\noom_group_kill 1\n")
    assert group.oom_kills() == 2


def hierarchies() -> list[tuple[Path, int]]:
    """A place in each real hierarchy that this process may make groups in."""
    found = []
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split(" ")
        version = V2 if kind == "cgroup2" else 1 if kind == "cgroup" and "memory" in options.split(",") else 0
        if version and place.startswith("/sys/fs/cgroup") and os.access(place, os.W_OK):
            found.append((Path(place), version))
    return found


def test_a_group_ends_with_everything_in_it_in_every_hierarchy_of_this_machine() -> None:
    # Where there is none nothing is limited, and the run's events say so.
    assert hierarchies() or not memory_limits_work()
    for parent, version in hierarchies():
        group = MemoryCgroup(parent / f"copilot-test-{uuid.uuid4().hex}", version)
        group.path.mkdir()
        processes = [subprocess.Popen([*JOINS, str(group.procs)]) for _ in range(5)]
        while len(group.procs.read_text().split()) < len(processes):
            assert all(each.poll() is None for each in processes), "it could not join"
        assert group.oom_kills() == 0
        group.kill_all()
        group.remove()  # though some may still be dying
        assert not group.path.exists()
        assert [each.wait() for each in processes] == [-signal.SIGKILL] * len(processes)
