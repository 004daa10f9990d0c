"""What a pod's status says, row by row of what was measured on a real cluster."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from copilot.core.completion import Saw, Witness
from copilot.core.completion_pod import main_container, pod_sighting

AT = "2026-01-01T00:00:{:02d}Z"


Json = dict[str, Any]


def pod(
    terminated: Json | None = None, *, status: Json | None = None, metadata: Json | None = None, spec: Json | None = None
) -> Json:
    state = {"terminated": terminated} if terminated else {"running": {}}
    return {
        "metadata": {"name": "p", **(metadata or {})},
        "spec": {"containers": [{"name": "main"}, {"name": "other"}], **(spec or {})},
        "status": {
            "startTime": AT.format(0),
            "containerStatuses": [{"name": "other", "state": {"running": {}}}, {"name": "main", "state": state}],
            **(status or {}),
        },
    }


def ended(code: int = 0, second: int = 10, reason: str = "Completed") -> dict[str, Any]:
    return {"exitCode": code, "reason": reason, "finishedAt": AT.format(second)}


def deleted(second: int, grace_s: int = 15) -> dict[str, Any]:
    return {"deletionTimestamp": AT.format(second + grace_s), "deletionGracePeriodSeconds": grace_s}


def disrupted(reason: str, second: int) -> dict[str, Any]:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "lastTransitionTime": AT.format(second)}
    return {"conditions": [{"type": "Ready", "status": "False"}, condition]}


@pytest.mark.parametrize(
    ("status", "saw", "code"),
    [
        (pod(ended()), Saw.EXITED, 0),
        (pod(ended(3, reason="Error")), Saw.EXITED, 3),
        (pod(ended(137, reason="OOMKilled")), Saw.OOM, 137),
        (pod(ended(), metadata=deleted(10)), Saw.DELETED, 0),
        (pod(ended(), metadata=deleted(9)), Saw.DELETED, 0),
        (pod(ended(), status=disrupted("EvictionByEvictionAPI", 9)), Saw.EVICTED, 0),
        (pod(ended(), status=disrupted("EvictionByEvictionAPI", 9), metadata=deleted(9)), Saw.EVICTED, 0),
        (pod(ended(), status=disrupted("PreemptionByScheduler", 9)), Saw.PREEMPTED, 0),
        (pod(ended(137, reason="Error"), status={"phase": "Failed", "reason": "Evicted", "message": "disk"}), Saw.EVICTED, 137),
        (pod(ended(137, reason="Error"), status={"phase": "Failed", "reason": "DeadlineExceeded"}), Saw.DEADLINE, 137),
        # It had ended before anybody asked for the pod's end: that did not end it.
        (pod(ended(second=5), metadata=deleted(9)), Saw.EXITED, 0),
        (pod(ended(second=5), status=disrupted("EvictionByEvictionAPI", 9)), Saw.EXITED, 0),
        (
            pod(ended(second=5), status={"reason": "DeadlineExceeded"}, spec={"activeDeadlineSeconds": 7}),
            Saw.EXITED,
            0,
        ),
        # While the sidecar lives, the status does not say so yet: the start and the deadline do.
        (pod(ended(second=6), spec={"activeDeadlineSeconds": 7}), Saw.EXITED, 0),
        (pod(ended(second=7), spec={"activeDeadlineSeconds": 7}), Saw.DEADLINE, 0),
        (pod(ended(137, second=9, reason="Error"), spec={"activeDeadlineSeconds": 7}), Saw.DEADLINE, 137),
        (pod(ended(137, second=9, reason="OOMKilled"), spec={"activeDeadlineSeconds": 7}), Saw.OOM, 137),
        # It was deleted before its deadline, and took the whole grace period.
        (pod(ended(137, second=9, reason="Error"), spec={"activeDeadlineSeconds": 7}, metadata=deleted(4)), Saw.DELETED, 137),
        (pod(ended(137, second=9, reason="Error"), spec={"activeDeadlineSeconds": 7}, metadata=deleted(8)), Saw.DEADLINE, 137),
    ],
)
def test_the_first_thing_that_the_table_would_read_is_said(status: dict[str, Any], saw: Saw, code: int) -> None:
    said = pod_sighting(status, observed_at_s=1.0)
    assert said is not None
    assert (said.witness, said.reason, said.exit_code, said.observed_at_s) == (Witness.POD, saw, code, 1.0)


def test_a_task_that_runs_has_not_ended_whatever_happens_to_its_pod() -> None:
    going = pod(metadata=deleted(9))
    assert pod_sighting(pod(), observed_at_s=1.0) is None
    assert pod_sighting(going, observed_at_s=1.0) is None
    assert pod_sighting(pod(), observed_at_s=1.0, last_word=True) is None
    said = pod_sighting(going, observed_at_s=1.0, last_word=True)
    assert said is not None
    assert (said.reason, said.exit_code) == (Saw.DELETED, None)


def test_a_task_that_runs_when_nobody_can_wait_any_longer_is_judged_by_the_time() -> None:
    running = pod(spec={"activeDeadlineSeconds": 7})
    began_s = datetime.fromisoformat(AT.format(0)).timestamp()
    assert pod_sighting(running, observed_at_s=began_s + 6.9, last_word=True) is None
    said = pod_sighting(running, observed_at_s=began_s + 7, last_word=True)
    assert said is not None
    assert (said.reason, said.exit_code) == (Saw.DEADLINE, None)
    assert said.evidence == {"active_deadline_s": "7", "pod_started_at": AT.format(0)}
    assert pod_sighting(running, observed_at_s=began_s + 7) is None


def test_a_pod_without_any_status_yet_says_nothing() -> None:
    assert pod_sighting({"metadata": {"name": "p"}}, observed_at_s=1.0, last_word=True) is None


def test_the_tasks_container_is_the_annotated_one_else_the_first() -> None:
    assert main_container(pod()) == "main"
    assert main_container(pod(metadata={"annotations": {"kubectl.kubernetes.io/default-container": "other"}})) == "other"
    assert main_container(pod(metadata={"annotations": {"primary_container_name": "nobody"}})) == "main"
    assert main_container({}) == ""
    assert pod_sighting(pod(ended()), observed_at_s=1.0, container="other") is None
