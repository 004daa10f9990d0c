"""SIGTERM at a native sidecar: the kubelet sends it once every main container has ended, and whenever a pod is to go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from copilot.core.completion import Saw, Witness
from copilot.core.errors import InternalError
from copilot.core.ports import Completion

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken, Clock
    from copilot.upload.watchers.context import SignalLatch, WatcherContext

_SLICE_S: Final = 0.2


class SignalWatcher:
    """Waits for the latch."""

    witness: Final = Witness.SIGNAL

    def __init__(self, latch: SignalLatch, clock: Clock) -> None:
        """See the class."""
        self._latch = latch
        self._clock = clock

    def wait(self, cancel: CancelToken) -> Completion | None:
        """Blocks until the signal is there. A signal that came before anybody waited counts."""
        while not self._latch.is_set():
            if cancel.cancelled:
                return None
            self._latch.wait(_SLICE_S)
        return Completion(Witness.SIGNAL, Saw.SIGTERM, observed_at_s=self._clock.now_s())

    def may_speak(self) -> bool:
        """Whoever can be told can be told yet."""
        return True

    def hurry(self) -> None:
        """Nothing can be done for it."""


def open_watcher(context: WatcherContext) -> SignalWatcher:
    """For the registry."""
    if context.latch is None:
        raise InternalError("The signal watcher was opened without a latch", op="watch")
    return SignalWatcher(context.latch, context.clock)
