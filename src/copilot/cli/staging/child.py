"""Runs the command of ``copilot run``, and becomes that of ``copilot secrets exec``: its end is told as a shell tells it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from copilot.core.completion import Saw, Witness
from copilot.core.errors import BadFlag, CopilotError
from copilot.core.ports import Completion

if TYPE_CHECKING:
    from copilot.cli.session import Latch
    from copilot.core.ports import CancelToken, Clock, Log

_SLICE_S: Final = 0.05
_GRACE_S: Final = 10.0
_BY_SIGNAL: Final = 128  # a shell's exit code for a process that a signal ended: this and the signal's number


def run_child(argv: Sequence[str], environ: Mapping[str, str], *, latch: Latch, log: Log, cancel: CancelToken) -> int:
    """Runs ``argv`` to its end; gives its exit code, 128 and the signal's number where a signal ended it.

    Raises:
        BadFlag: there is no such command, or it cannot be run.
        Interrupted: we were told to stop, or the time is over; the command has been ended.
    """
    with _runnable(argv[0], "run"):
        process = subprocess.Popen(list(argv), env=dict(environ))
    log.event("task.started", level="debug", pid=process.pid)
    code = None
    try:
        while code is None:
            try:
                code = process.wait(_SLICE_S)
            except subprocess.TimeoutExpired:
                cancel.check()
    except (CopilotError, KeyboardInterrupt):
        _end(process, latch.received or signal.SIGTERM)
        raise
    log.event("task.ended", level="debug", exit_code=code)
    return _BY_SIGNAL - code if code < 0 else code


def become(argv: Sequence[str], environ: Mapping[str, str]) -> None:
    """This process becomes ``argv``: no parent holds its secrets, and signals reach it directly.

    Raises:
        BadFlag: there is no such command, or it cannot be run.
    """
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored stays so in the command
        signal.signal(number, signal.SIG_DFL)
    with _runnable(argv[0], "exec"):
        os.execvpe(argv[0], list(argv), dict(environ))  # noqa: S606 - to run what we were given is the purpose


@contextmanager
def _runnable(command: str, op: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadFlag(
            f"the command {command!r} cannot be run: {error.strerror}", op=op, subject=command, hint="Check its name and PATH."
        ) from error


class Ended:
    """The witness of a command that we ran ourselves: nobody knows better than its parent how it ended."""

    def __init__(self, code: int, clock: Clock) -> None:
        """``code`` is the command's exit code."""
        self.code = code
        facts = {"signal": str(code - _BY_SIGNAL)} if code > _BY_SIGNAL else {}
        self.completion = Completion(Witness.WRAPPER, Saw.EXITED, code, facts, clock.now_s())

    def wait(self, cancel: CancelToken) -> Completion | None:  # noqa: ARG002 - the port's signature
        """At once: it has ended."""
        return self.completion


def _end(process: subprocess.Popen[bytes], number: int) -> None:
    """Passes the signal on, and kills what does not heed it. A terminal has sent SIGINT to it already; twice does no harm."""
    process.send_signal(number)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
