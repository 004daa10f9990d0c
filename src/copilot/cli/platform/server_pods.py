"""``copilot server --executor``: what runs the server's pods, and how they are made for it."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from copilot.core.errors import BadFlag

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.control_plane.executors.cluster import Cluster
    from copilot.control_plane.executors.lease import LeaseLock
    from copilot.control_plane.pods.settings import PodSettings
    from copilot.core.ports import PodApi

PROCESS: Final = "process"
KUBERNETES: Final = "kubernetes"
EXECUTORS: Final = (PROCESS, KUBERNETES)
LEASE: Final = "copilot-server"
_NAMESPACE: Final = "copilot"


@dataclass(frozen=True, slots=True)
class Executing:
    """What runs pods.

    Attributes:
        pods: it.
        settings: how pods are made for it.
        namespace: where they are.
        lease: what one of several servers holds; None where there is only one.
        close: ends what was started here; pods go on.
    """

    pods: PodApi
    settings: PodSettings
    namespace: str
    lease: LeaseLock | None = None
    close: Callable[[], None] = lambda: None


def open_executor(session: Session, given: Mapping[str, Any], data: Path, settings: PodSettings) -> Executing:
    """The executor that the flags ask for.

    Args:
        session: clock, log and environment.
        given: the server's flags.
        data: the server's directory.
        settings: how pods are made, as the flags say.

    Raises:
        BadFlag: there is no such executor, or flags do not go together.
        BadConfig: the cluster cannot be found.
    """
    if given["executor"] == PROCESS:
        from copilot.control_plane.executors.process import ProcessExecutor  # noqa: PLC0415 - one executor a server

        process = ProcessExecutor(data / "pods", require_images=given["require_images"])
        return Executing(process, settings.for_processes(), given["namespace"] or _NAMESPACE, close=process.close)
    if given["executor"] == KUBERNETES:
        return _kubernetes(session, given, settings)
    raise BadFlag(
        f"there is no executor {given['executor']!r}",
        op="flags",
        subject="--executor",
        hint=f"Use {' or '.join(EXECUTORS)}.",
    )


def _kubernetes(session: Session, given: Mapping[str, Any], settings: PodSettings) -> Executing:
    from copilot.control_plane.executors.kubernetes import KubernetesExecutor  # noqa: PLC0415 - one executor a server
    from copilot.control_plane.executors.lease import LeaseLock  # noqa: PLC0415 - as above
    from copilot.control_plane.pods.labels import MANAGED  # noqa: PLC0415 - as above

    cluster = find_cluster(session.configuration.environ, given["kubeconfig"], given["kube_context"])
    namespace = given["namespace"] or (cluster.namespace if cluster.namespace != "default" else _NAMESPACE)
    if not given["store"] or given["store"].startswith("file:"):
        session.log.event(
            "server.store",
            level="warning",
            message="pods on other machines do not see files of this one: give --store a cloud's",
        )
    lease = None
    if given["replicas"]:
        identity = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        lease = LeaseLock(cluster, namespace=namespace, name=LEASE, identity=identity, clock=session.clock)
    pods = KubernetesExecutor(cluster, clock=session.clock, log=session.log, selector=f"{MANAGED}=true")
    return Executing(pods, settings, namespace, lease)


def find_cluster(environ: Mapping[str, str], kubeconfig: str | None, context: str | None) -> Cluster:
    """Where the cluster is: ``--kubeconfig``, ``KUBECONFIG``, our own pod's service account, ``~/.kube/config``, in this order.

    Raises:
        BadConfig: what was found cannot be used.
    """
    from copilot.control_plane.executors.cluster import from_kubeconfig, in_cluster  # noqa: PLC0415 - as in _kubernetes

    named = kubeconfig or environ.get("KUBECONFIG", "").partition(os.pathsep)[0]
    if not named and environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster(environ)
    return from_kubeconfig(Path(named) if named else Path("~/.kube/config").expanduser(), context or "")
