"""What every ``CompletionWatcher`` must do. Subclass it, say how the evidence is made, and run it with pytest.

::

    class TestMarker(WatcherContract):
        def watcher(self, place): return MarkerWatcher(place, clock, log)
        def provoke(self, place): (place / "_SUCCESS").touch()
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from copilot.core.errors import CopilotError
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock

if TYPE_CHECKING:
    from copilot.core.completion import Saw, Witness
    from copilot.core.ports import Completion, CompletionWatcher

_PATIENCE_S = 30.0


class WatcherContract:
    """The suite. ``place`` is an empty directory of the test's own.

    Attributes:
        witness: what the watcher calls itself.
        saw: what it says it saw after ``provoke``.
        waits: whether it blocks at all; a watcher that was told not to wait does not.
    """

    witness: Witness
    saw: Saw
    waits: bool = True

    def watcher(self, place: Path) -> CompletionWatcher:
        """A fresh watcher."""
        raise NotImplementedError

    def provoke(self, place: Path) -> None:
        """Makes the evidence the watcher waits for."""
        raise NotImplementedError

    def test_evidence_that_was_there_before_is_seen(self, tmp_path: Path) -> None:
        """A watcher that starts late misses nothing."""
        watcher = self.watcher(tmp_path)
        self.provoke(tmp_path)
        self._check(watcher.wait(Token(SystemClock(), timeout_s=_PATIENCE_S)))

    def test_evidence_that_comes_while_it_waits_is_seen(self, tmp_path: Path) -> None:
        """It wakes up by itself."""
        said = _Asked(self.watcher(tmp_path), Token(SystemClock(), timeout_s=_PATIENCE_S))
        self.provoke(tmp_path)
        self._check(said.answer())

    def test_it_says_nothing_when_it_is_stopped_without_evidence(self, tmp_path: Path) -> None:
        """Stopping is no evidence, and it takes less than two seconds."""
        clock = SystemClock()
        token = Token(clock, timeout_s=_PATIENCE_S)
        said = _Asked(self.watcher(tmp_path), token)
        began_s = clock.monotonic_s()
        token.cancel()
        answer = said.answer()
        assert clock.monotonic_s() - began_s < 2
        assert answer is None or not self.waits

    def test_several_may_watch_the_same_thing(self, tmp_path: Path) -> None:
        """None takes the evidence away from another."""
        first, second = self.watcher(tmp_path), self.watcher(tmp_path)
        self.provoke(tmp_path)
        for watcher in (first, second):
            self._check(watcher.wait(Token(SystemClock(), timeout_s=_PATIENCE_S)))

    def _check(self, said: Completion | None) -> None:
        assert said is not None
        assert (said.witness, said.reason) == (self.witness, self.saw)
        assert said.observed_at_s > 0
        assert all(isinstance(name, str) and isinstance(fact, str) for name, fact in said.evidence.items())


class _Asked:
    """A watcher waiting in a thread of its own."""

    def __init__(self, watcher: CompletionWatcher, token: Token) -> None:
        self._said: list[Completion | CopilotError | None] = []
        self._thread = threading.Thread(target=self._ask, args=(watcher, token), daemon=True)
        self._thread.start()

    def _ask(self, watcher: CompletionWatcher, token: Token) -> None:
        try:
            self._said.append(watcher.wait(token))
        except CopilotError as error:
            self._said.append(error)

    def answer(self) -> Completion | None:
        """What it said. Raises what it raised."""
        self._thread.join(_PATIENCE_S)
        assert not self._thread.is_alive(), "the watcher does not come back"
        (said,) = self._said
        if isinstance(said, CopilotError):
            raise said
        return said
