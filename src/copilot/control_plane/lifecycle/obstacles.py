"""Why a pod will not start: what the kubelet tries again for ever, and nobody would ever be told of. Pure.

The reasons are the kubelet's own (``k8s.io/kubernetes/pkg/kubelet/images`` and ``…/kuberuntime``). Waiting for room in the
cluster is none of them: that ends by the task's own deadline, or when there is room.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from copilot.control_plane.lifecycle.moves import Blame, Ending
from copilot.control_plane.lifecycle.observe import Pod, main_status, seconds
from copilot.control_plane.lifecycle.phases import Phase
from copilot.control_plane.pods.data_containers import INIT, SIDECAR

#: No further try of the kubelet's can help.
_CERTAIN: Final = frozenset({"InvalidImageName", "ErrImageNeverPull"})
#: Another try may help: a registry that is away, a Secret that comes late.
_LASTING: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "RegistryUnavailable",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
    }
)

REASONS: Final = _CERTAIN | _LASTING


def obstacle(pod: Pod, *, now: float, patience_s: float) -> Ending | None:
    """How an attempt ends whose pod will not start; None while it may, and once main has begun.

    Args:
        pod: the pod as it stands.
        now: seconds since the epoch.
        patience_s: how long after the pod came to its node an obstacle may last.
    """
    status: Mapping[str, Any] = pod.get("status") or {}
    main = main_status(pod) or {}
    if {"running", "terminated"} & set(main.get("state") or {}) or main.get("lastState"):
        return None
    came = seconds(status.get("startTime")) or seconds((pod.get("metadata") or {}).get("creationTimestamp"))
    for name, reason, message in _waiting(status):
        if reason in _CERTAIN or (reason in _LASTING and came is not None and now >= came + patience_s):
            blame = Blame.SYSTEM if name in {INIT, SIDECAR} else Blame.USER
            said = f"container {name} does not start: {message or reason}"
            return Ending(Phase.FAILED, blame, reason, said, retryable=reason not in _CERTAIN)
    return None


def _waiting(status: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        yield str(container.get("name", "")), str(waiting.get("reason", "")), str(waiting.get("message", ""))
