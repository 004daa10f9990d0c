"""One file with all of the data plane, or with copilot exec alone, in images of others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core import idl

if TYPE_CHECKING:
    from copilot.testing.servers.s3 import S3Server

COPILOT = Path(sys.executable).with_name("copilot")
BUSYBOX = "/bin/busybox"
#: What the file needs of an image, and what the tests need to look around.
PROGRAMS = ("sh", "id", "mkdir", "mv", "rm", "tail", "tar", "gzip", "cat", "expr", "sleep", "test")
MEBIBYTE = 1024 * 1024
WAIT = "while [ ! -e /control/ARMED ] && kill -0 $p; do sleep 0.1; done"


def write(path: Path, *flags: str) -> Path:
    done = subprocess.run(
        [str(COPILOT), "install", "--single-file", *flags, str(path), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["files"], facts["changed"], facts["size_bytes"]) == (1, True, path.stat().st_size)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("small") / "copilot", "--only-exec")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("whole") / "copilot")


class Image:
    """A root file system with busybox and the one file: no Python, no C library, no certificates; nothing of this machine."""

    def __init__(self, root: Path, file: Path, memory: Path) -> None:
        self.root, self.file, self.memory = root, file, memory
        memory.chmod(0o777)
        for name in ("bin", "tmp", "proc", "dev", "job/in", "job/out", "etc", "control", "usr/local/bin"):
            (root / name).mkdir(parents=True)
        (root / "bin" / "busybox").write_bytes(Path(BUSYBOX).read_bytes())
        (root / "bin" / "busybox").chmod(0o755)
        for name in PROGRAMS:
            (root / "bin" / name).symlink_to("busybox")
        (root / "usr" / "local" / "bin" / "copilot").touch()

    def start(
        self, *arguments: str, environ: Mapping[str, str], writable: tuple[str, ...] = ("/tmp", "/job"), uid: int = 65532
    ) -> subprocess.Popen[str]:
        """Read-only but for ``writable``, as a user without rights, on this machine's network."""
        binds = ["--ro-bind", str(self.root), "/", "--ro-bind", str(self.file), "/usr/local/bin/copilot"]
        for place in writable:
            (self.root / place.lstrip("/")).chmod(0o777)
            binds += ["--bind", str(self.root / place.lstrip("/")), place]
        binds += ["--bind", str(self.memory), "/control"]
        apart = ["--unshare-user", "--uid", str(uid), "--gid", str(uid), "--unshare-pid", "--die-with-parent", "--clearenv"]
        given = [
            word for name, value in {"PATH": "/usr/local/bin:/bin", **environ}.items() for word in ("--setenv", name, value)
        ]
        command = ["/usr/bin/bwrap", *apart, *given, *binds, "--proc", "/proc", "--dev", "/dev", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={})

    def run(
        self, *arguments: str, environ: Mapping[str, str] | None = None, writable: tuple[str, ...] = ("/tmp", "/job")
    ) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments, environ=environ or {}, writable=writable) as process:
            try:
                out, err = process.communicate(timeout=60)
            finally:
                process.kill()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def start(single: Path, place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.defpath, "TMPDIR": str(place)}
    return subprocess.run([str(single), *arguments], env=environ, capture_output=True, text=True, check=False)


def test_it_runs_a_command_keeps_its_exit_code_and_unpacks_once(small: Path, tmp_path: Path) -> None:
    control = tmp_path / "control"
    control.mkdir()
    command = ("exec", "--control-dir", str(control), "--", "/bin/sh", "-c", "echo hello; exit 7")
    first = start(small, tmp_path, *command)
    assert (first.returncode, first.stdout) == (7, "hello\n"), first.stderr
    assert "7" in (control / "exitcode").read_text()
    (unpacked,) = tmp_path.glob("copilot-*")
    before = unpacked.stat().st_mtime_ns
    assert start(small, tmp_path, *command).returncode == 7
    assert unpacked.stat().st_mtime_ns == before
    assert oct(unpacked.stat().st_mode & 0o777) == "0o700"


def test_the_same_copilot_gives_the_same_file(small: Path, tmp_path: Path) -> None:
    assert write(tmp_path / "copilot", "--only-exec").read_bytes() == small.read_bytes()


def test_many_at_once_unpack_it_in_each_other_s_way_and_all_run(small: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda number: start(small, tmp_path, "exec", "--", "/bin/echo", str(number)), range(6)))
    assert [each.stdout for each in done] == [f"{number}\n" for number in range(6)], [each.stderr for each in done]


