"""Every watcher keeps the contract that third-party ones are held to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from copilot.core.completion import Saw, Witness
from copilot.engine.clock import SystemClock
from copilot.signals import Latch
from copilot.testing.recording import RecordingLog
from copilot.testing.watcher_contract import WatcherContract
from copilot.upload.watchers.registry import WatcherContext, open_watcher

if TYPE_CHECKING:
    from copilot.core.ports import CompletionWatcher

CLOCK = SystemClock()


class TestSignal(WatcherContract):
    witness, saw = Witness.SIGNAL, Saw.SIGTERM

    def setup_method(self) -> None:
        self.latch = Latch()

    def watcher(self, place: Path) -> CompletionWatcher:
        return open_watcher("signal", WatcherContext(place, CLOCK, RecordingLog(), self.latch))

    def provoke(self, place: Path) -> None:
        del place
        self.latch.set(15)


class TestSuccessMarker(WatcherContract):
    witness, saw = Witness.MARKER, Saw.SUCCESS_MARKER
    marker = "_SUCCESS"

    def watcher(self, place: Path) -> CompletionWatcher:
        return open_watcher("marker", WatcherContext(place, CLOCK, RecordingLog()))

    def provoke(self, place: Path) -> None:
        (place / self.marker).write_text("done")


class TestErrorMarker(TestSuccessMarker):
    saw, marker = Saw.ERROR_MARKER, "_ERROR"


class TestNoop(WatcherContract):
    witness, saw, waits = Witness.NOOP, Saw.TOLD, False

    def watcher(self, place: Path) -> CompletionWatcher:
        return open_watcher("noop", WatcherContext(place, CLOCK, RecordingLog()))

    def provoke(self, place: Path) -> None:
        del place
