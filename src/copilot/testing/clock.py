"""Clocks that tests own: one on which time passes only when they say so, and one on which it passes fast."""

from __future__ import annotations

import threading

from copilot.engine.clock import SystemClock


class FakeClock:
    """A ``Clock`` without waiting. ``sleep`` returns at once and moves the time on.

    Args:
        now_s: where the wall clock starts, in seconds since the epoch.
    """

    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        """See the class."""
        self._lock = threading.Lock()
        self._wall_offset_s = now_s
        self._monotonic_s = 0.0
        self.slept: list[float] = []

    def now_s(self) -> float:
        """Seconds since the epoch."""
        with self._lock:
            return self._wall_offset_s + self._monotonic_s

    def monotonic_s(self) -> float:
        """Seconds since this clock was made, plus what ``advance`` and ``sleep`` added."""
        with self._lock:
            return self._monotonic_s

    def sleep(self, seconds: float) -> None:
        """Moves the time on by ``seconds`` and remembers it in ``slept``."""
        with self._lock:
            self._monotonic_s += max(0.0, seconds)
            self.slept.append(seconds)

    def advance(self, seconds: float) -> None:
        """Lets ``seconds`` pass for everybody."""
        with self._lock:
            self._monotonic_s += seconds

    def jump(self, seconds: float) -> None:
        """Moves only the wall clock, as an administrator or NTP does."""
        with self._lock:
            self._wall_offset_s += seconds


class HastyClock(SystemClock):
    """Monotonic time passes a hundred times as fast as it does: for what waits on something real, and waits long."""

    def monotonic_s(self) -> float:
        """Real seconds, times a hundred."""
        return super().monotonic_s() * 100
