"""``copilot install``: the wrapper runs where there is nothing: no Python, no shell, another C library, or none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot.control_plane.pods.settings import BIN_DIR, PodSettings
from copilot.wrapper.install import Installed, install

COPILOT = Path(sys.executable).with_name("copilot")
BUSYBOX = "/bin/busybox"
MUSL_GCC = "/usr/bin/musl-gcc"
SEEN_AT = "/copilot"
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) { printf("musl says %s\n", argv[1]); return atoi(argv[2]); }
"""


class Installation:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.done: Installed = install(directory, mounted_at=SEEN_AT)

    def run(
        self, root: Path, control: Path, *command: str, environ: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """In a root of its own that holds nothing but the installation, the control directory and what is in ``root``."""
        binds = ["--ro-bind", str(root), "/", "--ro-bind", str(self.directory), SEEN_AT, "--bind", str(control), "/control"]
        argv = [*self.done.argv, "exec", "--control-dir", "/control", "--", *command]
        return subprocess.run(
            ["/usr/bin/bwrap", "--unshare-pid", "--as-pid-1", *binds, *argv],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=environ or {},
        )


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("installed") / "bin")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A root file system with mount points and nothing else."""
    place = tmp_path / "root"
    for name in (SEEN_AT, "/control"):
        (place / name.lstrip("/")).mkdir(parents=True)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def control(tmp_path: Path) -> Path:
    place = tmp_path / "control"
    place.mkdir()
    return place


def code_of(control: Path) -> int:
    return int(json.loads((control / "exitcode").read_text())["code"])


def test_an_image_with_one_static_binary_and_nothing_else(installation: Installation, root: Path, control: Path) -> None:
    shutil.copy(BUSYBOX, root / "busybox")
    done = installation.run(root, control, "/busybox", "sh", "-c", "echo static; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "static\n", "")
    assert code_of(control) == 3


def test_an_image_with_another_c_library(installation: Installation, root: Path, control: Path, tmp_path: Path) -> None:
    source = tmp_path / "program.c"
    source.write_text(PROGRAM)
    subprocess.run([MUSL_GCC, "-o", root / "task", source], check=True)
    loader = next(Path("/lib").glob("ld-musl-*.so.1"))
    (root / "lib").mkdir()
    shutil.copy(loader.resolve(), root / "lib" / loader.name)
    done = installation.run(root, control, "/task", "hello", "7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "musl says hello\n", "")
    assert code_of(control) == 7


def test_an_image_without_anything(installation: Installation, root: Path, control: Path) -> None:
    done = installation.run(root, control, "/task")
    assert (done.returncode, code_of(control)) == (127, 127)


def test_the_images_own_python_and_variables_are_not_looked_at(installation: Installation, root: Path, control: Path) -> None:
    shutil.copy(BUSYBOX, root / "busybox")
    environ = {"PYTHONHOME": "/no", "PYTHONPATH": "/no", "LD_LIBRARY_PATH": "/no", "LC_ALL": "xx_YY", "PYTHONUTF8": "what"}
    done = installation.run(root, control, "/busybox", "env", environ=environ)
    assert (done.returncode, done.stderr) == (0, "")
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert {name: value for name, value in seen.items() if name != "PWD"} == environ


def test_pods_start_the_wrapper_as_it_is_installed_whatever_the_loaders_name_is(tmp_path: Path) -> None:
    assert install(tmp_path / "bin", mounted_at=BIN_DIR).argv == PodSettings().wrapper


def test_a_second_installation_changes_nothing_and_a_damaged_one_is_made_whole(tmp_path: Path) -> None:
    first = install(tmp_path / "bin")
    assert first.changed
    assert not install(tmp_path / "bin").changed
    (tmp_path / "bin" / "installed.json").unlink()
    again = install(tmp_path / "bin")
    assert (again.changed, again.files) == (True, first.files)
    assert subprocess.run([*again.argv, "exec", "--", "/bin/true"], check=False, env={}).returncode == 0
    assert [path.name for path in (tmp_path / "bin").iterdir() if path.name.startswith(".")] == []


def test_it_is_small(installation: Installation) -> None:
    interpreter = sum(path.stat().st_size for path in installation.directory.glob("lib/libpython*")) + (
        (installation.directory / "bin" / "python3").stat().st_size
    )
    assert installation.done.files < 80
    assert installation.done.size_bytes - interpreter < 8 * 1024 * 1024


def test_the_command_prints_what_to_write_and_the_script_does_the_same(tmp_path: Path) -> None:
    printed = subprocess.run([COPILOT, "install", tmp_path / "bin"], capture_output=True, text=True, check=True).stdout
    argv = printed.split()
    script = [str(tmp_path / "bin" / "copilot")]
    for prefix in (argv, script):
        control = tmp_path / f"control-{len(prefix)}"
        done = subprocess.run([*prefix, "exec", "--control-dir", control, "--", "/bin/sh", "-c", "exit 5"], check=False, env={})
        assert (done.returncode, code_of(control)) == (5, 5)
        (control / "ARMED").touch()
        assert subprocess.run([*prefix, "probe", "--control-dir", control], check=False).returncode == 0
    assert subprocess.run([*script, "sidecar"], capture_output=True, check=False).returncode == 2


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [COPILOT, "install", tmp_path / "file"], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert done.returncode == 22
    assert len(done.stderr.splitlines()) == 1
