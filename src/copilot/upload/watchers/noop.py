"""Waits for nothing: what is there is what is meant (``--exit-watcher-type noop`` of the reference)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot.core.completion import Saw, Witness
from copilot.core.ports import Completion

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken, Clock
    from copilot.upload.watchers.context import WatcherContext


class NoopWatcher:
    """Says at once that it was told not to wait."""

    def __init__(self, clock: Clock) -> None:
        """See the class."""
        self._clock = clock

    def wait(self, cancel: CancelToken) -> Completion | None:  # noqa: ARG002 — the port's signature
        """At once."""
        return Completion(Witness.NOOP, Saw.TOLD, observed_at_s=self._clock.now_s())


def open_watcher(context: WatcherContext) -> NoopWatcher:
    """For the registry."""
    return NoopWatcher(context.clock)
