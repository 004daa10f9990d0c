"""A control plane inside this process, on a thread and event loop of its own: for tests that talk to it as clients do."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from copilot.control_plane.server import ControlPlane

T = TypeVar("T")

_START_S = 60.0


class WallClock:
    """Real time."""

    def now_s(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic_s(self) -> float:
        """Seconds of a clock that never jumps."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Really sleeps."""
        time.sleep(seconds)


class RunningControlPlane:
    """A control plane that answers.

    Attributes:
        plane: its parts.
        url: where it answers.
    """

    def __init__(self, plane: ControlPlane, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.plane = plane
        self.url = url
        self._loop = loop

    def call(self, work: Coroutine[Any, Any, T], timeout_s: float = 60.0) -> T:
        """Runs ``work`` on the server's own event loop and returns its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)


@contextlib.contextmanager
def running_control_plane(make: Callable[[], ControlPlane]) -> Iterator[RunningControlPlane]:
    """Makes, starts and finally stops a control plane."""
    started: list[RunningControlPlane] = []
    failed: list[BaseException] = []
    ready, stop = threading.Event(), asyncio.Event()

    async def main() -> None:
        plane = make()
        async with plane.serving() as url:
            started.append(RunningControlPlane(plane, url, asyncio.get_running_loop()))
            ready.set()
            await stop.wait()

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="control-plane")
    thread.start()
    if not ready.wait(_START_S):
        raise TimeoutError("the control plane did not start")
    try:
        if failed:
            raise failed[0]
        yield started[0]
    finally:
        if started:
            with contextlib.suppress(RuntimeError):
                started[0]._loop.call_soon_threadsafe(stop.set)  # noqa: SLF001 - its own runner
        thread.join(_START_S)
    if failed:
        raise failed[0]
