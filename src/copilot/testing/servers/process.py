"""Starting a server, waiting until it really serves, and getting rid of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"


class ServerFailed(RuntimeError):
    """A server did not come up; the message ends with what it printed."""


def free_ports(count: int) -> list[int]:
    """``count`` different TCP ports nobody listens on just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def find_executable(name: str) -> str:
    """An executable of this virtual environment, else of PATH.

    Raises:
        ServerFailed: there is none.
    """
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        msg = f"{name} is not installed"
        raise ServerFailed(msg)
    return found


@contextmanager
def scratch_directory(name: str) -> Iterator[Path]:
    """A directory that is gone afterwards, whatever is still being written in it."""
    path = Path(tempfile.mkdtemp(prefix=f"copilot-{name}-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Launch:
    """One way to start a server.

    Attributes:
        argv: the command.
        ready: True once it serves; may raise ``OSError`` or ``ServerNotReady`` while it does not.
        env: variables on top of this process's.
    """

    argv: Sequence[str]
    ready: Callable[[], bool]
    env: Mapping[str, str] | None = None


class ServerNotReady(Exception):
    """What a ``ready`` probe raises to say "not yet"."""


@contextmanager
def running(
    name: str, directory: Path, plan: Callable[[], Launch], *, deadline_s: float = 60.0
) -> Iterator[subprocess.Popen[bytes]]:
    """The server of ``plan()``, up and serving; killed at the end with all of its children.

    ``plan`` is called again, for other ports, when the server ends before it serves (somebody else took a port).

    Raises:
        ServerFailed: it never served.
    """
    output = directory / f"{name}.log"
    for attempt in range(4):
        launch = plan()
        process = _spawn(launch, output)
        try:
            if _wait_until_ready(process, launch.ready, deadline_s):
                yield process
                return
            if process.poll() is None or attempt == 3:
                tail = output.read_text(errors="replace")[-3000:]
                msg = f"{name} did not serve within {deadline_s:g} s; it said:\n{tail}"
                raise ServerFailed(msg)
        finally:
            _kill(process)


def _spawn(launch: Launch, output: Path) -> subprocess.Popen[bytes]:
    argv = list(launch.argv)
    setpriv = shutil.which("setpriv")
    if setpriv is not None:  # the server dies with us, even when we are killed
        argv = [setpriv, "--pdeathsig", "KILL", "--", *argv]
    with output.open("wb") as log:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(launch.env or {})},
            start_new_session=True,
        )


def _wait_until_ready(process: subprocess.Popen[bytes], ready: Callable[[], bool], deadline_s: float) -> bool:
    end = time.monotonic() + deadline_s
    while time.monotonic() < end and process.poll() is None:
        try:
            if ready():
                return True
        except (OSError, ServerNotReady):
            pass
        time.sleep(0.05)  # a poll of another program with a deadline: there is no event to wait for
    return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