def test_where_nothing_can_be_written_it_says_what_to_set(small: Path, tmp_path: Path) -> None:
    done = start(small, tmp_path / "nowhere", "exec", "--", "/bin/true")
    assert done.returncode == 1
    assert "set COPILOT_UNPACK_DIR" in done.stderr


def test_what_goes_into_a_single_file_is_not_said_of_a_directory(tmp_path: Path) -> None:
    command = [str(COPILOT), "install", "--extra", "aws", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Add --single-file" in done.stderr


@pytest.fixture
def image(whole: Path, tmp_path: Path) -> Iterator[Image]:
    with tempfile.TemporaryDirectory(prefix="copilot-control-", dir="/dev/shm") as memory:
        yield Image(tmp_path / "root", whole, Path(memory))


@pytest.mark.slow
def test_all_of_the_data_plane_is_in_one_file_of_moderate_size(whole: Path) -> None:
    assert whole.stat().st_size < 40 * MEBIBYTE


@pytest.mark.slow
def test_init_and_sidecar_run_in_an_image_without_python_or_a_c_library(
    image: Image, s3_server: S3Server, s3_bucket: str
) -> None:
    s3_server.poke(s3_bucket, "in/words.txt", b"one two\n")
    (image.root / "job" / "secret").write_text("s3cret")
    base, places = f"s3://{s3_bucket}", ("--control-dir", "/control")
    asked = ("--input", f"words={base}/in/words.txt", "--secret", "TOKEN=file:///job/secret")
    fetched = image.run("copilot", "init", *places, "--to-local-dir", "/job/in", *asked, environ=s3_server.environ)
    assert fetched.returncode == 0, fetched.stderr
    assert (image.root / "job" / "in" / "words").read_bytes() == b"one two\n"
    task = image.run(
        "copilot", "exec", *places, "--", "/bin/sh", "-c",
        'test "$TOKEN" = s3cret && test -z "$SSL_CERT_FILE" && cd /job && cat in/words >out/copy.txt && expr 1 + 1 >out/n',
    )  # fmt: skip
    assert task.returncode == 0, task.stderr
    published = image.run(
        "copilot",
        "sidecar",
        *places,
        "--any-output",
        "--outputs",
        "/job/out",
        "--to",
        f"{base}/out",
        environ=s3_server.environ,
    )
    assert published.returncode == 0, published.stderr
    outputs = s3_server.peek(s3_bucket, "out/outputs.pb")
    assert outputs is not None, published.stderr
    literals = idl.LiteralMap.FromString(outputs).literals
    assert literals["n"].scalar.primitive.integer == 2
    assert s3_server.peek(s3_bucket, "out/copy.txt") == b"one two\n"


@pytest.mark.slow
def test_an_image_can_be_built_with_it_unpacked_and_then_has_no_place_to_write(image: Image) -> None:
    (image.root / "opt").mkdir()
    environ = {"COPILOT_UNPACK_DIR": "/opt"}
    assert image.run("copilot", "version", environ=environ, writable=("/opt",)).returncode == 0
    for path in (image.root / "opt").rglob("*"):
        assert path.is_symlink() or path.stat().st_mode & 0o444 == 0o444, path
    done = image.run("copilot", "version", environ=environ, writable=())
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("copilot ")
    # By the reference's name it speaks as the reference does.
    (image.root / "bin" / "flyte-copilot").symlink_to("/usr/local/bin/copilot")
    done = image.run("flyte-copilot", "download", "--nonsense", environ=environ, writable=())
    assert done.returncode == 137, done.stderr


@pytest.mark.slow
def test_sigterm_reaches_the_sidecar_though_a_shell_started_it(image: Image, s3_server: S3Server, s3_bucket: str) -> None:
    (image.root / "job" / "out" / "m").write_text("5")
    flags = (
        "--control-dir",
        "/control",
        "--outputs",
        "/job/out",
        "--any-output",
        "--to",
        f"s3://{s3_bucket}/term",
        "--trust-signal",
    )
    # The shell is process 1 and becomes the sidecar: a signal sent to it must be the sidecar's.
    script = f"copilot sidecar {' '.join(flags)} & p=$!; {WAIT}; kill $p; wait $p"
    done = image.run("sh", "-c", script, environ=s3_server.environ)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert s3_server.peek(s3_bucket, "term/outputs.pb") is not None


@pytest.mark.slow
def test_its_cold_start_unpacks_and_the_next_does_not(image: Image) -> None:
    began = time.monotonic()
    assert image.run("copilot", "version").returncode == 0
    middle = time.monotonic()
    assert image.run("copilot", "version").returncode == 0
    assert time.monotonic() - middle < middle - began
