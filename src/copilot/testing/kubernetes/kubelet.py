"""The double's scheduler and kubelet: binds pods to its one node, runs them as processes, writes their status."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from copilot.control_plane.executors.processes.expansion import object_data
from copilot.control_plane.executors.processes.loop import Loop
from copilot.control_plane.executors.processes.runner import NodeSettings, PodRunner
from copilot.control_plane.executors.processes.status import TERMINAL
from copilot.testing.kubernetes.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from copilot.testing.kubernetes.storage import Change, Object, Storage

NODE: Final = "double-0"
ROOT_CA: Final = "kube-root-ca.crt"  # which a cluster puts into every namespace
_REFERENCES: Final = {
    "secretRef": "Secret",
    "secretKeyRef": "Secret",
    "configMapRef": "ConfigMap",
    "configMapKeyRef": "ConfigMap",
}
_NOT_STARTED: Final = {"imageID": "", "ready": False, "started": False, "restartCount": 0, "lastState": {}}


class _Runner(PodRunner):
    """A pod whose ``activeDeadlineSeconds`` may change while it runs: one of the few fields that the API lets change."""

    def take_deadline(self, active_deadline_s: float | None) -> None:
        """As the pod's object has it now."""
        if active_deadline_s != self.machine.spec.active_deadline_s:
            self.machine.spec = replace(self.machine.spec, active_deadline_s=active_deadline_s)
            self._tick()


