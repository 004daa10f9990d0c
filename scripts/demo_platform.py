"""What ``scripts/demo`` stands on: ``copilot server``, and ``copilot`` commands shown as a terminal shows them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from copilot.control_plane.client import ControlPlaneClient
from copilot.core.errors import CopilotError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

COPILOT = str(Path(sys.executable).with_name("copilot"))
DEFAULT_PORT = 8090
LISTENS_WITHIN_S = 60
CLEAR_WITHIN_S = 20
STOPS_WITHIN_S = 15
COLUMNS = 118
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
STYLED = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def styled(text: str, code: int) -> str:
    return f"\033[{code}m{text}\033[0m" if STYLED else text


def bold(text: str) -> str:
    return styled(text, 1)


def dim(text: str) -> str:
    return styled(text, 2)


def say(text: str, began: float | None = None, *, good: bool = True) -> None:
    mark = styled("✓", 32) if good else styled("✗", 31)
    took = "" if began is None else dim(f"  {time.monotonic() - began:.1f} s")
    print(f"  {mark} {text}{took}", flush=True)


def stop(text: str, log: str = "") -> NoReturn:
    say(text, good=False)
    raise SystemExit(f"\n{log.rstrip()}" if log else 1)


class Stopped(BaseException):
    """A signal asked for an end; what runs is ended on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end the demo in order, once: a second one changes nothing."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def ask(number: int, _frame: FrameType | None) -> None:
        ignore_signals()
        raise Stopped(number)

    def ignore_signals() -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)

    for each in numbers:
        signal.signal(each, ask)
    try:
        yield
    finally:
        ignore_signals()


class Platform:
    """``copilot server`` with its embedded defaults, on a store of its own, and the commands that speak to it."""

    def __init__(self, data: Path, store: str, environ: Mapping[str, str]) -> None:
        self.data, self.store, self.url = data, store, ""
        # Nothing of the shell that starts the demo leads its processes elsewhere.
        foreign = ("AWS_", "AZURE_", "GOOGLE_", "COPILOT_")
        bare = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self._environ = {**bare, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
        self._store_environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._submitted: list[str] = []
        self._commands: list[Command] = []
        self._log = data / "server.log"

    def start(self) -> None:
        """Starts the server and does not wait: ``listening`` does."""
        port = DEFAULT_PORT if is_free(DEFAULT_PORT) else 0
        self._process = self._spawn(port)

    def listening(self) -> str:
        """Its URL, once it answers; on another port if somebody was faster."""
        deadline = time.monotonic() + LISTENS_WITHIN_S
        again = True
        while not self.url:
            line = next((line for line in self._log.read_text().splitlines() if " listening on " in line), "")
            self.url = line.rpartition(" ")[2]
            ended = self._process is None or self._process.poll() is not None
            if ended and again:
                again, self._process = False, self._spawn(0)
            elif ended or time.monotonic() > deadline:
                stop("copilot server did not come up", self._log.read_text())
            time.sleep(0.02)
        self._environ["COPILOT_SERVER"] = self.url
        return self.url

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        command = [COPILOT, "server", "--data", str(self.data), "--store", self.store, "--port", str(port)]
        setpriv = shutil.which("setpriv")  # the server ends with us, even when we are killed
        command = [setpriv, "--pdeathsig", "TERM", "--", *command] if setpriv else command
        environ = self._environ | self._store_environ
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C is for us, who then end its pods first.
            return subprocess.Popen(
                command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def begin(self, *words: str, typed: str = "", with_store: bool = False) -> Command:
        """Starts a ``copilot`` command.

        Args:
            words: the command.
            typed: its standard input.
            with_store: it gets the store's address and credentials, as somebody who may read there has them.
        """
        command = Command(words, self._environ | (self._store_environ if with_store else {}), typed)
        self._commands.append(command)
        return command

    def submitted(self, run: str) -> None:
        """Remembers a run that must have ended before the server is stopped."""
        self._submitted.append(run)

    @property
    def client(self) -> ControlPlaneClient:
        """For what is not shown."""
        return ControlPlaneClient(self.url, project="flytesnacks", domain="development")

    def pods(self) -> list[Path]:
        """The directories of the pods there are."""
        return sorted((self.data / "pods" / "pods").glob("*/*"))

    def close(self) -> None:
        """Aborts what still runs, waits until no pod is left, and ends the server: it alone would leave its pods running."""
        process, self._process = self._process, None
        if process is None:
            return
        for command in self._commands:
            command.end()
        try:
            if self.url and process.poll() is None:
                for run in self._submitted:  # its pod may be on its way; an abort of a run that has ended changes nothing
                    with contextlib.suppress(CopilotError):  # one that has not come that far
                        self.client.abort(run, "the demo ends")
                        self.client.wait(run)
                deadline = time.monotonic() + CLEAR_WITHIN_S
                while self.pods() and time.monotonic() < deadline:
                    time.sleep(0.02)
            process.terminate()
            process.wait(STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
            process.wait()


class Command:
    """A ``copilot`` command on a terminal of its own, so that it speaks as it does to people."""

    def __init__(self, words: Sequence[str], environ: Mapping[str, str], typed: str) -> None:
        self._terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        environ = {**environ, "TERM": "dumb"}
        self._process = subprocess.Popen([COPILOT, *words], env=environ, stdin=subprocess.PIPE, stdout=theirs, stderr=theirs)
        os.close(theirs)
        if self._process.stdin is not None:
            self._process.stdin.write(typed.encode())
            self._process.stdin.close()

    def show(self, *shown: str, prefix: str = "") -> tuple[int, str]:
        """Shows the command as ``shown``, after ``prefix``, and what it says as it says it; its exit code and that."""
        for number, line in enumerate(shown):
            print(f"  {dim('$') if number == 0 else ' '} {prefix if number == 0 else ''}{bold(line)}", flush=True)
        said: list[str] = []
        try:
            for line in lines_of(self._terminal):
                if line or said:
                    said.append(line)
                    print(f"    {line}", flush=True)
            return self._process.wait(), "\n".join(said)
        finally:
            self.end()

    def end(self) -> None:
        """Ends it, if it has not ended."""
        if self._terminal < 0:
            return
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)
        self._terminal = -1


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def lines_of(terminal: int) -> Iterator[str]:
    """The lines that come from a pseudo-terminal, until its other end is closed."""
    rest = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            chunk = b""
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield plain(line)
    if rest:
        yield plain(rest)


def plain(line: bytes) -> str:
    """What a terminal shows of a line in the end: no bar that was drawn over, no styles."""
    text = CONTROL.sub("", line.decode(errors="replace").rstrip("\r"))
    return text.rpartition("\r")[2].rstrip()
