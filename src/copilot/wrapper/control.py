"""The wrapper's two files in the control directory: ``running``, locked while the command runs, and ``exitcode``, its end.

The lock is the kernel's: it goes when the wrapper goes, however that happens, and the sidecar sees from another container that
nobody will write ``exitcode`` any more.
"""

from __future__ import annotations

import os

EXITCODE = "exitcode"
RUNNING = "running"
FORMAT = "copilot-exitcode/1"
MOST_BYTES = 512
_MODE = 0o644


class Ending:
    """How the command ended.

    Attributes:
        code: what the wrapper ends with.
        signal: the signal that ended the command, or 0.
        stop_signal: the signal that asked it to stop before it ended, or 0.
        timed_out: the timeout ended it.
        oom_kills: how many processes of our control group the kernel killed for want of memory meanwhile.
        started_at_s: seconds since the epoch.
        ended_at_s: seconds since the epoch.
        seconds: between the two, on a clock that never jumps.
    """

    __slots__ = ("code", "ended_at_s", "oom_kills", "seconds", "signal", "started_at_s", "stop_signal", "timed_out")

    def __init__(self) -> None:
        """Nothing is known."""
        self.code = 0
        self.signal = 0
        self.stop_signal = 0
        self.timed_out = False
        self.oom_kills = 0
        self.started_at_s = 0.0
        self.ended_at_s = 0.0
        self.seconds = 0.0

    def text(self) -> str:
        """The document: one line of JSON, numbers and booleans only."""
        return (
            f'{{"format": "{FORMAT}", "code": {self.code}, "signal": {self.signal}, "stop_signal": {self.stop_signal}, '
            f'"timed_out": {str(self.timed_out).lower()}, "oom_kills": {self.oom_kills}, '
            f'"started_at_s": {self.started_at_s:.6f}, "ended_at_s": {self.ended_at_s:.6f}, "seconds": {self.seconds:.6f}}}\n'
        )


def begin(directory: str) -> int:
    """Takes ``running`` and removes what an earlier run left; gives the descriptor that holds the lock.

    The room for ``exitcode`` is taken now: on a volume that is full by then, a task's success would be lost with its word.

    Raises:
        OSError: the control directory cannot be written, or has no room.
    """
    os.makedirs(directory, exist_ok=True)  # noqa: PTH103 - pathlib would cost more than the task's own start
    # Locked before it has its name: nobody may see it free while we live.
    temporary = f"{directory}/.{RUNNING}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT, _MODE)
    _let_all_read(descriptor)
    os.lockf(descriptor, os.F_TLOCK, 0)
    _reserve(directory, temporary)
    # The lock first: a lock that is free, without an exit code beside it, is what a killed wrapper leaves.
    for name in (RUNNING, EXITCODE):
        if os.access(f"{directory}/{name}", os.F_OK):
            os.unlink(f"{directory}/{name}")  # noqa: PTH108 - as above
    os.rename(temporary, f"{directory}/{RUNNING}")  # noqa: PTH104 - as above
    return descriptor


def finish(directory: str, ending: Ending) -> None:
    """Writes ``exitcode``: whole, or not at all.

    Raises:
        OSError: it cannot be written.
    """
    temporary, text = _temporary(directory), ending.text().encode()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT, _MODE)
    try:
        _let_all_read(descriptor)
        os.write(descriptor, text)
        os.truncate(descriptor, len(text))
    finally:
        os.close(descriptor)
    os.rename(temporary, f"{directory}/{EXITCODE}")  # noqa: PTH104 - as above


def _temporary(directory: str) -> str:
    return f"{directory}/.{EXITCODE}.{os.getpid()}"


def _let_all_read(descriptor: int) -> None:
    """Whatever the umask: the sidecar may be another user. A file system without modes has none to be in the way."""
    try:
        os.fchmod(descriptor, _MODE)
    except OSError:
        return


def _reserve(directory: str, beside: str) -> None:
    """Room for ``exitcode``; without it nothing is left, ``beside`` neither."""
    try:
        descriptor = os.open(_temporary(directory), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.write(descriptor, b" " * MOST_BYTES)
        finally:
            os.close(descriptor)
    except OSError:
        for path in (beside, _temporary(directory)):
            if os.access(path, os.F_OK):
                os.unlink(path)  # noqa: PTH108 - as above
        raise
