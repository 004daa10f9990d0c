"""A real cluster for tests: a namespace of its own that goes afterwards, and an image with a shell that is on the nodes."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from copilot import __version__
from copilot.control_plane.executors.api_client import STRATEGIC_PATCH, ApiClient
from copilot.control_plane.executors.cluster import from_kubeconfig
from copilot.control_plane.executors.kubernetes import FINALIZER
from copilot.core.errors import CopilotError, PodNotFound, PodRefused
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock

Pod = Mapping[str, Any]
LABEL: Final = "copilot.dev/test"
TEST_IMAGE: Final = f"localhost/copilot-test:{__version__}"
SHELLS: Final = (TEST_IMAGE, "busybox", "busybox:1.36", "busybox:1.37", "alpine", "debian:bookworm-slim", "python:3.11-slim")
LOAD: Final = (
    "Make it with scripts/image copilot test, and load it on every node: kind load docker-image, minikube image load, "
    "k3s ctr images import, ctr -n k8s.io images import."
)
SHELL: Final = ("/bin/sh", "-c", "true")
ENFORCED: Final = {"pod-security.kubernetes.io/enforce": "restricted"}
LEAST_MINOR: Final = 29
PATIENCE_S: Final = 180.0
GOING_S: Final = 30.0
_POLL_S: Final = 0.2
_NOT_THERE: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CreateContainerError", "RunContainerError"}
)
#: What the restricted profile of the Pod Security Standards wants, and what a ResourceQuota or a LimitRange may want.
RESTRICTED_POD: Final[Mapping[str, Any]] = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESTRICTED_CONTAINER: Final[Mapping[str, Any]] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
SMALL: Final[Mapping[str, Any]] = {
    "requests": {"cpu": "10m", "memory": "16Mi"},
    "limits": {"cpu": "500m", "memory": "64Mi"},
}


class ClusterUnfit(RuntimeError):
    """The tests cannot run on this cluster; the message is one sentence, and what to do."""


@contextmanager
def cluster_room(
    kubeconfig: str, *, namespace: str = "", shell_image: str = "", patience_s: float = PATIENCE_S
) -> Iterator[ClusterRoom]:
    """A room on the cluster that a kubeconfig names; whatever is in it goes at the end.

    Args:
        kubeconfig: a file, or several as in ``KUBECONFIG``: the first that is there.
        namespace: one that is there already; empty: a new one, which goes at the end.
        shell_image: an image with ``/bin/sh``; empty: the first of ``SHELLS`` that is on a node.
        patience_s: how long the cluster may take for one step.

    Raises:
        ClusterUnfit: no answer, too old, a right that is missing, no image.
    """
    room = ClusterRoom(kubeconfig, namespace, patience_s)
    room.ask_version()
    room.open()
    try:
        room.find_shell(shell_image)
        yield room
    finally:
        room.close()


def fitted(pod: Pod, image: str) -> dict[str, Any]:
    """A pod as any namespace takes it: small, restricted, its containers in ``image``, which is not pulled when it is there."""
    metadata, spec = pod["metadata"], dict(pod["spec"])
    defaults = {
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": RESTRICTED_CONTAINER,
        "resources": SMALL,
    }
    for part in ("initContainers", "containers"):
        spec[part] = [{**defaults, **each, "image": image} for each in spec.get(part) or ()]
    return {
        **pod,
        "metadata": {**metadata, "labels": {**metadata.get("labels", {}), LABEL: "pod"}},
        "spec": {"securityContext": RESTRICTED_POD, "automountServiceAccountToken": False, **spec},
    }


class ClusterRoom:
    """A namespace for tests; made by ``cluster_room``.

    Attributes:
        cluster: where, and who we are; its namespace is the room's.
        version: what the API server says it is, like ``v1.32.4``.
        shell_image: an image that is on a node, with ``/bin/sh``.
    """

    def __init__(self, kubeconfig: str, namespace: str, patience_s: float) -> None:
        """See ``cluster_room``."""
        files = [Path(each) for each in kubeconfig.split(os.pathsep) if each]
        if not files:
            raise ClusterUnfit("KUBECONFIG names no cluster: set it to a kubeconfig's path")
        file = next((each for each in files if each.exists()), files[0])
        try:
            found = from_kubeconfig(file)
        except CopilotError as cause:
            raise ClusterUnfit(f"{cause.message} ({file})") from cause
        self._own = not namespace
        name = namespace or f"copilot-test-{uuid.uuid4().hex[:8]}"
        self.cluster = replace(found, namespace=name)
        self.version = self.shell_image = ""
        self._client = ApiClient(self.cluster)
        self._patience_s = patience_s
        self._path = f"/api/v1/namespaces/{name}"

    @property
    def namespace(self) -> str:
        """The room's namespace."""
        return self.cluster.namespace

    def ask_version(self) -> None:
        """Who answers."""
        try:
            found = self._client.call("GET", "/version")
        except CopilotError as cause:
            raise ClusterUnfit(f"the cluster of KUBECONFIG cannot be used ({self.cluster.url}): {cause.message}") from cause
        minor = "".join(filter(str.isdigit, str(found.get("minor"))))
        if str(found.get("major")) == "1" and minor and int(minor) < LEAST_MINOR:
            raise ClusterUnfit(f"the cluster is Kubernetes {found['gitVersion']}: native sidecars need 1.{LEAST_MINOR}")
        self.version = str(found.get("gitVersion"))

    def open(self) -> None:
        """Makes the namespace, and waits until pods can be made in it."""
        if not self._own:
            return
        body = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": {LABEL: "namespace", **ENFORCED}},
        }
        try:
            self._client.call("POST", "/api/v1/namespaces", body=body)
        except PodRefused as cause:
            raise ClusterUnfit(
                f"no namespace could be made for the tests: {cause.message}. "
                "Grant create and delete of namespaces, or name one that is there: COPILOT_TEST_NAMESPACE."
            ) from cause
        try:
            # A pod is refused before its namespace has the account that a controller makes for it.
            self._until(lambda: self._there("/serviceaccounts/default"), "the namespace's default service account")
        except BaseException:
            self.close()
            raise

    def find_shell(self, wanted: str) -> None:
        """The image with a shell: the one that is named, else the first that some node has."""
        if wanted:
            self.needs(wanted, SHELL)
        found = [wanted] if wanted else self._that_run(SHELLS, SHELL, "Never")
        if not found:
            raise ClusterUnfit(f"no node has an image with a shell ({TEST_IMAGE}, busybox; or COPILOT_TEST_IMAGE). {LOAD}")
        self.shell_image = found[0]

    def create(self, plural: str, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Makes an object in the room. Raises ``ClusterUnfit`` when the cluster does not take it."""
        try:
            return self._client.call("POST", f"{self._path}/{plural}", body=manifest)
        except PodRefused as cause:
            raise ClusterUnfit(f"the cluster takes no {plural} of ours in {self.namespace}: {cause.message}") from cause

    def address(self, pod: str) -> str:
        """The address of a pod that is ready. Raises ``ClusterUnfit`` when it never is."""
        found: list[str] = []

        def told() -> bool:
            status = self._client.call("GET", f"{self._path}/pods/{pod}").get("status") or {}
            ready = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or ())
            found[:] = [str(status["podIP"])] if ready and status.get("podIP") else []
            return bool(found)

        self._until(told, f"the pod {pod} to listen", also=lambda: self._waits_for(f"/pods/{pod}"))
        return found[0]

    def needs(self, image: str, command: Sequence[str]) -> None:
        """Raises ``ClusterUnfit`` when an image is not there, or the command fails in it."""
        if not self._that_run([image], command, "IfNotPresent"):
            raise ClusterUnfit(f"no node has {image}, or `{' '.join(command)}` fails in it. {LOAD}")

    def _that_run(self, images: Sequence[str], command: Sequence[str], policy: str) -> list[str]:
        """The images in which a command succeeds: one pod, a container each."""
        names = {f"image-{number}": image for number, image in enumerate(images)}
        pod = fitted(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"which-image-{uuid.uuid4().hex[:6]}", "namespace": self.namespace},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": name, "command": list(command)} for name in names],
                },
            },
            "",
        )
        for each in pod["spec"]["containers"]:
            each |= {"image": names[each["name"]], "imagePullPolicy": policy}
        path = f"/pods/{self.create('pods', pod)['metadata']['name']}"
        states: dict[str, Mapping[str, Any]] = {}

        def told() -> bool:
            status = self._client.call("GET", self._path + path)["status"]
            states.update({each["name"]: each.get("state") or {} for each in status.get("containerStatuses") or ()})
            return len(states) == len(names) and all(map(_settled, states.values()))

        try:
            self._until(told, "a first pod on a node", also=lambda: self._waits_for(path))
        finally:
            self._remove(path)
        return [names[name] for name in names if states[name].get("terminated", {}).get("exitCode") == 0]

    def close(self) -> None:
        """Takes the pods away, whatever finalizers hold them, and the namespace if it is ours."""
        for path in self._left():
            self._remove(path)
        with contextlib.suppress(ClusterUnfit):
            self._until(lambda: not self._left(), "the pods to go", patience_s=GOING_S)
        for path in self._left():
            # A kubelet keeps to the first grace that it was told; the object need not wait for it.
            self._remove(path, grace_s=0)
        if self._own:
            with contextlib.suppress(PodNotFound):
                self._client.call("DELETE", self._path)
            self._until(lambda: not self._there(""), "the namespace to go")

    def _left(self) -> list[str]:
        """The paths of the pods that are there."""
        query = {} if self._own else {"labelSelector": LABEL}
        found = self._client.call("GET", f"{self._path}/pods", query=query).get("items") or ()
        return [f"/pods/{pod['metadata']['name']}" for pod in found]

    def _remove(self, path: str, *, grace_s: int = 1) -> None:
        """Lets go of a pod and deletes it."""
        patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
        with contextlib.suppress(PodNotFound):
            self._client.call("PATCH", self._path + path, body=patch, content_type=STRATEGIC_PATCH)
            self._client.call("DELETE", self._path + path, body={"gracePeriodSeconds": grace_s})

    def _there(self, path: str) -> bool:
        try:
            self._client.call("GET", self._path + path)
        except PodNotFound:
            return False
        return True

    def _waits_for(self, path: str) -> str:
        """Why a pod does not run: the scheduler's own words."""
        status = self._client.call("GET", self._path + path).get("status") or {}
        return "; ".join(str(each["message"]) for each in status.get("conditions") or () if each.get("message"))

    def _until(
        self, done: Callable[[], bool], what: str, *, also: Callable[[], str] = str, patience_s: float | None = None
    ) -> None:
        patience_s = patience_s or self._patience_s
        token = Token(SystemClock(), timeout_s=patience_s)
        while not done():
            if token.wait(_POLL_S):
                why = also()
                raise ClusterUnfit(f"waited {patience_s:.0f} s in vain for {what}{f': {why}' if why else ''}")


def _settled(state: Mapping[str, Any]) -> bool:
    return "terminated" in state or (state.get("waiting") or {}).get("reason") in _NOT_THERE


__all__ = ["LABEL", "TEST_IMAGE", "ClusterRoom", "ClusterUnfit", "cluster_room", "fitted"]
