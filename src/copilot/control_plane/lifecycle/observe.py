"""What a pod's status says of its phase: since when, whether main has ended, and why it waits. Pure.

Reads the Kubernetes pod status shape (``v1.PodStatus``), which every executor gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from copilot.control_plane.lifecycle.phases import Phase

Pod = Mapping[str, Any]

MAIN_ANNOTATION: Final = "copilot.dev/main-container"
_WARNINGS: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "CrashLoopBackOff",
    }
)


@dataclass(frozen=True, slots=True)
class Word:
    """Something the cluster says of a pod, for people."""

    reason: str
    message: str
    at: float | None
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at a pod.

    Attributes:
        phase: the furthest phase that the status proves; never an end: that is not the pod's to say.
        times: when phases began, seconds since the epoch.
        main_ended: main has a terminated state, or will never have another.
        finished: the pod has ended with all its containers.
        deleting: somebody asked for its deletion.
        words: why it waits, what became of containers.
    """

    phase: Phase
    times: Mapping[Phase, float]
    main_ended: bool
    finished: bool
    deleting: bool
    words: tuple[Word, ...] = field(default=())


def look(pod: Pod) -> Sight:
    """What this pod's status says."""
    status: Mapping[str, Any] = pod.get("status") or {}
    main = main_status(pod)
    state: Mapping[str, Any] = (main or {}).get("state") or {}
    times: dict[Phase, float] = {}
    phase = Phase.QUEUED
    scheduled = _condition(status, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        phase = Phase.WAITING_FOR_RESOURCES
    started = seconds(status.get("startTime"))
    containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    if started is not None or containers:
        phase = Phase.INITIALIZING
        if started is not None:
            times[Phase.INITIALIZING] = started
    begun = _begun(state) or _begun((main or {}).get("lastState") or {})
    if begun is not None:
        phase = Phase.RUNNING
        times[Phase.RUNNING] = begun
    finished = status.get("phase") in {"Succeeded", "Failed"}
    return Sight(
        phase=phase,
        times=times,
        main_ended="terminated" in state or finished,
        finished=finished,
        deleting=bool((pod.get("metadata") or {}).get("deletionTimestamp")),
        words=tuple(_words(status, containers)),
    )


def main_name(pod: Pod) -> str:
    """The name of the task's own container: as annotated, else the first."""
    containers = (pod.get("spec") or {}).get("containers") or [{}]
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    for key in (MAIN_ANNOTATION, "kubectl.kubernetes.io/default-container", "primary_container_name"):
        named = annotations.get(key)
        if named and named in [container.get("name") for container in containers]:
            return str(named)
    return str(containers[0].get("name", ""))


def main_status(pod: Pod) -> Mapping[str, Any] | None:
    """The status of the task's own container, if there is one yet."""
    name = main_name(pod)
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        if container.get("name") == name:
            return dict(container)
    return None


def seconds(stamp: object) -> float | None:
    """Seconds since the epoch of an RFC 3339 time, or None."""
    if not isinstance(stamp, str) or not stamp:
        return None
    return datetime.fromisoformat(stamp).timestamp()


def _begun(state: Mapping[str, Any]) -> float | None:
    for kind in ("running", "terminated"):
        if kind in state:
            # A command that could not be started never ran: the kubelet gives such a container no, or the zero, start time.
            at = seconds(state[kind].get("startedAt"))
            return at if at and at > 0 else None
    return None


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    return next((dict(each) for each in status.get("conditions") or () if each.get("type") == kind), None)


def _words(status: Mapping[str, Any], containers: Iterable[Mapping[str, Any]]) -> Iterable[Word]:
    scheduled = _condition(status, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        at = seconds(scheduled.get("lastTransitionTime"))
        yield Word(str(scheduled.get("reason", "Unschedulable")), str(scheduled.get("message", "")), at, warning=True)
    disrupted = _condition(status, "DisruptionTarget")
    if disrupted is not None and disrupted.get("status") == "True":
        at = seconds(disrupted.get("lastTransitionTime"))
        yield Word(str(disrupted.get("reason", "DisruptionTarget")), str(disrupted.get("message", "")), at, warning=True)
    if status.get("reason"):
        yield Word(str(status["reason"]), str(status.get("message", status["reason"])), None, warning=True)
    for container in containers:
        name = container.get("name", "")
        state = container.get("state") or {}
        waiting, ended = state.get("waiting"), state.get("terminated") or (container.get("lastState") or {}).get("terminated")
        if waiting and waiting.get("reason") in _WARNINGS:
            yield Word(str(waiting["reason"]), f"{name}: {waiting.get('message') or waiting['reason']}", None, warning=True)
        if ended:
            code = ended.get("exitCode")
            said = f"{name}: {ended.get('reason') or 'ended'}, exit code {code}"
            yield Word(str(ended.get("reason") or "Ended"), said, seconds(ended.get("finishedAt")), warning=bool(code))
