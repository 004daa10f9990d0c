"""The digest of a file that fills up in ranges: taken in order, behind them, while they come.

A digest has an order and ranges have none. So one thread follows the first byte that is not there yet and reads back what is
before it, from pages the kernel still has; reading and hashing both release the GIL. When the last range lands, there is a tail
to do and not the file.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final, Protocol

from copilot.core.errors import CopilotError, InternalError
from copilot.engine.atomic import local_errors
from copilot.engine.claims import Hashing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from copilot.engine.claims import Claim
    from copilot.engine.crew import Beat

_CHUNK_BYTES: Final = 256 * 1024  # fits into a core's cache: it is hashed where it was copied to
_LOOK_S: Final = 0.05


class Filling(Protocol):
    """One range: what is before ``offset`` is in the file, for good."""

    start: int
    end: int
    offset: int


class Behind:
    """The hashing of one file. Its thread ends with the last range, or when ``wanted`` says no.

    Args:
        claim: what the digest is compared with.
        fd: the file; open until ``left`` is called.
        path: for messages.
        ranges: all of the file, in order.
        wanted: whether anybody waits for the result.
        left: called when the thread has ended.
    """

    def __init__(
        self,
        claim: Claim,
        fd: int,
        path: str,
        ranges: Sequence[Filling],
        *,
        wanted: Callable[[], bool],
        left: Callable[[], None],
    ) -> None:
        """See the class."""
        self._hashing = Hashing(claim)
        self._fd = fd
        self._path = path
        self._ranges = ranges
        self._wanted = wanted
        self._left = left
        self._news = threading.Event()
        self._ended = threading.Event()
        self._fits = False
        self._error: CopilotError | None = None

    def start(self) -> None:
        """Begins."""
        threading.Thread(target=self._run, name="copilot-digest", daemon=True).start()

    def nudge(self) -> None:
        """A range has ended."""
        self._news.set()

    def fits(self, beat: Beat) -> bool:
        """Whether the file is what is claimed: waits for the tail. Raises ``LocalError`` when it cannot be read back."""
        while not self._ended.wait(_LOOK_S):
            beat.touch()
        if self._error is not None:
            raise self._error
        return self._fits

    def _run(self) -> None:
        try:
            if self._read_all():
                self._fits = self._hashing.fits()
        except CopilotError as error:
            self._error = error
        except BaseException as error:  # noqa: BLE001 - it is raised again, where somebody waits for the result
            self._error = InternalError(f"A digest broke on {type(error).__name__}", op="get", subject=self._path)
            self._error.__cause__ = error
        finally:
            self._ended.set()
            self._left()

    def _read_all(self) -> bool:
        buffer = memoryview(bytearray(_CHUNK_BYTES))
        for one in self._ranges:
            at = one.start
            while at < one.end:
                there = min(one.offset - at, _CHUNK_BYTES)
                if there < min(_CHUNK_BYTES, one.end - at):
                    self._news.wait(_LOOK_S)
                    self._news.clear()
                    if not self._wanted():
                        return False
                    continue
                with local_errors(self._path, op="read"):
                    read = os.preadv(self._fd, [buffer[:there]], at)
                if not read:
                    raise InternalError(f"{self._path} is shorter than what was written to it", op="get", subject=self._path)
                self._hashing.update(buffer[:read])
                at += read
        return True
