"""How an attempt ended: the store and the pod together, row by row of what was measured on a real cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flyteidl2.core.execution_pb2 import ContainerError, ErrorDocument, ExecutionError

from copilot.control_plane.lifecycle.moves import Blame, Ending
from copilot.control_plane.lifecycle.outcome import attempt_outcome
from copilot.control_plane.lifecycle.phases import Phase
from copilot.control_plane.lifecycle.work import AttemptWork, Published

MakeWork = Callable[..., AttemptWork]
Json = Any

STARTED, ENDED = "2026-11-22T10:00:00Z", "2026-11-22T10:00:10Z"


def terminated(code: int, reason: str = "", **more: Json) -> Json:
    shown = {
        "exitCode": code,
        "reason": reason or ("Error" if code else "Completed"),
        "startedAt": STARTED,
        "finishedAt": ENDED,
    }
    return {"terminated": {**shown, **more}}


def pod(main: Json, sidecar: Json | None = None, init: Json | None = None, *, phase: str = "", **more: Json) -> Json:
    inits = [{"name": name, "state": state} for name, state in (("copilot-sidecar", sidecar), ("copilot-init", init)) if state]
    states = [main, *(each["state"] for each in inits)]
    over = all("running" not in each for each in states)
    code = main.get("terminated", {}).get("exitCode")
    shown = phase or ("Running" if not over else "Succeeded" if code == 0 else "Failed")
    metadata = {"name": "p", "annotations": {"copilot.dev/main-container": "main"}, **more.pop("metadata", {})}
    spec = {"containers": [{"name": "main"}], **more.pop("spec", {})}
    status = {"phase": shown, "startTime": STARTED, "containerStatuses": [{"name": "main", "state": main}], **more}
    return {"metadata": metadata, "spec": spec, "status": {**status, "initContainerStatuses": inits}}


def beside(main: Json, sidecar: Json) -> Json:
    """A pod with a plain sidecar."""
    made = pod(main, None, phase="Running")
    made["status"]["containerStatuses"].append({"name": "copilot-sidecar", "state": sidecar})
    return made


RUNNING: Json = {"running": {"startedAt": STARTED}}
WAITING: Json = {"waiting": {"reason": "PodInitializing"}}
PUBLISHED = Published(outputs=True)
NOTHING = Published()
DELETED: Json = {"metadata": {"deletionTimestamp": "2026-11-22T10:00:08Z", "deletionGracePeriodSeconds": 5}}
DELETED_AFTER: Json = {"metadata": {"deletionTimestamp": "2026-11-22T10:00:35Z", "deletionGracePeriodSeconds": 5}}


def disrupted(reason: str) -> Json:
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": "why",
        "lastTransitionTime": STARTED,
    }
    return {"conditions": [condition]}


def error(kind: int = ContainerError.RECOVERABLE, origin: int = ExecutionError.USER) -> Published:
    document = ErrorDocument(error=ContainerError(code="BadThing", message="the task's words", kind=kind, origin=origin))
    return Published(error=document.SerializeToString())


@pytest.mark.parametrize(
    ("name", "seen", "published", "wanted"),
    [
        ("main runs", pod(RUNNING, RUNNING), NOTHING, None),
        ("main ended well, the sidecar uploads", pod(terminated(0), RUNNING), NOTHING, None),
        (
            "main could not be started, and nobody tells its plain sidecar",
            beside(terminated(128, "StartError"), RUNNING),
            NOTHING,
            (Phase.FAILED, Blame.USER, "StartError"),
        ),
        ("main failed, its plain sidecar is about to tell why", beside(terminated(3), RUNNING), NOTHING, None),
        ("published, the sidecar still runs", pod(terminated(0), RUNNING), PUBLISHED, (Phase.SUCCEEDED, Blame.NOBODY, "")),
        ("published, all over", pod(terminated(0), terminated(0)), PUBLISHED, (Phase.SUCCEEDED, Blame.NOBODY, "")),
        (
            "sidecar killed in mid-upload: phase Succeeded, nothing published",
            pod(terminated(0), terminated(137)),
            NOTHING,
            (Phase.FAILED, Blame.SYSTEM, "OutputUploadFailed"),
        ),
        (
            "sidecar out of memory",
            pod(terminated(0), terminated(137, "OOMKilled")),
            NOTHING,
            (Phase.FAILED, Blame.SYSTEM, "OutputUploadFailed"),
        ),
        ("main failed, the sidecar may know more", pod(terminated(3), RUNNING), NOTHING, None),
        ("main failed", pod(terminated(3), terminated(0)), NOTHING, (Phase.FAILED, Blame.USER, "TaskFailed")),
        (
            "main failed although outputs are there",
            pod(terminated(3), terminated(0)),
            PUBLISHED,
            (Phase.FAILED, Blame.USER, "TaskFailed"),
        ),
        (
            "main could not start",
            pod(terminated(128, "StartError"), terminated(0)),
            NOTHING,
            (Phase.FAILED, Blame.USER, "StartError"),
        ),
        ("main out of memory", pod(terminated(137, "OOMKilled"), RUNNING), NOTHING, (Phase.FAILED, Blame.USER, "OOMKilled")),
        ("the task said why", pod(terminated(0), RUNNING), error(), (Phase.FAILED, Blame.USER, "BadThing")),
        ("the task said why and failed", pod(terminated(1), RUNNING), error(), (Phase.FAILED, Blame.USER, "BadThing")),
        (
            "ours to blame",
            pod(terminated(0), RUNNING),
            error(origin=ExecutionError.SYSTEM),
            (Phase.FAILED, Blame.SYSTEM, "BadThing"),
        ),
        (
            "deleted, main obeyed with 0, phase Succeeded, outputs there",
            pod(terminated(0), terminated(0), **DELETED),
            PUBLISHED,
            (Phase.FAILED, Blame.PREEMPTION, "PodDeleted"),
        ),
        (
            "deleted after main had ended by itself",
            pod(terminated(0), terminated(0), **DELETED_AFTER),
            PUBLISHED,
            (Phase.SUCCEEDED, Blame.NOBODY, ""),
        ),
        (
            "evicted, main obeyed with 0",
            pod(terminated(0), terminated(0), **disrupted("EvictionByEvictionAPI")),
            PUBLISHED,
            (Phase.FAILED, Blame.PREEMPTION, "Evicted"),
        ),
        (
            "preempted",
            pod(terminated(143), terminated(0), **disrupted("PreemptionByScheduler")),
            NOTHING,
            (Phase.FAILED, Blame.PREEMPTION, "Preempted"),
        ),
        (
            "the node was lost",
            pod(terminated(137, "ContainerStatusUnknown"), terminated(137), **disrupted("DeletionByPodGC"), reason="NodeLost"),
            NOTHING,
            (Phase.FAILED, Blame.PREEMPTION, "Evicted"),
        ),
        (
            "the deadline passed and main obeyed",
            pod(terminated(0), terminated(0), phase="Failed", reason="DeadlineExceeded", spec={"activeDeadlineSeconds": 5}),
            PUBLISHED,
            (Phase.TIMED_OUT, Blame.USER, "DeadlineExceeded"),
        ),
        (
            "main had ended before the deadline, the upload had not",
            pod(terminated(0), terminated(0), phase="Failed", reason="DeadlineExceeded", spec={"activeDeadlineSeconds": 60}),
            PUBLISHED,
            (Phase.SUCCEEDED, Blame.NOBODY, ""),
        ),
        (
            "init failed",
            pod(WAITING, terminated(0), terminated(20, message="the input is gone"), phase="Failed"),
            NOTHING,
            (Phase.FAILED, Blame.USER, "InputDownloadFailed"),
        ),
        (
            "init failed and said why",
            pod(WAITING, terminated(0), terminated(20), phase="Failed"),
            error(),
            (Phase.FAILED, Blame.USER, "BadThing"),
        ),
        (
            "init failed for a reason of ours, and the sidecar missed the outputs",
            pod(WAITING, terminated(21), terminated(13), phase="Failed"),
            Published(error=ErrorDocument(error=ContainerError(code="OutputUploadFailed")).SerializeToString()),
            (Phase.FAILED, Blame.SYSTEM, "InputDownloadFailed"),
        ),
        (
            "the pod failed before anything ran",
            pod(WAITING, phase="Failed", reason="OutOfcpu", message="Node didn't have enough resource: cpu"),
            NOTHING,
            (Phase.FAILED, Blame.SYSTEM, "OutOfcpu"),
        ),
        (
            "an image that does not come (an obstacle)",
            pod({"waiting": {"reason": "ImagePullBackOff"}}, phase="Pending"),
            NOTHING,
            None,
        ),
        (
            "an error document that is none",
            pod(terminated(0), RUNNING),
            Published(error=b"\xff\xff"),
            (Phase.FAILED, Blame.SYSTEM, "ErrorUnreadable"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_store_and_the_pod_tell_together(
    work: MakeWork, name: str, seen: Json, published: Published, wanted: tuple[Phase, Blame, str] | None
) -> None:
    assert name
    ending = attempt_outcome(work("add"), seen, published)
    assert (ending and (ending.phase, ending.blame, ending.code)) == wanted


def judged(work: AttemptWork, seen: Json, published: Published) -> Ending:
    ending = attempt_outcome(work, seen, published)
    assert ending is not None
    return ending


def test_fault_1_the_message_of_a_failed_container_has_its_code_and_its_words(work: MakeWork) -> None:
    seen = pod(terminated(3, message="no such column: x\n"), terminated(0))
    ending = judged(work("add"), seen, NOTHING)
    assert ending.message == "The task ended with exit code 3. no such column: x"
    assert ending.retryable


def test_fault_2_the_task_s_own_words_reach_the_user(work: MakeWork) -> None:
    ending = judged(work("add"), pod(terminated(0), RUNNING), error())
    assert (ending.message, ending.retryable) == ("the task's words", True)
    assert not judged(work("add"), pod(terminated(0)), error(kind=ContainerError.NON_RECOVERABLE)).retryable


def upload_failed(row: str | None) -> Published:
    document = ErrorDocument(error=ContainerError(code="OutputUploadFailed", message="words"))
    receipt = json.dumps({"verdict": {"row": row}}).encode() if row else None
    return Published(error=document.SerializeToString(), receipt=receipt)


def test_a_failed_task_s_missing_outputs_are_not_the_reason_but_its_own_words_are(work: MakeWork) -> None:
    seen = pod(terminated(3, message="bad thing"), terminated(21))
    assert judged(work("add"), seen, upload_failed("trusted-signal")).message == "The task ended with exit code 3. bad thing"
    assert judged(work("add"), seen, upload_failed(None)).message == "The task ended with exit code 3. bad thing"
    assert judged(work("add"), seen, upload_failed("error-marker")).message == "words"
    assert judged(work("add"), pod(terminated(0), terminated(21)), upload_failed(None)).message == "words"
    assert attempt_outcome(work("add"), pod(terminated(3), RUNNING), upload_failed(None)) is None


def test_fault_18_out_of_memory_is_said_with_the_limit(work: MakeWork) -> None:
    limited = {"containers": [{"name": "main", "resources": {"limits": {"memory": "64Mi"}}}]}
    ending = judged(work("add"), pod(terminated(137, "OOMKilled"), RUNNING, spec=limited), NOTHING)
    assert ending.message == "The task used more memory than its limit of 64Mi and was killed."


def test_fault_3_a_task_without_outputs_succeeds_with_its_exit_code(work: MakeWork) -> None:
    assert judged(work("noout"), pod(terminated(0)), NOTHING).phase is Phase.SUCCEEDED
    assert judged(work("noio"), pod(terminated(0)), NOTHING).phase is Phase.SUCCEEDED
    assert judged(work("noio"), pod(terminated(1)), NOTHING).phase is Phase.FAILED


def test_fault_22_the_end_is_when_the_containers_ended(work: MakeWork) -> None:
    ending = judged(work("add"), pod(terminated(0), terminated(0, finishedAt="2026-11-22T10:00:12Z")), PUBLISHED)
    assert ending.ended_at == pytest.approx(1795341612.0)
    assert ending.times[Phase.RUNNING] == pytest.approx(1795341600.0)


def test_a_python_task_that_caught_its_error_exits_0_and_fails(work: MakeWork) -> None:
    assert judged(work("py_main"), pod(terminated(0)), error()).phase is Phase.FAILED
    assert judged(work("py_main"), pod(terminated(0)), PUBLISHED).phase is Phase.SUCCEEDED
    assert judged(work("py_main"), pod(terminated(0)), NOTHING).code == "OutputsNotPublished"


@pytest.mark.parametrize(
    ("row", "phase"), [("success-marker", Phase.SUCCEEDED), ("trusted-signal", Phase.FAILED), (None, Phase.FAILED)]
)
def test_without_a_pod_only_a_proof_in_the_store_counts(work: MakeWork, row: str | None, phase: Phase) -> None:
    receipt = json.dumps({"verdict": {"row": row}}).encode() if row else None
    ending = judged(work("add"), None, Published(outputs=True, receipt=receipt))
    assert ending.phase is phase
    assert ending.blame is (Blame.NOBODY if phase is Phase.SUCCEEDED else Blame.PREEMPTION)


@pytest.mark.parametrize("receipt", [b"[]", b"{", b"{}", b'{"verdict": 1}', b"null"])
def test_a_receipt_that_is_none_proves_nothing(work: MakeWork, receipt: bytes) -> None:
    assert judged(work("add"), None, Published(outputs=True, receipt=receipt)).code == "PodLost"


def receipt(row: str, **evidence: str) -> bytes:
    return json.dumps({"verdict": {"row": row, "evidence": evidence}}).encode()


def test_the_wrapper_s_proof_is_believed_before_the_kubelet_has_told_of_main_s_end(work: MakeWork) -> None:
    proof = receipt("exited-0-before-the-pod-ended", **{"wrapper.ended_at_s": "1795341605.25"})
    ending = attempt_outcome(work("full"), pod(RUNNING, RUNNING), Published(outputs=True, receipt=proof))
    assert ending is not None
    assert (ending.phase, ending.ended_at) == (Phase.SUCCEEDED, 1795341605.25)


@pytest.mark.parametrize("row", ["success-marker", "trusted-signal", "told", "container-exited-0"])
def test_nothing_less_ends_an_attempt_whose_main_still_runs(work: MakeWork, row: str) -> None:
    published = Published(outputs=True, receipt=receipt(row))
    assert attempt_outcome(work("full"), pod(RUNNING, RUNNING), published) is None


def test_the_sidecar_s_word_on_a_failed_task_does_not_replace_the_pod_s(work: MakeWork) -> None:
    document = ErrorDocument(error=ContainerError(code="TaskFailed", message="the task ended with exit code 3"))
    published = Published(error=document.SerializeToString(), receipt=receipt("exited-by-itself"))
    seen = pod(terminated(3, message="no rows left\n"), terminated(0))
    ending = attempt_outcome(work("full"), seen, published)
    assert ending is not None
    assert (ending.code, ending.message) == ("TaskFailed", "The task ended with exit code 3. no rows left")


@pytest.mark.parametrize("code", ["TaskEvicted", "TaskPreempted", "TaskDeleted"])
def test_a_pod_that_was_taken_away_unseen_is_no_failure_of_the_task(work: MakeWork, code: str) -> None:
    document = ErrorDocument(error=ContainerError(code=code, message="why", origin=ExecutionError.SYSTEM))
    ending = attempt_outcome(work("full"), None, Published(error=document.SerializeToString()))
    assert ending is not None
    assert ending.blame is Blame.PREEMPTION


def test_without_a_pod_and_with_an_error_document_its_words_count(work: MakeWork) -> None:
    assert judged(work("add"), None, error()).code == "BadThing"
