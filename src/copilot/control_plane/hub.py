"""Who waits for a change is told of it, without asking the database.

A transaction names the topics it changed; after its commit they are published here, and every subscription to one of them wakes
up and reads what it is interested in. A subscription that waits costs an entry in a dictionary and nothing else. Where several
servers share a PostgreSQL, ``control_plane.db.listener`` publishes what the others committed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

QUEUE = "queue"
"""An action waits for a pod."""
PODS = "pods"
"""An attempt ended whose pod is to be cleared away."""


def action_topic(action_id: int) -> str:
    """The action itself, its attempts and its events."""
    return f"action:{action_id}"


def hint_topic(attempt_id: int) -> str:
    """Its pod reports a step: worth a look at the store."""
    return f"hint:{attempt_id}"


def run_topic(run_id: int) -> str:
    """Any action of the run."""
    return f"run:{run_id}"


def project_topic(project: str) -> str:
    """Any root action of the project."""
    return f"project:{project}"


class Subscription:
    """Wakes when one of its topics is published. To be used as a context manager, on the event loop."""

    def __init__(self, hub: Hub, topics: Iterable[str]) -> None:
        self._hub = hub
        self._topics = tuple(topics)
        self._event = asyncio.Event()
        self.heard: set[str] = set()

    def __enter__(self) -> Self:
        """Begins to listen."""
        self._hub.join(self, self._topics)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ceases to listen."""
        self._hub.leave(self, self._topics)

    def wake(self, topic: str = "") -> None:
        """As if ``topic`` had been published; it stands in ``heard`` until it is taken from there. On the event loop only."""
        if topic:
            self.heard.add(topic)
        self._event.set()

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Until something was published since the last ``wait``; False when ``timeout_s`` passed first."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Hub:
    """The topics of one server and who listens to them. ``publish`` may be called from any thread."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[Subscription]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    def bind(self) -> None:
        """Remembers the running event loop: what is published from now on reaches it."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def subscribe(self, *topics: str) -> Subscription:
        """A subscription to these topics; it listens inside its ``with``."""
        return Subscription(self, topics)

    def publish(self, topics: Iterable[str]) -> None:
        """Wakes every subscription to one of ``topics``."""
        self._call(tuple(topics))

    def wake_all(self) -> None:
        """Wakes everybody: something may have been missed."""
        self._call(None)

    @property
    def listeners(self) -> int:
        """How many subscriptions there are."""
        return len({listener for listeners in self._listeners.values() for listener in listeners})

    def _call(self, topics: tuple[str, ...] | None) -> None:
        if self._loop is None or self._loop.is_closed():
            return
        if threading.get_ident() == self._thread:
            self._wake(topics)
        else:
            self._loop.call_soon_threadsafe(self._wake, topics)

    def _wake(self, topics: tuple[str, ...] | None) -> None:
        for topic in list(self._listeners) if topics is None else topics:
            for listener in self._listeners.get(topic, ()):
                listener.wake(topic)

    def join(self, listener: Subscription, topics: tuple[str, ...]) -> None:
        """A subscription's entry into its ``with``."""
        for topic in topics:
            self._listeners.setdefault(topic, set()).add(listener)

    def leave(self, listener: Subscription, topics: tuple[str, ...]) -> None:
        """A subscription's end."""
        for topic in topics:
            listeners = self._listeners.get(topic, set())
            listeners.discard(listener)
            if not listeners:
                self._listeners.pop(topic, None)
