"""The machine's own clock, behind the ``Clock`` port."""

from __future__ import annotations

import time


class SystemClock:
    """Real time. ``monotonic_s`` never jumps, whatever happens to the wall clock."""

    def now_s(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic_s(self) -> float:
        """Seconds of a clock that never jumps."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Blocks this thread for ``seconds``; nothing for zero or less."""
        if seconds > 0:
            time.sleep(seconds)
