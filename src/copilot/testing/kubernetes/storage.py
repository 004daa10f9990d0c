"""The objects of the API double: versions, deletion with grace and finalizers, and the history that watches read."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from copilot.control_plane.executors.processes.status import TERMINAL, rfc3339
from copilot.testing.kubernetes.errors import already_exists, conflict, gone, not_found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PODS: Final = "pods"
DEFAULT_GRACE_S: Final = 30
Object = dict[str, Any]
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the history: the object after the change, and before it (None for a new one)."""

    version: int
    kind: str
    plural: str
    after: Object
    before: Object | None


class Storage:
    """Every object, by plural, namespace and name. Safe from many threads.

    Args:
        history: how many changes are kept for watches; who asks for older ones gets 410.
        clock_skew_s: added to the server's time.
    """

    def __init__(self, *, history: int = 20_000, clock_skew_s: float = 0.0) -> None:
        """See the class."""
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.clock_skew_s = clock_skew_s
        self._objects: dict[Key, Object] = {}
        self._history: deque[Change] = deque(maxlen=history)
        self._version = 100
        self._oldest = 100
        self._listeners: list[Callable[[Change], None]] = []
        self._lagging: tuple[dict[Key, Object], int] | None = None

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """The latest version."""
        return self._version

    def now(self) -> str:
        """The server's time, whole seconds as in ``metav1.Time``."""
        return rfc3339(time.time() + self.clock_skew_s)

    def get(self, plural: str, namespace: str, name: str) -> Object:
        """A copy. Raises 404."""
        with self.lock:
            found = self._objects.get((plural, namespace, name))
            if found is None:
                raise not_found(plural, name)
            return copy.deepcopy(found)

    def list(self, plural: str, namespace: str | None) -> tuple[list[Object], int]:
        """The objects in the order of their keys, not to be changed, and the version of the list."""
        with self.lock:
            keys = sorted(key for key in self._objects if key[0] == plural and namespace in {None, "", key[1]})
            return [self._objects[key] for key in keys], self._version

    def listed(self, plural: str, namespace: str | None) -> tuple[Sequence[Object], int]:
        """As ``list``, as a server that lags behind answers it."""
        with self.lock:
            if self._lagging is None:
                return self.list(plural, namespace)
            objects, version = self._lagging
            keys = sorted(key for key in objects if key[0] == plural and namespace in {None, "", key[1]})
            return [objects[key] for key in keys], version

    def lag(self) -> None:
        """From now on lists are answered as things are now, whatever becomes of them: a server that hears of no change."""
        with self.lock:
            self._lagging = dict(self._objects), self._version

    def catch_up(self) -> None:
        """Lists are true again."""
        with self.lock:
            self._lagging = None

    def since(self, version: int) -> Sequence[Change]:
        """The changes after a version. Raises 410 when they are not all kept."""
        with self.lock:
            if version < self._oldest:
                raise gone(self._oldest, version)
            found = []
            for each in reversed(self._history):
                if each.version <= version:
                    break
                found.append(each)
            return found[::-1]

    def forget(self) -> None:
        """Drops the history, as compaction does: whoever watches from an older version gets 410."""
        with self.lock:
            self._history.clear()
            self._oldest = self._version

    def listen(self, listener: Callable[[Change], None]) -> None:
        """Calls back with each change, in order, under the lock."""
        self._listeners.append(listener)

    def each(self, plural: str) -> Iterator[Object]:
        """A snapshot of all objects of a kind."""
        return iter(self.list(plural, None)[0])

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(self, plural: str, namespace: str, manifest: Mapping[str, Any]) -> Object:
        """Raises 409."""
        with self.lock:
            metadata = dict(manifest.get("metadata") or {})
            if not metadata.get("name") and metadata.get("generateName"):
                metadata["name"] = f"{metadata['generateName']}{uuid.uuid4().hex[:5]}"
            key = (plural, namespace, str(metadata["name"]))
            if key in self._objects:
                raise already_exists(plural, key[2])
            metadata |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": self.now()}
            for field in ("deletionTimestamp", "deletionGracePeriodSeconds"):
                metadata.pop(field, None)
            return self._write(key, {**copy.deepcopy(dict(manifest)), "metadata": metadata}, "ADDED")

    def change(self, plural: str, namespace: str, name: str, changing: Callable[[Object], Object]) -> Object:
        """Reads, changes and writes under the lock; a stale ``resourceVersion`` in what comes back is 409."""
        with self.lock:
            before = self.get(plural, namespace, name)
            after = changing(copy.deepcopy(before))
            metadata, known = dict(after.get("metadata") or {}), before["metadata"]
            if metadata.get("resourceVersion") not in {None, "", known["resourceVersion"]}:
                raise conflict(plural, name)
            if metadata.get("uid") not in {None, "", known["uid"]}:
                raise conflict(plural, name, "Precondition failed: UID in precondition")
            for field in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
                if field in known:
                    metadata[field] = known[field]
                else:
                    metadata.pop(field, None)
            metadata["resourceVersion"] = known["resourceVersion"]
            after["metadata"] = metadata
            if not metadata.get("finalizers"):
                metadata.pop("finalizers", None)
            if after == before:
                return before
            return self._settle((plural, namespace, name), after)

    def delete(self, plural: str, namespace: str, name: str, *, grace_s: int | None = None, uid: str = "") -> Object:
        """Deletes, or begins to: pods that run get a grace period, whoever has finalizers stays until they are off."""
        with self.lock:
            after = self.get(plural, namespace, name)
            metadata = after["metadata"]
            if uid and uid != metadata["uid"]:
                raise conflict(
                    plural, name, f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}"
                )
            grace = self._grace(plural, after, grace_s)
            known = metadata.get("deletionGracePeriodSeconds")
            if known is None or grace < known:
                metadata["deletionTimestamp"] = rfc3339(time.time() + self.clock_skew_s + grace)
                metadata["deletionGracePeriodSeconds"] = grace
            return self._settle((plural, namespace, name), after)

    def _grace(self, plural: str, pod: Object, asked: int | None) -> int:
        if plural != PODS or not pod["spec"].get("nodeName") or (pod.get("status") or {}).get("phase") in TERMINAL:
            return 0
        grace = pod["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE_S) if asked is None else asked
        return max(0, int(grace))

    def _settle(self, key: Key, after: Object) -> Object:
        """Writes; an object that is to go, has no finalizer and no grace left goes."""
        metadata = after["metadata"]
        going = "deletionTimestamp" in metadata and not metadata.get("deletionGracePeriodSeconds")
        if going and not metadata.get("finalizers"):
            return self._write(key, after, "DELETED")
        if after == self._objects.get(key):
            return copy.deepcopy(after)
        return self._write(key, after, "MODIFIED")

    def _write(self, key: Key, after: Object, kind: str) -> Object:
        before = self._objects.get(key)
        self._version += 1
        after["metadata"]["resourceVersion"] = str(self._version)
        if kind == "DELETED":
            del self._objects[key]
        else:
            self._objects[key] = after
        if len(self._history) == self._history.maxlen:
            self._oldest = self._history[0].version
        change = Change(self._version, kind, key[0], after, before)
        self._history.append(change)
        for listener in self._listeners:
            listener(change)
        self.changed.notify_all()
        return copy.deepcopy(after)
