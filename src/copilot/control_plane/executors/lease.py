"""A Lease of the Kubernetes API, held by one server at a time.

``coordination.k8s.io/v1``, by the rules that the cluster's own controllers keep: the holder renews; who wants it takes it once
it has not changed for its whole duration **on the taker's own clock**, so that clocks need not agree; every write names the
version that was read, so that of two takers one gets 409.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from copilot.control_plane.executors.api_client import ApiClient
from copilot.core.errors import PodConflict, PodExists, PodNotFound

if TYPE_CHECKING:
    from copilot.control_plane.executors.cluster import Cluster
    from copilot.core.ports import Clock

LEASE_S: Final = 15.0


class LeaseLock:
    """One server's side of a Lease. Blocking; for one thread at a time.

    Args:
        cluster: where.
        namespace: the Lease's.
        name: the Lease's.
        identity: who we are; no other server may have the same.
        clock: time.
        lease_s: how long the Lease is good for without being renewed, in seconds.

    Rights needed in the namespace: leases (coordination.k8s.io) get, create, update.
    """

    def __init__(
        self, cluster: Cluster, *, namespace: str, name: str, identity: str, clock: Clock, lease_s: float = LEASE_S
    ) -> None:
        """See the class."""
        self._client = ApiClient(cluster)
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._namespace, self._name, self._identity = namespace, name, identity
        self._clock, self.lease_s = clock, lease_s
        self._seen: tuple[str, str] = ("", "")
        self._seen_at = clock.monotonic_s()

    @property
    def identity(self) -> str:
        """Who we are."""
        return self._identity

    def hold(self) -> bool:
        """Takes the Lease if it is free, renews it if it is ours; whether it is ours now.

        Raises:
            PodError: the API server does not answer, or does not let us; nobody knows then.
        """
        try:
            lease = self._client.call("GET", f"{self._path}/{self._name}")
        except PodNotFound:
            return self._create()
        spec = lease.get("spec") or {}
        holder = str(spec.get("holderIdentity") or "")
        if holder not in {"", self._identity} and not self._expired(holder, str(spec.get("renewTime") or ""), spec):
            return False
        changes = int(spec.get("leaseTransitions") or 0) + (holder != self._identity)
        acquired = spec.get("acquireTime") if holder == self._identity else None
        return self._put(lease, self._spec(self._identity, changes, acquired))

    def release(self) -> None:
        """Lets go of the Lease if it is ours, so that another server need not wait. Raises as ``hold``."""
        try:
            lease = self._client.call("GET", f"{self._path}/{self._name}")
        except PodNotFound:
            return
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") == self._identity:
            self._put(lease, self._spec("", int(spec.get("leaseTransitions") or 0), spec.get("acquireTime")))

    def _expired(self, holder: str, renewed: str, spec: dict[str, Any]) -> bool:
        """Whether it has not changed for as long as its holder said it may."""
        now = self._clock.monotonic_s()
        if (holder, renewed) != self._seen:
            self._seen, self._seen_at = (holder, renewed), now
        return now - self._seen_at > float(spec.get("leaseDurationSeconds") or self.lease_s)

    def _create(self) -> bool:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._spec(self._identity, 0, None),
        }
        try:
            self._client.call("POST", self._path, body=body)
        except PodExists:
            return False
        return True

    def _put(self, lease: dict[str, Any], spec: dict[str, Any]) -> bool:
        try:
            self._client.call("PUT", f"{self._path}/{self._name}", body={**lease, "spec": spec})
        except (PodConflict, PodNotFound):
            return False
        return True

    def _spec(self, holder: str, changes: int, acquired: object) -> dict[str, Any]:
        now = datetime.fromtimestamp(self._clock.now_s(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(self.lease_s)),
            "acquireTime": acquired or now,
            "renewTime": now,
            "leaseTransitions": changes,
        }
