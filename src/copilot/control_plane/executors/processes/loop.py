"""A small event loop: readable files, timers, calls from other threads. It loads in a tenth of asyncio's time."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable

Callback = Callable[[], None]


class Timer:
    """A call that is due; ``cancel`` forgets it."""

    def __init__(self, callback: Callback) -> None:
        """See the class."""
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """It will not be called."""
        self.callback = None


class Loop:
    """Runs callbacks until ``stop``."""

    def __init__(self) -> None:
        """See the class."""
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._soon: deque[Callback] = deque()
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._running = True
        self.add_reader(self._woken, self._drain)

    def add_reader(self, fd: int, callback: Callback) -> None:
        """Calls back whenever ``fd`` is readable."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def remove_reader(self, fd: int) -> None:
        """Forgets ``fd``; the caller closes it."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(fd)

    def call_at(self, mono_s: float, callback: Callback) -> Timer:
        """Calls back once at a monotonic time."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (mono_s, next(self._order), timer))
        return timer

    def call_soon(self, callback: Callback) -> None:
        """Calls back in the loop's thread; may be called from any thread."""
        self._soon.append(callback)
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._waker, b"\0")

    def wake_on_signals(self) -> None:
        """A signal ends the wait, so that its Python handler runs now; without this, one at the wrong instant would not."""
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def stop(self) -> None:
        """Ends ``run``; may be called from any thread."""
        self.call_soon(self._end)

    def run(self) -> None:
        """Runs until ``stop`` and frees everything."""
        while self._running:
            self.step()
        self._selector.close()
        os.close(self._woken)
        os.close(self._waker)

    def step(self) -> None:
        """Waits for the next thing and does it."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
        for key, _ in self._selector.select(0 if self._soon else timeout):
            key.data()
        while self._timers and self._timers[0][0] <= time.monotonic():
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                callback()
        for _ in range(len(self._soon)):
            self._soon.popleft()()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._woken, 4096):
                pass

    def _end(self) -> None:
        self._running = False
