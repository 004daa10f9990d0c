"""One namespace's pods, followed: a list, then a watch from its version, and again when the history is lost."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from copilot.core.errors import CopilotError, PodApiUnavailable, PodListExpired

if TYPE_CHECKING:
    from copilot.control_plane.executors.api_client import ApiClient, LineStream
    from copilot.core.ports import CancelToken, Clock, Log

PAGE: Final = 500
WATCH_S: Final = 300
FIRST_WAIT_S: Final = 0.2
MAX_WAIT_S: Final = 30.0
_POLL_S: Final = 0.1
_JOIN_S: Final = 5.0
INITIAL_EVENTS_END: Final = {"metadata": {"annotations": {"k8s.io/initial-events-end": "true"}}}

Pod = Mapping[str, Any]
Event = tuple[str, Pod]


class PodWatch:
    """What ``PodApi.watch`` gives, from the Kubernetes API.

    Every event is told once and in order, whatever the server repeats or forgets: versions that were seen are dropped, and
    after a gap the differences to a new list are told.

    Args:
        client: the API server.
        path: the collection (``/api/v1/namespaces/x/pods``).
        selector: a label selector, or empty.
        clock: for the resync.
        log: hears of gaps.
        resync_s: a new list is compared at least this often.
    """

    def __init__(self, client: ApiClient, path: str, selector: str, *, clock: Clock, log: Log, resync_s: float = 600.0) -> None:
        """See the class."""
        self._client, self._path, self._clock, self._log = client, path, clock, log
        self._query = {"labelSelector": selector} if selector else {}
        self._resync_s = resync_s
        self._known: dict[str, Pod] = {}
        self._version = ""

    def events(self, cancel: CancelToken) -> Iterator[Event]:
        """Until ``cancel``. Transient failures are waited out; others are raised."""
        wait_s, listed_at = FIRST_WAIT_S, 0.0
        while not cancel.cancelled:
            began, version = self._clock.monotonic_s(), self._version
            try:
                if not self._version or self._clock.monotonic_s() - listed_at > self._resync_s:
                    yield from self._relist()
                    listed_at = self._clock.monotonic_s()
                    yield "BOOKMARK", INITIAL_EVENTS_END
                for event in self._follow(cancel):
                    wait_s = FIRST_WAIT_S
                    yield event
                if self._version == version and self._clock.monotonic_s() - began < FIRST_WAIT_S:
                    # Ended at once and without a word: whatever is in between must not be asked as fast as it answers.
                    cancel.wait(wait_s)
                    wait_s = min(wait_s * 2, MAX_WAIT_S)
            except PodListExpired:
                self._log.event("pods.watch.expired", level="info", path=self._path)
                self._version = ""
                cancel.wait(wait_s)
                wait_s = min(wait_s * 2, MAX_WAIT_S)
            except CopilotError as error:
                if not error.transient:
                    raise
                self._log.event("pods.watch.broken", level="warning", error=error.sentence())
                cancel.wait(max(wait_s, min(error.retry_after_s or 0.0, MAX_WAIT_S)))
                wait_s = min(wait_s * 2, MAX_WAIT_S)

    def _relist(self) -> Iterator[Event]:
        found: dict[str, Pod] = {}
        token, version = "", ""
        while True:
            query = {**self._query, "limit": str(PAGE), **({"continue": token} if token else {})}
            page = self._client.call("GET", self._path, query=query)
            for pod in page.get("items") or ():
                found[str(pod["metadata"]["uid"])] = {"apiVersion": "v1", "kind": "Pod", **pod}
            version, token = page["metadata"]["resourceVersion"], page["metadata"].get("continue", "")
            if not token:
                break
        for uid in [each for each in self._known if each not in found]:
            yield "DELETED", self._known.pop(uid)
        for pod in found.values():
            yield from self._told("MODIFIED", pod)
        self._version = version

    def _follow(self, cancel: CancelToken) -> Iterator[Event]:
        query = {
            **self._query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(WATCH_S),
        }
        for line in read_until(self._client.stream(self._path, query), cancel):
            try:
                event = json.loads(line)
            except ValueError as cause:
                raise PodApiUnavailable("the Kubernetes API sent half an event", op="watch", subject=self._path) from cause
            pod = event["object"]
            match event["type"]:
                case "ERROR":
                    if pod.get("code") == 410:  # noqa: PLR2004  HTTP: gone
                        raise PodListExpired(str(pod.get("message")), op="watch", subject=self._path)
                    raise PodApiUnavailable(str(pod.get("message")), op="watch", subject=self._path)
                case "BOOKMARK":
                    self._version = pod["metadata"]["resourceVersion"]
                case kind:
                    self._version = pod["metadata"]["resourceVersion"]
                    yield from self._told(kind, pod)

    def _told(self, kind: str, pod: Pod) -> Iterator[Event]:
        uid = str(pod["metadata"]["uid"])
        known = self._known.get(uid)
        if kind == "DELETED":
            if self._known.pop(uid, None) is not None:
                yield kind, pod
        elif known is None:
            self._known[uid] = _kept(pod)
            yield "ADDED", pod
        elif _number(pod) > _number(known):
            self._known[uid] = _kept(pod)
            yield "MODIFIED", pod


def read_until(lines: LineStream, cancel: CancelToken) -> Iterator[bytes]:
    """The lines until ``cancel``, although reading blocks: a thread reads, and the stream is closed under it."""
    found: queue.Queue[bytes | CopilotError | None] = queue.Queue(1000)
    stop = threading.Event()

    def put(item: bytes | CopilotError | None) -> bool:
        while not stop.is_set():
            try:
                found.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for line in lines:
                if not put(line):
                    return
        except CopilotError as error:
            put(error)
        else:
            put(None)

    thread = threading.Thread(target=read, name="kubernetes-stream", daemon=True)
    thread.start()
    try:
        yield from _taken(found, cancel)
    finally:
        stop.set()
        lines.interrupt()
        thread.join(timeout=_JOIN_S)
        if not thread.is_alive():
            lines.close()


def _taken(found: queue.Queue[bytes | CopilotError | None], cancel: CancelToken) -> Iterator[bytes]:
    while not cancel.cancelled:
        try:
            item = found.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        if item is None:
            return
        if isinstance(item, CopilotError):
            raise item
        yield item


def _kept(pod: Pod) -> Pod:
    """What is kept of each pod, to tell of its going after a gap: names, labels and its last status, not its spec."""
    metadata = {name: pod["metadata"][name] for name in _KEPT if name in pod["metadata"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": pod.get("status") or {}}


_KEPT: Final = ("name", "namespace", "uid", "resourceVersion", "labels", "annotations", "deletionTimestamp")


def _number(pod: Pod) -> int:
    """Versions grow; their order is only used for one object, to drop what was seen."""
    version = str(pod["metadata"].get("resourceVersion") or 0)
    return int(version) if version.isdigit() else 0


__all__ = ["PodWatch", "read_until"]
