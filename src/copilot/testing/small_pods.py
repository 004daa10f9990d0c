"""Small pods of shell texts, and what their statuses say. The shell texts need nothing but a shell."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from typing import Any, Final

Pod = Mapping[str, Any]
Json = Any
FINALIZER: Final = "copilot.dev/outcome"
OBEYS: Final = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done"
DEAF: Final = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
UP: Final = "touch /shared/up; "
AWAITS: Final = "while ! test -e /shared/up; do sleep 0.05; done; "
_numbers = itertools.count()


def container(name: str, script: str, **fields: Json) -> dict[str, Json]:
    """A container that runs a shell text."""
    return {"name": name, "image": "busybox", "command": ["/bin/sh", "-c", script], **fields}


def sidecar(name: str, script: str, **fields: Json) -> dict[str, Json]:
    """A native sidecar."""
    return container(name, script, restartPolicy="Always", **fields)


def manifest(
    namespace: str, *containers: Mapping[str, Any], inits: tuple[Mapping[str, Any], ...] = (), grace_s: int = 5, **spec: object
) -> dict[str, Any]:
    """A pod that never restarts, with a volume ``shared`` at ``/shared`` in every container."""
    mounts = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"contract-{next(_numbers)}-{uuid.uuid4().hex[:6]}",
            "namespace": namespace,
            "finalizers": [FINALIZER],
        },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": grace_s,
            "volumes": [{"name": "shared", "emptyDir": {}}],
            "initContainers": [{**mounts, **each} for each in inits],
            "containers": [{**mounts, **each} for each in containers],
            **spec,
        },
    }


def status_of(pod: Pod, name: str) -> Pod:
    """The status of one container; empty before there is one."""
    status = pod.get("status") or {}
    every = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    return next((each for each in every if each["name"] == name), {})


def ended(pod: Pod, name: str) -> Pod:
    """``state.terminated`` of one container; empty before."""
    found: Pod = (status_of(pod, name).get("state") or {}).get("terminated") or {}
    return found


def running(pod: Pod, name: str) -> bool:
    """The container runs."""
    return "running" in (status_of(pod, name).get("state") or {})


def phase(pod: Pod) -> str:
    """``status.phase``."""
    return str((pod.get("status") or {}).get("phase"))


def over(pod: Pod) -> bool:
    """The pod has ended."""
    return phase(pod) in {"Succeeded", "Failed"}
