"""How an attempt ended: what lies in the store and the pod's status, by the truth table of ``core.completion``. Pure.

``outputs.pb`` is the commit and ``error.pb`` the reason. The pod's phase alone means nothing: a pod that was evicted, or whose
sidecar was killed in mid-upload, is ``Succeeded`` as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from copilot.control_plane.lifecycle.moves import Blame, Ending
from copilot.control_plane.lifecycle.observe import Pod, look, main_name, main_status, seconds
from copilot.control_plane.lifecycle.phases import Phase
from copilot.control_plane.pods.data_containers import INIT, SIDECAR
from copilot.core.completion import TABLE, Outcome, Saw, Verdict, Witness, judge
from copilot.core.error_document import INPUT_DOWNLOAD_FAILED, OUTPUT_UPLOAD_FAILED
from copilot.core.errors import ExitCode, TaskDeleted, TaskError, TaskEvicted, TaskPreempted
from copilot.core.idl import ContainerError, ErrorDocument, ExecutionError
from copilot.core.ports import Completion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from copilot.control_plane.lifecycle.work import AttemptWork, Published

_NEVER_RAN: Final = frozenset({"StartError", "ContainerCannotRun"})
PREEMPTION: Final = "PreemptionByScheduler"
TASK_FAILED: Final = "TaskFailed"
ERROR_MARKER: Final = "error-marker"
EXITED_0: Final = "exited-0-before-the-pod-ended"
_USER_EXIT_CODES: Final = frozenset({ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.DENIED, ExitCode.INPUT})
_BLAME: Final[Mapping[Outcome, Blame]] = {
    Outcome.FAILED: Blame.USER,
    Outcome.OOM: Blame.USER,
    Outcome.EVICTED: Blame.PREEMPTION,
    Outcome.PREEMPTED: Blame.PREEMPTION,
    Outcome.DELETED: Blame.PREEMPTION,
    Outcome.DEADLINE: Blame.USER,
    Outcome.UNKNOWN: Blame.SYSTEM,
}
_CODES: Final[Mapping[Outcome, str]] = {
    Outcome.FAILED: TASK_FAILED,
    Outcome.OOM: "OOMKilled",
    Outcome.EVICTED: "Evicted",
    Outcome.PREEMPTED: "Preempted",
    Outcome.DELETED: "PodDeleted",
    Outcome.DEADLINE: "DeadlineExceeded",
    Outcome.UNKNOWN: "CompletionUnproven",
}
_SIDECAR_CODES: Final = frozenset(
    {OUTPUT_UPLOAD_FAILED, TaskError.reason, *(each.reason for each in TaskError.__subclasses__())}
)
_TAKEN_AWAY: Final = frozenset(each.reason for each in (TaskEvicted, TaskPreempted, TaskDeleted))
_PROVEN: Final = frozenset(row.name for row in TABLE if row.outcome is Outcome.SUCCEEDED and not row.trusting)


def attempt_outcome(work: AttemptWork, pod: Pod | None, published: Published) -> Ending | None:
    """How the attempt ended; None while it has not, or while it cannot be said yet.

    Args:
        work: the attempt.
        pod: its pod as last seen, None when it is gone.
        published: what it has left in the store.
    """
    if pod is None:
        return _without_pod(work, published)
    seen = look(pod)
    if not seen.main_ended:
        # The kubelet's status is up to a second old; the wrapper's own proof, with everything in the store, is not.
        if published.outputs and published.error is None and _row(published.receipt) == EXITED_0:
            return Ending(Phase.SUCCEEDED, ended_at=_told_end(published.receipt), times=seen.times)
        return None
    facts = _Facts(pod, publishes=bool(work.spec.task_template.interface.outputs.variables))
    verdict = judge(list(pod_completions(pod)), trust_signal=False)
    ending = _judged(facts, verdict, published)
    if ending is None:
        return None
    return Ending(
        ending.phase,
        ending.blame,
        ending.code,
        ending.message,
        retryable=ending.retryable,
        ended_at=facts.ended_at,
        times=seen.times,
    )


def pod_completions(pod: Pod) -> Iterator[Completion]:
    """What the pod's status says of main's end, in the words of ``core.completion``.

    A deletion or eviction that was asked for after main had ended by itself is not said: it did not end it.
    """
    status: Mapping[str, Any] = pod.get("status") or {}
    ended = ((main_status(pod) or {}).get("state") or {}).get("terminated") or {}
    ended_at = seconds(ended.get("finishedAt"))
    code = ended.get("exitCode")

    def seen(saw: Saw, **evidence: str) -> Completion:
        return Completion(Witness.POD, saw, code, evidence, ended_at or 0.0)

    asked_at = _stop_asked_at(pod)
    by_itself = ended_at is not None and asked_at is not None and ended_at < asked_at
    disrupted = _disruption(status)
    if not by_itself:
        if disrupted is not None:
            saw = Saw.PREEMPTED if disrupted.get("reason") == PREEMPTION else Saw.EVICTED
            yield seen(saw, reason=str(disrupted.get("reason", "")), message=str(disrupted.get("message", "")))
        elif status.get("reason") == "Evicted":
            yield seen(Saw.EVICTED, reason="Evicted", message=str(status.get("message", "")))
        elif (pod.get("metadata") or {}).get("deletionTimestamp"):
            yield seen(Saw.DELETED)
    if status.get("reason") == "DeadlineExceeded" and not _ended_before_deadline(pod, ended_at):
        yield seen(Saw.DEADLINE)
    if ended.get("reason") == "OOMKilled":
        yield seen(Saw.OOM)
    elif ended:
        yield seen(Saw.EXITED, reason=str(ended.get("reason", "")))


@dataclass(frozen=True, slots=True)
class _Facts:
    """A pod whose main has ended, or never will begin."""

    pod: Pod
    publishes: bool

    def status_of(self, name: str) -> Mapping[str, Any]:
        status = self.pod.get("status") or {}
        every = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        return next((each for each in every if each.get("name") == name), {})

    @property
    def main(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = (self.status_of(main_name(self.pod)).get("state") or {}).get("terminated") or {}
        return found

    @property
    def memory_limit(self) -> str:
        name = main_name(self.pod)
        for each in (self.pod.get("spec") or {}).get("containers") or ():
            if each.get("name") == name:
                return str(((each.get("resources") or {}).get("limits") or {}).get("memory") or "")
        return ""

    @property
    def ended_at(self) -> float | None:
        sidecar = (self.status_of(SIDECAR).get("state") or {}).get("terminated") or {}
        times = [seconds(each.get("finishedAt")) for each in (self.main, sidecar)]
        return max((each for each in times if each), default=None)

    @property
    def sidecar_works(self) -> bool:
        """There is a sidecar, and it may still publish; a plain one waits in vain for the word of a main that never ran."""
        native = any(each.get("name") == SIDECAR for each in (self.pod.get("status") or {}).get("initContainerStatuses") or ())
        told = native or self.main.get("reason") not in _NEVER_RAN
        return bool(self.status_of(SIDECAR)) and not look(self.pod).finished and told

    def failed_init(self) -> Mapping[str, Any] | None:
        for each in (self.pod.get("status") or {}).get("initContainerStatuses") or ():
            code = ((each.get("state") or {}).get("terminated") or {}).get("exitCode")
            if each.get("name") != SIDECAR and code:
                return dict(each)
        return None


def _judged(facts: _Facts, verdict: Verdict, published: Published) -> Ending | None:
    taken_away = verdict.outcome in {Outcome.EVICTED, Outcome.PREEMPTED, Outcome.DELETED}
    if taken_away:
        return _ending(verdict, facts)
    failed = facts.failed_init()
    if failed is not None and not facts.main:
        # The sidecar ends after it and finds no outputs: its word on that is not the reason.
        told = error_ending(published.error) if published.error is not None else None
        return told if told is not None and told.code != OUTPUT_UPLOAD_FAILED else _init_failed(failed)
    if published.error is not None:
        return _with_error(facts, verdict, published, error_ending(published.error))
    if verdict.outcome is Outcome.SUCCEEDED:
        if published.outputs or not facts.publishes:
            return Ending(Phase.SUCCEEDED)
        return None if facts.sidecar_works else _nothing_published(facts)
    if facts.sidecar_works and verdict.outcome is Outcome.FAILED:
        return None  # the sidecar may be about to tell the task's own reason
    return _ending(verdict, facts)


def _with_error(facts: _Facts, verdict: Verdict, published: Published, told: Ending) -> Ending | None:
    """An error document, beside main's own end.

    The sidecar writes one as well when a task failed or left no outputs: the pod's status knows more of that (the termination
    message). What the task itself wrote into ``_ERROR`` is a reason, and the receipt tells the two apart.
    """
    by_sidecar = told.code in _SIDECAR_CODES and bool(facts.status_of(SIDECAR))
    if verdict.outcome is Outcome.SUCCEEDED or not by_sidecar or _row(published.receipt) == ERROR_MARKER:
        return told
    if published.receipt is None and facts.sidecar_works:
        return None
    return _ending(verdict, facts)


def error_ending(document: bytes) -> Ending:
    """What an ``error.pb`` says. One that cannot be read is a failure of ours."""
    try:
        error = ErrorDocument.FromString(document).error
    except DecodeError:
        return Ending(Phase.FAILED, Blame.SYSTEM, "ErrorUnreadable", "The attempt left an error.pb that is no error document.")
    blame = Blame.SYSTEM if error.origin == ExecutionError.SYSTEM else Blame.USER
    if error.code in _TAKEN_AWAY:
        blame = Blame.PREEMPTION
    retryable = error.kind != ContainerError.NON_RECOVERABLE
    return Ending(Phase.FAILED, blame, error.code or TASK_FAILED, error.message or "The task failed.", retryable=retryable)


def _ending(verdict: Verdict, facts: _Facts) -> Ending:
    phase = Phase.TIMED_OUT if verdict.outcome is Outcome.DEADLINE else Phase.FAILED
    code, sentences = _CODES[verdict.outcome], []
    main, status = facts.main, facts.pod.get("status") or {}
    if verdict.outcome is Outcome.FAILED:
        if main.get("reason") not in {None, "", "Error"}:
            code = str(main["reason"])
        sentences.append(f"The task ended with exit code {verdict.exit_code}.")
    elif verdict.outcome is Outcome.OOM:
        limit = facts.memory_limit
        sentences.append(f"The task used more memory than its limit{f' of {limit}' if limit else ''} and was killed.")
    elif verdict.outcome is Outcome.UNKNOWN:
        code = str(status.get("reason") or code)
        sentences.append(str(status.get("message") or "The pod ended, and its task never began."))
    else:
        sentences.append(f"{verdict.why[0].upper()}{verdict.why[1:]}.")
        said = verdict.evidence.get("pod.message") or (status.get("message") if phase is Phase.TIMED_OUT else "")
        sentences.append(str(said or ""))
    sentences.append(str(main.get("message") or "").strip())
    return Ending(phase, _BLAME[verdict.outcome], code, " ".join(each for each in sentences if each))


def _nothing_published(facts: _Facts) -> Ending:
    """Main did its part, and there are no outputs: whoever should have published them did not."""
    sidecar = facts.status_of(SIDECAR)
    if not sidecar:
        message = "The task ended with exit code 0 and left neither outputs.pb nor error.pb."
        return Ending(Phase.FAILED, Blame.SYSTEM, "OutputsNotPublished", message)
    ended = (sidecar.get("state") or {}).get("terminated") or {}
    how = f"exit code {ended['exitCode']}, {ended.get('reason') or 'ended'}" if ended else "no exit code"
    message = f"The task ended well, and its outputs were not published: the sidecar ended with {how}."
    said = str(ended.get("message") or "").strip()
    return Ending(Phase.FAILED, Blame.SYSTEM, OUTPUT_UPLOAD_FAILED, f"{message} {said}".strip())


def _init_failed(container: Mapping[str, Any]) -> Ending:
    ended = container["state"]["terminated"]
    ours = container.get("name") == INIT
    said = str(ended.get("message") or "").strip()
    what = "The inputs could not be fetched" if ours else f"The init container {container.get('name')} failed"
    message = f"{what}: exit code {ended.get('exitCode')}, {ended.get('reason') or 'Error'}. {said}".strip()
    blame = Blame.SYSTEM if ours and ended.get("exitCode") not in _USER_EXIT_CODES else Blame.USER
    return Ending(Phase.FAILED, blame, INPUT_DOWNLOAD_FAILED if ours else "InitFailed", message)


def _without_pod(work: AttemptWork, published: Published) -> Ending:
    """The pod is gone and nobody saw its end: only a proof in the store counts."""
    if published.error is not None:
        return error_ending(published.error)
    template = work.spec.task_template
    own = template.type != "raw-container" and not template.container.data_config.enabled
    if published.outputs and (own or _proven(published.receipt)):
        return Ending(Phase.SUCCEEDED)
    message = "The pod is gone, and nothing in the store proves that the task had finished."
    return Ending(Phase.FAILED, Blame.PREEMPTION, "PodLost", message)


def _proven(receipt: bytes | None) -> bool:
    return _row(receipt) in _PROVEN


def _row(receipt: bytes | None) -> str | None:
    """The row of the truth table by which the sidecar judged, from its receipt."""
    row = _verdict(receipt).get("row")
    return row if isinstance(row, str) else None


def _told_end(receipt: bytes | None) -> float | None:
    """When main ended, in seconds since the epoch, as its wrapper told the sidecar."""
    try:
        return float(_verdict(receipt)["evidence"]["wrapper.ended_at_s"])
    except (KeyError, TypeError, ValueError):
        return None


def _verdict(receipt: bytes | None) -> Mapping[str, Any]:
    try:
        verdict = json.loads(receipt or b"{}").get("verdict", {})
    except (ValueError, AttributeError):
        return {}
    return verdict if isinstance(verdict, dict) else {}


def _disruption(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = (dict(each) for each in status.get("conditions") or () if each.get("type") == "DisruptionTarget")
    return next((each for each in wanted if each.get("status") == "True"), None)


def _stop_asked_at(pod: Pod) -> float | None:
    """When somebody asked for the pod's end: the deletion timestamp lies a grace period after that."""
    metadata = pod.get("metadata") or {}
    at = seconds(metadata.get("deletionTimestamp"))
    if at is not None:
        return at - float(metadata.get("deletionGracePeriodSeconds") or 0)
    disrupted = _disruption(pod.get("status") or {})
    return seconds(disrupted.get("lastTransitionTime")) if disrupted is not None else None


def _ended_before_deadline(pod: Pod, ended_at: float | None) -> bool:
    began = seconds((pod.get("status") or {}).get("startTime"))
    allowed = (pod.get("spec") or {}).get("activeDeadlineSeconds")
    if began is None or allowed is None or ended_at is None:
        return False
    return ended_at < began + float(allowed)
