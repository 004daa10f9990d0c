"""PodApi on a Kubernetes cluster, through its API alone."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from copilot.control_plane.executors.api_client import STRATEGIC_PATCH, ApiClient
from copilot.control_plane.executors.pod_log import PodLog
from copilot.control_plane.executors.pod_watch import PodWatch
from copilot.core.errors import PodExists, PodNotFound, PodQuotaExceeded, PodRefused, PodUnauthenticated
from copilot.core.ports import PodApi
from copilot.engine.cancel import Token
from copilot.engine.retry import Retrier, RetryPolicy

if TYPE_CHECKING:
    from copilot.control_plane.executors.cluster import Cluster
    from copilot.core.ports import CancelToken, Clock, Log

FINALIZER: Final = "copilot.dev/outcome"
OWN_LABELS: Final = "copilot.dev/"
CALL_S: Final = 60.0
_TERMINAL: Final = frozenset({"Succeeded", "Failed"})

T = TypeVar("T")
Pod = Mapping[str, Any]


class KubernetesExecutor(PodApi):
    """Pods of a cluster. Safe from many threads.

    Args:
        cluster: where, and who we are.
        clock: for patience.
        log: hears of retries and of watches that broke.
        selector: the labels of the pods that ``watch`` tells of; empty: all of the namespace.
        patience_s: how long a call, or reading an ended container's log, is tried again while the API is away or throttles.

    Rights needed in the namespace: pods create, get, list, watch, patch, delete; pods/log get; secrets create.
    """

    def __init__(self, cluster: Cluster, *, clock: Clock, log: Log, selector: str = "", patience_s: float = CALL_S) -> None:
        """See the class."""
        self._client = ApiClient(cluster)
        self._clock, self._log, self._selector, self._patience_s = clock, log, selector, patience_s
        policy = RetryPolicy(deadline_s=patience_s, first_contact_s=patience_s, max_wait_s=5.0)
        self._retrier = Retrier(policy, clock=clock, log=log)

    def create(self, manifest: Pod, *, secrets: Sequence[Pod] = ()) -> Pod:
        """See the port. The pod comes first and owns its Secrets: they go with it, and it waits for them."""
        namespace, name = _where(manifest)
        try:
            pod = self._call("create", name, lambda: self._client.call("POST", _pods(namespace), body=manifest))
        except PodExists:
            found = self.get(namespace, name)
            _check_ours(found, manifest)
            self._add_secrets(found, secrets)
            raise
        self._add_secrets(pod, secrets)
        return pod

    def _add_secrets(self, pod: Pod, secrets: Sequence[Pod]) -> None:
        owner = {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"],
        }
        namespace = pod["metadata"]["namespace"]
        for secret in secrets:
            owned = {**secret, "metadata": {**secret["metadata"], "namespace": namespace, "ownerReferences": [owner]}}
            path = f"/api/v1/namespaces/{namespace}/secrets"
            with contextlib.suppress(PodExists):
                self._call("create", owned["metadata"]["name"], functools.partial(self._client.call, "POST", path, body=owned))

    def get(self, namespace: str, name: str) -> Pod:
        """See the port."""
        return self._call("get", name, lambda: self._client.call("GET", _pods(namespace, name)))

    def watch(self, namespace: str, cancel: CancelToken) -> Iterator[tuple[str, Pod]]:
        """See the port."""
        return PodWatch(self._client, _pods(namespace), self._selector, clock=self._clock, log=self._log).events(cancel)

    def logs(
        self, namespace: str, name: str, container: str, *, follow: bool, cancel: CancelToken, timestamps: bool = False
    ) -> Iterator[bytes]:
        """See the port. A stream that breaks is taken up where it was; what has ended is read whole, or that is an error."""
        self.get(namespace, name)
        log = PodLog(
            self._client,
            _pods(namespace, name) + "/log",
            container,
            follow=follow,
            state=lambda: self._log_state(namespace, name, container),
            clock=self._clock,
            patience_s=self._patience_s,
        )
        return log.lines(cancel, timestamps=timestamps)

    def _log_state(self, namespace: str, name: str, container: str) -> tuple[bool, bool]:
        """Whether nothing more will be written, and whether nothing was yet."""
        pod = self.get(namespace, name)
        state = _state(pod, container)
        return pod["status"].get("phase") in _TERMINAL or "terminated" in state, not state or "waiting" in state

    def delete(self, namespace: str, name: str, *, grace_s: float) -> None:
        """See the port. The grace is never 0: that would take the object away while its containers still run."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": max(1, math.ceil(grace_s))}
        try:
            self._call("delete", name, lambda: self._client.call("DELETE", _pods(namespace, name), body=body))
        except PodNotFound:
            return

    def release(self, namespace: str, name: str) -> None:
        """See the port."""
        patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
        path = _pods(namespace, name)
        try:
            pod = self._call(
                "release", name, lambda: self._client.call("PATCH", path, body=patch, content_type=STRATEGIC_PATCH)
            )
        except PodNotFound:
            return
        if pod["status"].get("phase") in _TERMINAL and "deletionTimestamp" not in pod["metadata"]:
            self.delete(namespace, name, grace_s=1)

    def _call(self, op: str, subject: str, call: Callable[[], T]) -> T:
        def attempt() -> T | PodQuotaExceeded | PodUnauthenticated:
            try:
                return call()
            except (PodQuotaExceeded, PodUnauthenticated) as error:
                return error  # it passes when somebody else has acted: whoever asked waits for that, and not one of our threads

        done = self._retrier.call(attempt, cancel=Token(self._clock), op=f"pods.{op}", subject=subject)
        if isinstance(done, PodQuotaExceeded | PodUnauthenticated):
            raise done
        return done


def _where(manifest: Pod) -> tuple[str, str]:
    metadata = manifest.get("metadata") or {}
    name = str(metadata.get("name") or "")
    if not name:
        raise PodRefused("the manifest is no pod: it needs metadata.name", op="create")
    return str(metadata.get("namespace") or "default"), name


def _check_ours(found: Pod, manifest: Pod) -> None:
    """A pod of that name is the one that was to be made if its labels say so. Raises ``PodRefused`` otherwise."""
    labels, wanted = (each["metadata"].get("labels") or {} for each in (found, manifest))
    if any(labels.get(key) != value for key, value in wanted.items() if key.startswith(OWN_LABELS)):
        name = str(manifest["metadata"]["name"])
        raise PodRefused(
            f"there is a pod {name} already, and by its labels it is somebody else's",
            op="create",
            subject=name,
            hint="Delete it, or give this server a namespace of its own.",
        )


def _pods(namespace: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/pods" + (f"/{name}" if name else "")


def _state(pod: Pod, container: str) -> Mapping[str, Any]:
    status = pod.get("status") or {}
    every = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    found: Mapping[str, Any] = next((each.get("state") or {} for each in every if each["name"] == container), {})
    return found
