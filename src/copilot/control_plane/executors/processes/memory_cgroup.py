"""A memory limit that the kernel enforces, where this process may make control groups (versions 1 and 2)."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path("/sys/fs/cgroup")
V2: Final = 2
_BUSY_S: Final = 1.0
_BUSY_AGAIN_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class MemoryCgroup:
    """One container's group."""

    path: Path
    version: int

    @property
    def procs(self) -> Path:
        """Who writes ``0`` here moves in."""
        return self.path / "cgroup.procs"

    def oom_kills(self) -> int:
        """How many of its processes the kernel killed for want of memory."""
        file = self.path / ("memory.events" if self.version == V2 else "memory.oom_control")
        with contextlib.suppress(OSError, ValueError):
            for line in file.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
        return 0

    def kill_all(self) -> None:
        """SIGKILL to whatever is still in it."""
        with contextlib.suppress(OSError, ValueError):
            for pid in self.procs.read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def remove(self) -> None:
        """Takes the group away. What was just killed in it may take a moment to be gone."""
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                self.path.rmdir()
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    return
                self.kill_all()  # one that was being forked while the others were killed
                time.sleep(_BUSY_AGAIN_S)
            else:
                return


def make_memory_cgroup(name: str, limit_bytes: int, place: tuple[Path, int] | None = None) -> MemoryCgroup | None:
    """A new group with that limit, or None where that is not permitted.

    Args:
        name: its name.
        limit_bytes: its limit; swap counts too.
        place: the group it is made in and the version of control groups; by default below our own.
    """
    place = place or _parent()
    if place is None:
        return None
    parent, version = place
    group = MemoryCgroup(parent / name, version)
    try:
        group.path.mkdir(exist_ok=True)
        if version == V2:
            (group.path / "memory.max").write_text(str(limit_bytes))
            for file, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
                with contextlib.suppress(OSError):
                    (group.path / file).write_text(value)
        else:
            (group.path / "memory.limit_in_bytes").write_text(str(limit_bytes))
            with contextlib.suppress(OSError):
                (group.path / "memory.memsw.limit_in_bytes").write_text(str(limit_bytes))
    except OSError:
        group.remove()
        return None
    return group


def group_name(uid: str, container: str, attempt: int) -> str:
    """The group of one run of a pod's container."""
    return f"copilot-{uid}-{container}-{attempt}"


def remove_groups(uid: str) -> None:
    """Ends what is left in a pod's groups, and takes them away: for a pod whose supervisor is gone."""
    place = _parent()
    if place is None:
        return
    parent, version = place
    for path in parent.glob(f"copilot-{uid}-*"):
        group = MemoryCgroup(path, version)
        group.kill_all()
        group.remove()


def memory_limits_work() -> bool:
    """This process may make groups with a memory limit."""
    return _parent() is not None


@functools.cache
def _parent() -> tuple[Path, int] | None:
    """The group below which ours are made, and the version of control groups; None where there is no way."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    return next(((path, version) for path, version in places(lines) if _usable(path, version)), None)


def places(lines: Sequence[str], root: Path = ROOT) -> list[tuple[Path, int]]:
    """Where groups may be made, best first, from the lines of ``/proc/self/cgroup``. Pure.

    With version 1 a group may hold both processes and groups, so below our own, else at the top. With version 2 a group with
    processes may not limit the groups in it: our own serves only where the kernel makes an exception (the top), else beside us.
    """
    first: list[tuple[Path, int]] = []
    second: list[tuple[Path, int]] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        own = path.lstrip("/")
        if "memory" in controllers.split(","):
            first = [(root / "memory" / own, 1), (root / "memory", 1)]
        elif not controllers:
            second = [(root / own, V2), *([((root / own).parent, V2)] if own else [])]
    return list(dict.fromkeys(first + second))


def _usable(parent: Path, version: int) -> bool:
    trial = parent / f"copilot-trial-{os.getpid()}"
    try:
        if version == V2 and (parent / "cgroup.subtree_control").exists():
            with contextlib.suppress(OSError):
                (parent / "cgroup.subtree_control").write_text("+memory")
        trial.mkdir()
    except OSError:
        return False
    try:
        return (trial / ("memory.max" if version == V2 else "memory.limit_in_bytes")).exists()
    finally:
        with contextlib.suppress(OSError):
            trial.rmdir()
