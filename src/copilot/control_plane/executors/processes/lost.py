"""The status of a pod whose supervisor died: what a cluster's pod garbage collector writes for a lost node. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from copilot.control_plane.executors.processes.status import FAILED, rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

REASON: Final = "NodeLost"
MESSAGE: Final = "The process that looked after this pod is gone, and its containers with it."


def lost_status(pod: Mapping[str, Any], wall_s: float) -> dict[str, Any]:
    """Failed, with the condition ``DisruptionTarget``; whatever ran is shown as killed."""
    status = dict(pod["status"])
    at = rfc3339(wall_s, precise=True)
    for kind in ("initContainerStatuses", "containerStatuses"):
        if kind in status:
            status[kind] = [_ended(each, at) for each in status[kind]]
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": MESSAGE}
    conditions = [each for each in status.get("conditions", ()) if each["type"] != "DisruptionTarget"]
    return {
        **status,
        "phase": FAILED,
        "reason": REASON,
        "message": MESSAGE,
        "conditions": [{**disrupted, "lastTransitionTime": at}, *conditions],
    }


def _ended(container: Mapping[str, Any], at: str) -> dict[str, Any]:
    running = container["state"].get("running")
    if running is None:
        return dict(container)
    ended = {
        "exitCode": 137,
        "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was terminated",
        "startedAt": running["startedAt"],
        "finishedAt": at,
    }
    return {**container, "state": {"terminated": ended}, "ready": False, "started": False}
