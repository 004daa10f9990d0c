"""One file with all that copilot exec needs, as others' images would have it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

COPILOT = Path(sys.executable).with_name("copilot")


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("single") / "copilot"
    done = subprocess.run(
        [str(COPILOT), "install", "--single-file", str(path), "--json"], capture_output=True, text=True, check=True
    )
    facts = json.loads(done.stdout)
    assert (facts["files"], facts["changed"], facts["size_bytes"]) == (1, True, path.stat().st_size)
    return path


def start(single: Path, place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.defpath, "COPILOT_UNPACK_DIR": str(place)}
    return subprocess.run([str(single), *arguments], env=environ, capture_output=True, text=True, check=False)


def test_it_runs_a_command_keeps_its_exit_code_and_unpacks_once(single: Path, tmp_path: Path) -> None:
    control = tmp_path / "control"
    control.mkdir()
    command = ("exec", "--control-dir", str(control), "--", "/bin/sh", "-c", "echo hello; exit 7")
    first = start(single, tmp_path, *command)
    assert (first.returncode, first.stdout) == (7, "hello\n"), first.stderr
    assert "7" in (control / "exitcode").read_text()
    (unpacked,) = tmp_path.glob("copilot-*")
    before = unpacked.stat().st_mtime_ns
    assert start(single, tmp_path, *command).returncode == 7
    assert unpacked.stat().st_mtime_ns == before
    assert oct(unpacked.stat().st_mode & 0o777) == "0o700"


def test_the_same_copilot_gives_the_same_file(single: Path, tmp_path: Path) -> None:
    again = tmp_path / "copilot"
    subprocess.run([str(COPILOT), "install", "--single-file", str(again)], capture_output=True, check=True)
    assert again.read_bytes() == single.read_bytes()


def test_many_at_once_unpack_it_in_each_other_s_way_and_all_run(single: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda number: start(single, tmp_path, "exec", "--", "/bin/echo", str(number)), range(6)))
    assert [each.stdout for each in done] == [f"{number}\n" for number in range(6)], [each.stderr for each in done]


def test_where_nothing_can_be_written_it_says_what_to_set(single: Path, tmp_path: Path) -> None:
    done = start(single, tmp_path / "nowhere", "exec", "--", "/bin/true")
    assert done.returncode == 1
    assert "set COPILOT_UNPACK_DIR" in done.stderr
