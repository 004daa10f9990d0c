"""A ``PodApi`` in memory whose kubelet is the test: pods start and end when it says so."""

from __future__ import annotations

import copy
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from copilot.core.errors import CopilotError, PodApiUnavailable, PodExists, PodNotFound

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken

Pod = dict[str, Any]


class FakePods:
    """Pods that do nothing by themselves.

    Attributes:
        created: the name of every pod ever created, in order: a name that stands twice was started twice.
        secrets: the Secret objects that came with each pod.
        failing: while set, every call raises ``PodApiUnavailable``.
        dead: while set, no node answers: a deletion is asked for and never confirmed.
        released: the names of pods whose finalizer was taken off.
        log_error: what reading a log raises.
        on_create: called with each new pod's name, on the creator's thread: a kubelet that acts by itself.
    """

    def __init__(self) -> None:
        self.created: list[str] = []
        self.secrets: dict[str, Sequence[Mapping[str, object]]] = {}
        self.deleted: list[tuple[str, float]] = []
        self.failing, self.dead = threading.Event(), threading.Event()
        self.released: list[str] = []
        self.log_error: CopilotError | None = None
        self.on_create: Callable[[str], None] | None = None
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._pods: dict[str, Pod] = {}
        self._logs: dict[str, bytes] = {}
        self._cut: set[str] = set()
        self._watchers: list[queue.SimpleQueue[tuple[str, Pod]]] = []
        self._version = 0

    # --- what the test does -------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The pods that are there."""
        with self._lock:
            return sorted(self._pods)

    def running(self) -> list[str]:
        """The pods that have not ended."""
        with self._lock:
            return sorted(name for name, pod in self._pods.items() if pod["status"]["phase"] not in {"Succeeded", "Failed"})

    def wait_created(self, count: int, timeout_s: float = 20.0) -> list[str]:
        """Until ``count`` pods were created in all; their names, in order."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.created) >= count, timeout_s):
                raise TimeoutError(f"{len(self.created)} of {count} pods were created: {self.created}")
            return list(self.created)

    def wait_empty(self, timeout_s: float = 20.0) -> None:
        """Until no pod is left."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._pods, timeout_s):
                raise TimeoutError(f"there are still the pods {sorted(self._pods)}")

    def start(self, name: str) -> None:
        """Main runs."""

        def status(pod: Pod) -> None:
            pod["status"] |= {"phase": "Running", "startTime": _now()}
            pod["status"]["containerStatuses"] = [
                {"name": each["name"], "restartCount": 0, "state": {"running": {"startedAt": _now()}}}
                for each in pod["spec"]["containers"]
            ]

        self._change(name, status)

    def write_log(self, name: str, data: bytes) -> None:
        """Main prints."""
        with self._changed:
            self._logs[name] = self._logs.get(name, b"") + data
            self._changed.notify_all()

    def cut_log(self, name: str) -> None:
        """Who follows the log hears nothing more, until the pod is gone and that is all there is to say."""
        with self._changed:
            self._cut.add(name)

    def finish(self, name: str, exit_code: int = 0, *, reason: str = "", **status: object) -> None:
        """Main and its pod end."""

        def change(pod: Pod) -> None:
            ended = {
                "exitCode": exit_code,
                "reason": reason or ("Completed" if exit_code == 0 else "Error"),
                "finishedAt": _now(),
            }
            for container in pod["status"].get("containerStatuses", ()):
                started = container["state"].get("running", {}).get("startedAt", _now())
                container["state"] = {"terminated": {"startedAt": started, **ended}}
            pod["status"] |= {"phase": "Succeeded" if exit_code == 0 else "Failed", **status}

        self._change(name, change)

    def patch_status(self, name: str, **status: object) -> None:
        """Anything else a status can hold."""
        self._change(name, lambda pod: pod["status"].update(status))

    def vanish(self, name: str) -> None:
        """The pod is gone without a trace, as after a lost node."""
        with self._changed:
            pod = self._pods.pop(name)
            self._tell("DELETED", pod)

    # --- PodApi -------------------------------------------------------------------------------------------------------

    def create(self, manifest: Mapping[str, Any], *, secrets: Sequence[Mapping[str, object]] = ()) -> Mapping[str, object]:
        """See the port."""
        self._check()
        pod = copy.deepcopy(dict(manifest))
        name = pod["metadata"]["name"]
        with self._changed:
            if name in self._pods:
                raise PodExists(f"a pod named {name} is there already", op="create", subject=name)
            pod["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": _now()}
            pod["status"] = {"phase": "Pending"}
            self._pods[name] = pod
            self.secrets[name] = secrets
            self.created.append(name)
            self._tell("ADDED", pod)
            made = copy.deepcopy(pod)
        # As on a cluster, the answer is the pod as it was made, whatever has become of it by now.
        if self.on_create is not None:
            self.on_create(name)
        return made

    def get(self, namespace: str, name: str) -> Mapping[str, object]:
        """See the port."""
        self._check()
        with self._lock:
            if name not in self._pods:
                raise PodNotFound(f"there is no pod named {name}", op="get", subject=f"{namespace}/{name}")
            return copy.deepcopy(self._pods[name])

    def watch(self, namespace: str, cancel: CancelToken) -> Iterator[tuple[str, Mapping[str, object]]]:
        """See the port."""
        del namespace
        self._check()
        events: queue.SimpleQueue[tuple[str, Pod]] = queue.SimpleQueue()
        with self._lock:
            for pod in self._pods.values():
                events.put(("ADDED", copy.deepcopy(pod)))
            events.put(("BOOKMARK", {"metadata": {"annotations": {"k8s.io/initial-events-end": "true"}}}))
            self._watchers.append(events)
        try:
            while not cancel.cancelled:
                try:
                    yield events.get(timeout=0.05)
                except queue.Empty:
                    self._check()
        finally:
            with self._lock:
                self._watchers.remove(events)

    def logs(
        self, namespace: str, name: str, container: str, *, follow: bool, cancel: CancelToken, timestamps: bool = False
    ) -> Iterator[bytes]:
        """See the port."""
        self.get(namespace, name)
        if self.log_error is not None:
            raise self.log_error
        del container
        sent = 0
        while True:
            with self._changed:
                if follow and name in self._cut:
                    self._changed.wait_for(lambda: name not in self._pods)
                    raise PodNotFound(f"there is no pod named {name}", op="logs", subject=f"{namespace}/{name}")
                data = self._logs.get(name, b"")[sent:]
                over = name not in self._pods or self._pods[name]["status"]["phase"] in {"Succeeded", "Failed"}
                if not data and follow and not over:
                    self._changed.wait(0.05)
            for line in data.splitlines(keepends=True):
                yield f"{_now()} ".encode() + line if timestamps else line
            sent += len(data)
            if not data and (over or not follow or cancel.cancelled):
                return

    def delete(self, namespace: str, name: str, *, grace_s: float) -> None:
        """See the port: the test's kubelet kills at once."""
        del namespace
        self._check()
        with self._changed:
            pod = self._pods.get(name)
            if pod is None:
                return
            self.deleted.append((name, grace_s))
            pod["metadata"]["deletionTimestamp"] = _now()
            self._tell("MODIFIED", pod)
        if pod["status"]["phase"] not in {"Succeeded", "Failed"} and not self.dead.is_set():
            self.finish(name, 137)

    def release(self, namespace: str, name: str) -> None:
        """See the port."""
        del namespace
        self._check()
        with self._changed:
            pod = self._pods.get(name)
            self.released.append(name)
            if pod is not None and pod["status"]["phase"] in {"Succeeded", "Failed"}:
                del self._pods[name]
                self._tell("DELETED", pod)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self.failing.is_set():
            raise PodApiUnavailable("the executor does not answer")

    def _change(self, name: str, change: Callable[[Pod], None]) -> None:
        with self._changed:
            pod = self._pods[name]
            change(pod)
            self._tell("MODIFIED", pod)

    def _tell(self, kind: str, pod: Pod) -> None:
        self._version += 1
        pod["metadata"]["resourceVersion"] = str(self._version)
        for events in self._watchers:
            events.put((kind, copy.deepcopy(pod)))
        self._changed.notify_all()


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat().replace("+00:00", "Z")
