"""Watches: the stream of events after a version, with bookmarks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from copilot.testing.kubernetes.errors import ApiError, invalid

if TYPE_CHECKING:
    import threading

    from copilot.testing.kubernetes.faults import Faults
    from copilot.testing.kubernetes.resources import Resource
    from copilot.testing.kubernetes.selectors import Selector
    from copilot.testing.kubernetes.storage import Change, Storage

DEFAULT_TIMEOUT_S: Final = 1800.0
Event = Mapping[str, Any]


class Dropped(Exception):
    """The connection is to be cut."""


def check_watch(query: Mapping[str, str]) -> None:
    """Raises 422 or 500 for what no watch can be asked for."""
    if query.get("sendInitialEvents"):
        # Known from 1.27 on, and refused unless a gate is open that is closed by default in 1.33.
        why = "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
        raise invalid("ListOptions", "", "sendInitialEvents", why)
    version = query.get("resourceVersion") or "0"
    if not version.isdigit():
        raise ApiError(500, "", f'resourceVersion: Invalid value: "{version}": invalid syntax')


@dataclass(frozen=True, slots=True)
class Watch:
    """One watch: what it is of, and how it was asked for.

    Attributes:
        bookmark_s: seconds between bookmarks.
        going: set when the server stops.
    """

    storage: Storage
    faults: Faults
    resource: Resource
    namespace: str | None
    wanted: Selector
    query: Mapping[str, str]
    bookmark_s: float
    going: threading.Event

    def events(self) -> Iterator[Event | None]:
        """The events; None now and then, so that the writer can see whether anybody still reads.

        Raises:
            Dropped: the watch is to be cut.
        """
        version = int(self.query.get("resourceVersion") or 0)
        drops = self.faults.drops
        if not version:
            found, version = self.storage.list(self.resource.plural, self.namespace)
            yield from (_event("ADDED", each, self.resource) for each in found if self.wanted(each))
        try:
            yield from self._live(version, drops)
        except ApiError as error:
            yield {"type": "ERROR", "object": error.status()}

    def _live(self, version: int, drops: int) -> Iterator[Event | None]:
        ends = time.monotonic() + float(self.query.get("timeoutSeconds") or DEFAULT_TIMEOUT_S)
        next_bookmark = time.monotonic() + self.bookmark_s
        while not self.going.is_set() and time.monotonic() < ends:
            if self.faults.drops != drops:
                raise Dropped
            with self.storage.changed:
                if self.storage.version == version:
                    self.storage.changed.wait(0.2)
                changes = self.storage.since(version)
            for change in changes:
                version = change.version
                event = _translated(change, self.resource, self.namespace, self.wanted)
                if event is not None:
                    yield from [event] * (2 if self.faults.duplicate_events else 1)
            if self.query.get("allowWatchBookmarks") == "true" and time.monotonic() >= next_bookmark:
                next_bookmark = time.monotonic() + self.bookmark_s
                yield _bookmark(version, self.resource)
            elif not changes:
                yield None


def _translated(change: Change, resource: Resource, namespace: str | None, wanted: Selector) -> Event | None:
    """What a change means to a watcher with a selector: an object that no longer fits is ``DELETED`` for it."""
    if change.plural != resource.plural or namespace not in {None, "", change.after["metadata"]["namespace"]}:
        return None
    fits, fitted = wanted(change.after), change.before is not None and wanted(change.before)
    if change.kind == "DELETED":
        return _event("DELETED", change.after, resource) if fitted or fits else None
    if fits:
        return _event("MODIFIED" if fitted else "ADDED", change.after, resource)
    return _event("DELETED", change.after, resource) if fitted else None


def _event(kind: str, each: Mapping[str, Any], resource: Resource) -> Event:
    return {"type": kind, "object": {**each, "kind": resource.kind, "apiVersion": resource.api_version}}


def _bookmark(version: int, resource: Resource) -> Event:
    metadata = {"resourceVersion": str(version), "creationTimestamp": None}
    return {"type": "BOOKMARK", "object": {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}}
