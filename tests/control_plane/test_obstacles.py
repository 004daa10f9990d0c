"""What keeps a pod from starting, as its status tells it."""

from __future__ import annotations

from typing import Any

import pytest

from copilot.control_plane.lifecycle.moves import Blame
from copilot.control_plane.lifecycle.obstacles import obstacle
from copilot.control_plane.pods.data_containers import SIDECAR

CAME = 1_000_000.0
STAMP = "1970-01-12T13:46:40Z"
PATIENCE_S = 180.0


def pod(main: dict[str, Any], sidecar: dict[str, Any] | None = None, **status: object) -> dict[str, Any]:
    statuses = {
        "startTime": STAMP,
        "initContainerStatuses": [{"name": SIDECAR, "state": sidecar or {"running": {"startedAt": STAMP}}}],
        "containerStatuses": [{"name": "main", "state": main}],
    }
    return {"metadata": {}, "spec": {"containers": [{"name": "main"}]}, "status": {**statuses, **status}}


def waiting(reason: str) -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": "as the kubelet says"}}


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "ErrImagePull", "CreateContainerConfigError", "CreateContainerError"])
def test_what_another_try_may_help_is_waited_for_and_then_the_user_s_failure(reason: str) -> None:
    blocked = pod(waiting(reason))
    assert obstacle(blocked, now=CAME + PATIENCE_S - 1, patience_s=PATIENCE_S) is None
    ending = obstacle(blocked, now=CAME + PATIENCE_S, patience_s=PATIENCE_S)
    assert ending is not None
    assert (ending.code, ending.blame, ending.retryable) == (reason, Blame.USER, True)
    assert "as the kubelet says" in ending.message


@pytest.mark.parametrize("reason", ["InvalidImageName", "ErrImageNeverPull"])
def test_what_no_try_can_help_is_not_waited_for(reason: str) -> None:
    ending = obstacle(pod(waiting(reason)), now=CAME, patience_s=PATIENCE_S)
    assert ending is not None
    assert not ending.retryable


def test_a_container_of_ours_that_crashes_again_and_again_is_no_fault_of_the_user() -> None:
    ending = obstacle(pod(waiting("PodInitializing"), waiting("CrashLoopBackOff")), now=CAME + 200, patience_s=PATIENCE_S)
    assert ending is not None
    assert ending.blame is Blame.SYSTEM


def test_a_sidecar_that_crashes_while_main_runs_or_after_it_is_no_obstacle() -> None:
    for main in ({"running": {"startedAt": STAMP}}, {"terminated": {"exitCode": 0}}):
        assert obstacle(pod(main, waiting("CrashLoopBackOff")), now=CAME + 9_999, patience_s=PATIENCE_S) is None


def test_a_pod_that_only_starts_slowly_or_waits_for_room_is_waited_for() -> None:
    assert obstacle(pod(waiting("ContainerCreating")), now=CAME + 9_999, patience_s=PATIENCE_S) is None
    assert obstacle({"metadata": {}, "spec": {}, "status": {}}, now=CAME + 9_999, patience_s=PATIENCE_S) is None