class Kubelet:
    """One node.

    Args:
        storage: the API's objects.
        root: where pods have their directories.
        settings: how processes are run.
        token: what the API wants; every service account's.
        authority: the PEM of who signed the API's certificate.

    Attributes:
        missing_images: containers with these images wait in ``ErrImagePull``.
        unschedulable: new pods stay unscheduled, with this message; empty: they are bound at once.
    """

    def __init__(
        self, storage: Storage, root: Path, settings: NodeSettings, *, token: str = "", authority: bytes = b""
    ) -> None:
        """See the class."""
        self._storage, self._root, self._settings = storage, root, settings
        self._token, self._authority = token, authority
        self._loop = Loop()
        self._runners: dict[str, _Runner] = {}
        self._graces: dict[str, int] = {}
        self.missing_images: set[str] = set()
        self.unschedulable = ""
        self._stopping, self._dead = False, False
        self._thread = threading.Thread(target=self._loop.run, name="kubelet", daemon=True)
        storage.listen(self._hear)

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def stop(self) -> None:
        """Kills everything it runs and ends."""

        def kill() -> None:
            self._stopping = True
            for runner in self._runners.values():
                runner.delete(0)
            self._end_when_idle()

        self._loop.call_soon(kill)
        self._thread.join(timeout=30)
        shutil.rmtree(self._root, ignore_errors=True)

    def die(self) -> None:
        """From now on it tells and hears nothing, as on a node that is lost; what runs there goes on unseen."""
        self._dead = True

    def kill_container(self, namespace: str, name: str, container: str) -> None:
        """SIGKILL to one container's process, as somebody on the node could send."""
        uid = self._storage.get("pods", namespace, name)["metadata"]["uid"]
        self._loop.call_soon(lambda: self._runners[uid].kill(container))

    def log_file(self, pod: Mapping[str, Any], container: str, *, previous: bool = False) -> Path | None:
        """The log of a container's current or previous run; None before there is one."""
        attempt = int(_status_of(pod, container).get("restartCount", 0)) - previous
        file = self._place(pod) / "logs" / container / f"{attempt}.log"
        return file if file.exists() else None

    def writes(self, pod: Mapping[str, Any], container: str) -> bool:
        """The container still runs."""
        with contextlib.suppress(ApiError):
            now = self._storage.get("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
            same = now["metadata"]["uid"] == pod["metadata"]["uid"]
            return same and "running" in _status_of(now, container).get("state", {})
        return False

    # --- what it hears -------------------------------------------------------------------------------------------------

    def _hear(self, change: Change) -> None:
        if change.plural == "pods" and not self._dead:
            self._loop.call_soon(lambda: self._see(change))

    def _see(self, change: Change) -> None:
        pod, uid = change.after, change.after["metadata"]["uid"]
        if change.kind == "DELETED":
            runner = self._runners.get(uid)
            if runner is not None and not runner.machine.finished:
                runner.delete(0)
            return
        if not pod["spec"].get("nodeName"):
            self._schedule(pod)
        elif uid not in self._runners and pod["status"].get("phase") not in TERMINAL:
            self._run(pod)
        elif uid in self._runners:
            self._runners[uid].take_deadline(pod["spec"].get("activeDeadlineSeconds"))
        grace = pod["metadata"].get("deletionGracePeriodSeconds")
        if grace is not None and uid in self._runners and uid not in self._graces:
            # A real kubelet goes on with the grace that it began with, whatever a later deletion says.
            self._graces[uid] = grace
            self._runners[uid].delete(grace)

    def _schedule(self, pod: Object) -> None:
        metadata = pod["metadata"]
        if "deletionTimestamp" in metadata:
            return
        if self.unschedulable:
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": self.unschedulable}
            if condition["message"] not in str(pod["status"].get("conditions")):
                condition["lastTransitionTime"] = self._storage.now()
                self._write(pod, {**pod["status"], "conditions": [condition]})
            return

        def bound(fresh: Object) -> Object:
            return {**fresh, "spec": {**fresh["spec"], "nodeName": NODE}}

        with contextlib.suppress(ApiError):
            self._storage.change("pods", metadata["namespace"], metadata["name"], bound)

    def schedule_waiting(self) -> None:
        """Room was made: what waited is bound."""
        self.unschedulable = ""

        def again() -> None:
            for pod in self._storage.each("pods"):
                if not pod["spec"].get("nodeName"):
                    self._schedule(pod)

        self._loop.call_soon(again)

    def _run(self, pod: Object) -> None:
        if self._stopping or pod["metadata"]["uid"] in self._runners:
            return
        images = {each["image"] for each in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]}
        missing = images & self.missing_images
        if missing:
            self._wait_for_image(pod, min(missing))
            return
        namespace, uid = pod["metadata"]["namespace"], pod["metadata"]["uid"]
        needed = sorted(_objects_named(pod), key=_volumes_named(pod).__contains__, reverse=True)
        for kind, name in needed:
            if self._data(namespace, kind, name) is None:
                # A real kubelet waits for a missing Secret as well, and looks again.
                self._wait_for_object(pod, kind, name)
                self._loop.call_at(_soon(), lambda: self._see_again(pod))
                return
        runner = _Runner(
            pod,
            self._place(pod),
            self._loop,
            self._settings,
            data=lambda kind, name: self._data(namespace, kind, name),
            on_status=lambda status: self._write(pod, dict(status)),
            on_finished=lambda: self._finished(pod),
        )
        self._runners[uid] = runner
        runner.begin()

    def _see_again(self, pod: Object) -> None:
        with contextlib.suppress(ApiError):
            fresh = self._storage.get("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
            if fresh["metadata"]["uid"] == pod["metadata"]["uid"] and "deletionTimestamp" not in fresh["metadata"]:
                self._run(fresh)

    def _wait_for_object(self, pod: Object, kind: str, name: str) -> None:
        waiting = {"waiting": {"reason": "CreateContainerConfigError", "message": f'{kind.lower()} "{name}" not found'}}
        if (kind, name) in _volumes_named(pod):
            # A volume that cannot be mounted is told by an event alone: no container has been tried.
            waiting = {"waiting": {"reason": "PodInitializing" if pod["spec"].get("initContainers") else "ContainerCreating"}}
        if waiting["waiting"]["reason"] not in str(pod["status"]):
            self._write(pod, {**pod["status"], "phase": "Pending", "containerStatuses": _statuses(pod, waiting)})

    def _wait_for_image(self, pod: Object, image: str) -> None:
        message = f'Back-off pulling image "{image}": ErrImagePull: failed to resolve reference "{image}": not found'
        waiting = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
        if "ImagePullBackOff" not in str(pod["status"]):
            self._write(
                pod,
                {
                    **pod["status"],
                    "phase": "Pending",
                    "startTime": self._storage.now(),
                    "containerStatuses": _statuses(pod, waiting),
                },
            )
        if "deletionTimestamp" in pod["metadata"]:
            self._remove(pod)

    def _finished(self, pod: Object) -> None:
        self._loop.call_soon(lambda: self._forget(pod["metadata"]["uid"]))
        with contextlib.suppress(ApiError):
            fresh = self._storage.get("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
            if "deletionTimestamp" in fresh["metadata"]:
                self._remove(pod)

    def _forget(self, uid: str) -> None:
        self._runners.pop(uid, None)
        self._graces.pop(uid, None)

    def _remove(self, pod: Object) -> None:
        metadata = pod["metadata"]
        if self._dead:
            return
        with contextlib.suppress(ApiError):
            self._storage.delete("pods", metadata["namespace"], metadata["name"], grace_s=0, uid=metadata["uid"])

    def _write(self, pod: Object, status: dict[str, Any]) -> None:
        """The status by a patch of its own; conditions that others set stay."""
        metadata = pod["metadata"]
        if self._dead:
            return

        def changing(fresh: Object) -> Object:
            if fresh["metadata"]["uid"] != metadata["uid"]:
                return fresh
            known = {each["type"] for each in status.get("conditions", ())}
            others = [each for each in fresh["status"].get("conditions", ()) if each["type"] == "DisruptionTarget"]
            conditions = [*status.get("conditions", ()), *(each for each in others if each["type"] not in known)]
            return {**fresh, "status": {**status, "conditions": conditions}}

        with contextlib.suppress(ApiError):
            self._storage.change("pods", metadata["namespace"], metadata["name"], changing)

    def _data(self, namespace: str, kind: str, name: str) -> Mapping[str, bytes] | None:
        if kind == "ServiceAccountToken":
            return {"token": self._token.encode()}
        if (kind, name) == ("ConfigMap", ROOT_CA):
            return {"ca.crt": self._authority}
        try:
            found = self._storage.get("secrets" if kind == "Secret" else "configmaps", namespace, name)
        except ApiError:
            return None
        return object_data({**found, "kind": kind})

    def _place(self, pod: Mapping[str, Any]) -> Path:
        return self._root / str(pod["metadata"]["uid"])

    def _end_when_idle(self) -> None:
        if any(not each.machine.finished for each in self._runners.values()):
            self._loop.call_at(_soon(), self._end_when_idle)
        else:
            self._loop.stop()


def _statuses(pod: Object, state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Main containers that wait."""
    return [
        {**_NOT_STARTED, "name": each["name"], "image": each["image"], "state": state} for each in pod["spec"]["containers"]
    ]


def _soon() -> float:
    return time.monotonic() + 0.05


def _status_of(pod: Mapping[str, Any], container: str) -> Mapping[str, Any]:
    status = pod.get("status") or {}
    every = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    return next((each for each in every if each["name"] == container), {})


def _volumes_named(pod: Mapping[str, Any]) -> set[tuple[str, str]]:
    found = set[tuple[str, str]]()
    for volume in pod["spec"].get("volumes") or ():
        if "secret" in volume and not volume["secret"].get("optional"):
            found.add(("Secret", volume["secret"]["secretName"]))
        if "configMap" in volume and not volume["configMap"].get("optional"):
            found.add(("ConfigMap", volume["configMap"]["name"]))
    return found


def _objects_named(pod: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The Secrets and ConfigMaps that volumes and variables need before their containers may start."""
    found = _volumes_named(pod)
    for container in [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]:
        sources = [each.get("valueFrom") or {} for each in container.get("env") or ()]
        for source in [*sources, *(container.get("envFrom") or ())]:
            for key, kind in _REFERENCES.items():
                if key in source and not source[key].get("optional"):
                    found.add((kind, source[key]["name"]))
    return found
