"""Runs the command of ``copilot run``: signals are passed on, and its end is told as a shell tells it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
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
    try:
        process = subprocess.Popen(list(argv), env=dict(environ))
    except OSError as error:
        raise BadFlag(
            f"the command {argv[0]!r} cannot be run: {error.strerror}",
            op="run",
            subject=argv[0],
            hint="Check its name and PATH.",
        ) from error
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


class Ended:
    """The witness of a command that we ran ourselves: nobody knows better than its parent how it ended."""

    def __init__(self, code: int, clock: Clock) -> None:
        """``code`` is the command's exit code."""
        self.code = code
        self._completion = Completion(Witness.WRAPPER, Saw.EXITED, code, observed_at_s=clock.now_s())

    def wait(self, cancel: CancelToken) -> Completion | None:  # noqa: ARG002 - the port's signature
        """At once: it has ended."""
        return self._completion


def _end(process: subprocess.Popen[bytes], number: int) -> None:
    """Passes the signal on, and kills what does not heed it. A terminal has sent SIGINT to it already; twice does no harm."""
    process.send_signal(number)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
