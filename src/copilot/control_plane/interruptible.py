"""Calls that a signal can end. Inside the RPC library a thread waits in native code, where Python delivers no signal."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from copilot.core.errors import CopilotError
    from copilot.core.ports import CancelToken

T = TypeVar("T")

#: How long a signal may wait to be noticed. What is yielded is passed on at once.
_SLICE_S: Final = 0.1

#: The pauses between two tries, in seconds: a minute in all, as long as a server takes that is moved to another node.
_PAUSES_S: Final = (0.25, 0.5, 1.0, *(2.0 for _ in range(29)))


def interruptible(open_: Callable[[], Iterable[T]], cancel: CancelToken) -> Iterator[T]:
    """What ``open_`` gives, taken on a thread of its own that is left behind when ``cancel`` says stop.

    Raises:
        Interrupted: ``cancel`` said so.
        Exception: whatever taking the next one raised.
    """
    taken: queue.SimpleQueue[tuple[list[T], BaseException | None]] = queue.SimpleQueue()

    def take() -> None:
        try:
            for each in open_():
                taken.put(([each], None))
            taken.put(([], None))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            taken.put(([], error))

    threading.Thread(target=take, name="rpc", daemon=True).start()
    while True:
        cancel.check()
        try:
            each, error = taken.get(timeout=_SLICE_S)
        except queue.Empty:
            continue
        if error is not None:
            raise error
        if not each:
            return
        yield from each


class Patience:
    """How long a server that went away in the middle of something is waited for.

    One that never answered is not waited for at all: it is more likely the wrong address than a restart.

    Args:
        cancel: ends the waiting.
        away: told once in words, each time the server has gone.
    """

    def __init__(self, cancel: CancelToken, away: Callable[[str], None]) -> None:
        self._cancel, self._away = cancel, away
        self._pauses: Iterator[float] = iter(())

    def answered(self) -> None:
        """The server is there: should it go again, it has the whole time again."""
        self._pauses = iter(_PAUSES_S)

    def refused(self, error: CopilotError) -> None:
        """Sleeps before the next try.

        Raises:
            CopilotError: ``error``, when there was no answer for a minute, or never one.
            Interrupted: ``cancel`` said so.
        """
        pause = next(self._pauses, None)
        if pause is None:
            raise error
        if pause == _PAUSES_S[0]:
            self._away(error.message)
        self._cancel.wait(pause)
        self._cancel.check()
