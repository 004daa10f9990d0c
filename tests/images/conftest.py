"""The images, built once a session without a network, on a base made with debootstrap."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from copilot import __version__

ROOT = Path(__file__).parents[2]
BASE = "localhost/copilot-test-base:bookworm"
TASK = "localhost/copilot-test-task:busybox"
PATH = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SETTINGS = """[containers]
default_ulimits = ["nofile=1024:1024","nproc=1000:1000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Podman:
    """Podman with settings of its own."""

    def __init__(self, directory: Path) -> None:
        settings = directory / "containers.conf"
        settings.write_text(SETTINGS)
        self.environ = {**os.environ, "CONTAINERS_CONF": str(settings), "BASE_IMAGE": BASE, "BUILDER": "podman"}

    def call(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        command = ["/usr/bin/podman", *arguments]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, check=False, timeout=timeout_s)

    def __call__(self, *arguments: str, timeout_s: float = 120) -> str:
        done = self.call(*arguments, timeout_s=timeout_s)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout.strip()

    def has(self, image: str) -> bool:
        return self.call("image", "exists", image).returncode == 0

    def import_tree(self, tree: Path, image: str) -> None:
        with subprocess.Popen(["/bin/tar", "-C", str(tree), "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(
                ["/usr/bin/podman", "import", "-q", "--change", PATH, "-", image],
                stdin=tar.stdout,
                env=self.environ,
                check=True,
                capture_output=True,
                timeout=300,
            )


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Podman:
    return Podman(tmp_path_factory.mktemp("podman"))


Build = Callable[[str], None]


@pytest.fixture(scope="session")
def build(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Builds an image anew from this tree, once."""
    if not podman.has(BASE):
        tree = tmp_path_factory.mktemp("base") / "root"
        subprocess.run(
            ["/usr/sbin/debootstrap", "--variant=minbase", "--include=python3,ca-certificates", "bookworm", str(tree)],
            check=True,
            capture_output=True,
            timeout=600,
        )
        podman.import_tree(tree, BASE)

    @functools.cache
    def build(target: str) -> None:
        command = [str(ROOT / "scripts" / "image"), target]
        done = subprocess.run(command, env=podman.environ, capture_output=True, text=True, check=False, timeout=900)
        assert done.returncode == 0, done.stderr

    return build


@pytest.fixture(scope="session")
def copilot_image(build: Build) -> str:
    """The data plane's image."""
    build("copilot")
    return f"localhost/copilot:{__version__}"


@pytest.fixture(scope="session")
def task_image(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Somebody's image: one static program, and no C library."""
    tree = tmp_path_factory.mktemp("task")
    (tree / "bin").mkdir()
    (tree / "tmp").mkdir(mode=0o1777)
    (tree / "bin" / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (tree / "bin" / "busybox").chmod(0o755)
    (tree / "bin" / "sh").symlink_to("busybox")
    podman.import_tree(tree, TASK)
    return TASK


@pytest.fixture(scope="session")
def images(copilot_image: str, task_image: str) -> tuple[str, str]:
    return copilot_image, task_image
