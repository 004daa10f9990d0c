"""A blocking ``PodApi`` for the event loop: one thread that watches, bounded threads for calls, one for each followed log.

Pods are told apart by name alone: one server has one namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from copilot.control_plane.errors import TooLarge
from copilot.control_plane.lifecycle.observe import Pod
from copilot.core.errors import Cancelled, CopilotError, PodExists, PodNotFound

if TYPE_CHECKING:
    from copilot.core.ports import Log, PodApi

T = TypeVar("T")
Seen = Callable[[str, Pod], None]

_CALLS = 16
_FOLLOWERS = 128
_AGAIN_S = 0.2
_PATIENCE_S = 2.0
_MOST_AGAIN_S = 5.0


class StopFlag:
    """A ``CancelToken`` without a deadline, that another thread can set."""

    def __init__(self) -> None:
        self._set = threading.Event()

    def cancel(self) -> None:
        """From now on it is time to stop."""
        self._set.set()

    def check(self) -> None:
        """Raises ``Cancelled`` once it is time to stop."""
        if self._set.is_set():
            raise Cancelled("the server is stopping")

    @property
    def cancelled(self) -> bool:
        """It is time to stop."""
        return self._set.is_set()

    def remaining_s(self) -> float | None:
        """No deadline."""
        return None

    def wait(self, seconds: float) -> bool:
        """Sleeps; True if it was time to stop before that."""
        return self._set.wait(seconds)


class _Line:
    """One followed log: a thread puts, the event loop takes. Bounded: a slow client holds a thread, not our memory."""

    def __init__(self) -> None:
        self.stop = StopFlag()
        self.queue: asyncio.Queue[bytes | CopilotError | None] = asyncio.Queue(64)
        self._loop = asyncio.get_running_loop()

    def pump(self, chunks: Iterator[bytes]) -> None:
        """Puts every chunk, then the end or the error."""
        try:
            for chunk in chunks:
                if not self._put(bytes(chunk)):
                    return
        except CopilotError as error:
            self._put(error)
        else:
            self._put(None)

    def _put(self, item: bytes | CopilotError | None) -> bool:
        while not self.stop.cancelled and not self._loop.is_closed():
            waiting = asyncio.run_coroutine_threadsafe(self.queue.put(item), self._loop)
            try:
                waiting.result(timeout=_PATIENCE_S)
            except TimeoutError:
                waiting.cancel()
            else:
                return True
        return False


class Executor:
    """One executor and namespace, async.

    Args:
        pods: what really runs pods.
        namespace: where.
        log: hears of watches that broke.
    """

    def __init__(self, pods: PodApi, namespace: str, log: Log) -> None:
        self.pods = pods
        self.namespace = namespace
        self._log = log
        self._calls = ThreadPoolExecutor(_CALLS, "pods")
        self._stop = StopFlag()
        self._watcher: threading.Thread | None = None
        self._followers = 0

    def watch(self, seen: Seen) -> None:
        """Begins to tell ``seen`` of every pod, on this event loop: those that are there first, then each change.

        A second call, by a server that leads once more, goes on with the watch there is.
        """
        if self._watcher is not None:
            return
        loop = asyncio.get_running_loop()

        def tell(kind: str, pod: Pod) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: there is nobody to tell
                loop.call_soon_threadsafe(seen, kind, pod)

        self._watcher = threading.Thread(target=self._watch, args=(tell,), name="pods-watch", daemon=True)
        self._watcher.start()

    def _watch(self, tell: Seen) -> None:
        again_s = _AGAIN_S
        while not self._stop.cancelled:
            try:
                for kind, pod in self.pods.watch(self.namespace, self._stop):
                    again_s = _AGAIN_S
                    tell(kind, pod)
            except CopilotError as error:
                self._log.event("pods.watch.lost", level="warning", error=error.sentence())
            except Exception as error:  # noqa: BLE001 - a bug in an executor must not leave the server without a watch
                self._log.event("pods.watch.lost", level="error", error=repr(error))
            self._stop.wait(again_s)
            again_s = min(again_s * 2, _MOST_AGAIN_S)

    async def create(self, manifest: Mapping[str, Any], secrets: Sequence[Mapping[str, Any]] = ()) -> Pod:
        """The pod, made now or found there: its name is its attempt's, so one of that name is the one we want."""
        name = str(manifest["metadata"]["name"])

        def call() -> Pod:
            try:
                return self.pods.create(manifest, secrets=secrets)
            except PodExists:
                return self.pods.get(self.namespace, name)

        return await self._call(call)

    async def get(self, name: str) -> Pod | None:
        """The pod as it is, or None where there is none."""

        def call() -> Pod | None:
            try:
                return self.pods.get(self.namespace, name)
            except PodNotFound:
                return None

        return await self._call(call)

    async def delete(self, name: str, *, grace_s: float) -> None:
        """Asks for the pod's deletion; one that is gone already is no error."""

        def call() -> None:
            try:
                self.pods.delete(self.namespace, name, grace_s=grace_s)
            except PodNotFound:
                return

        await self._call(call)

    async def release(self, name: str) -> None:
        """Its last state has been read: it may go."""

        def call() -> None:
            try:
                self.pods.release(self.namespace, name)
            except PodNotFound:
                return

        await self._call(call)

    async def run(self, work: Callable[[], T]) -> T:
        """Any other blocking work about pods, on the same threads."""
        return await self._call(work)

    def log_chunks(self, name: str, container: str, *, follow: bool, stop: StopFlag) -> Iterator[bytes]:
        """The container's output in whole lines, each with its time in front, blocking."""
        return self.pods.logs(self.namespace, name, container, follow=follow, cancel=stop, timestamps=True)

    async def follow(self, name: str, container: str) -> AsyncIterator[bytes]:
        """The container's output until its end, as it comes. Raises ``TooLarge`` when too many are being followed."""
        if self._followers >= _FOLLOWERS:
            raise TooLarge(f"{_FOLLOWERS} logs are being followed already", hint="Close one, or ask again later.")
        self._followers += 1
        line = _Line()
        chunks = self.log_chunks(name, container, follow=True, stop=line.stop)
        threading.Thread(target=line.pump, args=(chunks,), name=f"logs-{name}", daemon=True).start()
        try:
            while (item := await line.queue.get()) is not None:
                if isinstance(item, CopilotError):
                    raise item
                yield item
        finally:
            line.stop.cancel()
            self._followers -= 1

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._calls, work)

    def close(self) -> None:
        """Stops watching; pods go on."""
        self._stop.cancel()
        self._calls.shutdown(wait=True)
        if self._watcher is not None:
            self._watcher.join(timeout=10)
