"""A pod's status, as the Kubernetes API shows it → what the pod witness saw. Pure.

Facts measured on Kubernetes 1.32: main's state is in the API before a native sidecar gets SIGTERM; a pod that was deleted or
evicted and whose task obeyed ends ``Succeeded`` with exit code 0, so ``deletionTimestamp`` and ``DisruptionTarget`` count
before the exit code. They do not count where the task had ended by itself before anybody asked for the pod's end.
``DeadlineExceeded`` is written only when the last container has ended, a sidecar included: before, the deadline is worked out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from copilot.core.completion import Saw, Witness
from copilot.core.ports import Completion

#: Annotations that name the task's container, first that does counts; without one it is the first container.
MAIN_ANNOTATIONS: Final = ("copilot.dev/main-container", "kubectl.kubernetes.io/default-container", "primary_container_name")
_PREEMPTION: Final = "PreemptionByScheduler"
_DEADLINE: Final = "DeadlineExceeded"

Pod = Mapping[str, Any]


def main_container(pod: Pod) -> str:
    """The name of the task's own container; empty where the pod has none."""
    names = [str(one.get("name", "")) for one in (pod.get("spec") or {}).get("containers") or ()]
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    told = next((str(annotations[key]) for key in MAIN_ANNOTATIONS if annotations.get(key) in names), "")
    return told or (names[0] if names else "")


def pod_sighting(pod: Pod, *, observed_at_s: float, container: str = "", last_word: bool = False) -> Completion | None:
    """What the pod's status says of the task's end; None while it has not ended.

    Args:
        pod: the pod's object.
        observed_at_s: seconds since the epoch, for the record.
        container: the task's container; empty: ``main_container``.
        last_word: nobody can wait any longer: that the pod is to go counts although the container still runs.
    """
    ended = _terminated(pod, container or main_container(pod))
    if not ended and not last_word:
        return None
    code = ended.get("exitCode")
    saw, evidence = next(_seen(pod, ended, observed_at_s), (None, {}))
    if saw is None:
        return None
    facts = {**evidence, **({"container_reason": str(ended["reason"])} if ended.get("reason") else {})}
    return Completion(Witness.POD, saw, code if isinstance(code, int) else None, facts, observed_at_s)


def gone_sighting(observed_at_s: float) -> Completion:
    """What it means that the pod was there and is not any more: somebody deleted it by force, or made another of its name."""
    return Completion(Witness.POD, Saw.DELETED, evidence={"pod": "is no longer there"}, observed_at_s=observed_at_s)


def _seen(pod: Pod, ended: Mapping[str, Any], observed_at_s: float) -> Iterator[tuple[Saw, dict[str, str]]]:
    """In the order in which the truth table reads them."""
    status: Mapping[str, Any] = pod.get("status") or {}
    metadata: Mapping[str, Any] = pod.get("metadata") or {}
    ended_at_s = _seconds(ended.get("finishedAt"))
    if ended.get("reason") == "OOMKilled":
        yield Saw.OOM, {}
    asked_at_s = _asked_at_s(pod)
    deadline_s = _deadline_s(pod)
    if deadline_s is None:
        if status.get("reason") == _DEADLINE:
            yield Saw.DEADLINE, _told(status)
    # What still runs is judged by the time of this look: the kubelet took the pod's start from the clock of this machine.
    elif (observed_at_s if ended_at_s is None else ended_at_s) >= deadline_s and not (asked_at_s and asked_at_s < deadline_s):
        yield Saw.DEADLINE, {**_deadline_evidence(pod), **(_told(status) if status.get("reason") == _DEADLINE else {})}
    if ended_at_s is None or asked_at_s is None or ended_at_s >= asked_at_s:
        disrupted = _disruption(status)
        if disrupted:
            yield Saw.PREEMPTED if disrupted.get("reason") == _PREEMPTION else Saw.EVICTED, _told(disrupted)
        if status.get("reason") == "Evicted":
            yield Saw.EVICTED, _told(status)
        if metadata.get("deletionTimestamp"):
            yield Saw.DELETED, {"deletion_timestamp": str(metadata["deletionTimestamp"])}
    if ended:
        yield Saw.EXITED, {}


def _terminated(pod: Pod, container: str) -> Mapping[str, Any]:
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status.get("name") == container:
            return dict((status.get("state") or {}).get("terminated") or {})
    return {}


def _disruption(status: Mapping[str, Any]) -> Mapping[str, Any]:
    conditions = status.get("conditions") or ()
    return next((dict(one) for one in conditions if one.get("type") == "DisruptionTarget" and one.get("status") == "True"), {})


def _asked_at_s(pod: Pod) -> float | None:
    """When somebody asked for the pod's end: its deletion timestamp lies a grace period after that."""
    metadata = pod.get("metadata") or {}
    goes_at_s = _seconds(metadata.get("deletionTimestamp"))
    if goes_at_s is not None:
        return goes_at_s - float(metadata.get("deletionGracePeriodSeconds") or 0)
    return _seconds(_disruption(pod.get("status") or {}).get("lastTransitionTime"))


def _deadline_s(pod: Pod) -> float | None:
    """When the kubelet begins to end the pod, in seconds since the epoch; None where there is no deadline, or no start."""
    began_s = _seconds((pod.get("status") or {}).get("startTime"))
    allowed_s = (pod.get("spec") or {}).get("activeDeadlineSeconds")
    return None if began_s is None or allowed_s is None else began_s + float(allowed_s)


def _deadline_evidence(pod: Pod) -> dict[str, str]:
    return {
        "active_deadline_s": str(pod["spec"]["activeDeadlineSeconds"]),
        "pod_started_at": str(pod["status"]["startTime"]),
    }


def _told(fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(fields[name]) for name in ("reason", "message") if fields.get(name)}


def _seconds(stamp: object) -> float | None:
    return datetime.fromisoformat(stamp).timestamp() if isinstance(stamp, str) and stamp else None
