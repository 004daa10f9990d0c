"""The pod's status as the Kubernetes API shows it, from the rules' state. Pure."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from copilot.control_plane.executors.processes.container_state import ENDED, RUNNING, ContainerState, Ended
from copilot.control_plane.executors.processes.machine import DEADLINE, PodMachine
from copilot.control_plane.executors.processes.spec import INIT, MAIN, SIDECAR

if TYPE_CHECKING:
    from collections.abc import Mapping

PENDING: Final = "Pending"
PHASE_RUNNING: Final = "Running"
SUCCEEDED: Final = "Succeeded"
FAILED: Final = "Failed"
TERMINAL: Final = frozenset({SUCCEEDED, FAILED})

DEADLINE_MESSAGE: Final = "Pod was active on the node longer than the specified deadline"


def rfc3339(wall_s: float, *, precise: bool = False) -> str:
    """``2026-11-22T07:21:23Z``, with microseconds where asked; the API server itself keeps whole seconds only."""
    whole = int(wall_s)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{text}.{int((wall_s - whole) * 1_000_000):06d}Z" if precise and wall_s else f"{text}Z"


@dataclass(frozen=True, slots=True)
class StatusStyle:
    """How statuses are written: times with microseconds or whole seconds, and the addresses shown."""

    precise: bool = True
    host_ip: str = "127.0.0.1"
    pod_ip: str = "127.0.0.1"
    runtime: str = "process"


def phase(machine: PodMachine) -> str:
    """The pod's phase by the kubelet's rules: it says nothing of whether outputs were published."""
    mains = [each for each in machine.containers.values() if each.spec.role == MAIN]
    if machine.finished:
        if machine.stop is not None and machine.stop.reason == DEADLINE:
            return FAILED
        return SUCCEEDED if mains and all(each.ended is not None and each.ended.exit_code == 0 for each in mains) else FAILED
    return PHASE_RUNNING if machine.initialized and not any(each.never_ran for each in mains) else PENDING


def pod_status(machine: PodMachine, pod: Mapping[str, Any], style: StatusStyle | None = None) -> dict[str, Any]:
    """The whole ``status`` object."""
    style = style or StatusStyle()
    shown = phase(machine)
    status: dict[str, Any] = {
        "phase": shown,
        "conditions": _conditions(machine, shown, style),
        "hostIP": style.host_ip,
        "hostIPs": [{"ip": style.host_ip}],
        "podIP": style.pod_ip,
        "podIPs": [{"ip": style.pod_ip}],
        "startTime": rfc3339(machine.born.wall, precise=style.precise),
        "qosClass": _qos(pod),
    }
    if shown == FAILED and machine.stop is not None and machine.stop.reason == DEADLINE:
        status |= {"reason": "DeadlineExceeded", "message": DEADLINE_MESSAGE}
    inits = [each for each in machine.containers.values() if each.spec.role in {INIT, SIDECAR}]
    mains = [each for each in machine.containers.values() if each.spec.role == MAIN]
    if inits:
        status["initContainerStatuses"] = [_container(each, machine, pod, style) for each in inits]
    status["containerStatuses"] = [_container(each, machine, pod, style) for each in mains]
    return status


def _container(state: ContainerState, machine: PodMachine, pod: Mapping[str, Any], style: StatusStyle) -> dict[str, Any]:
    name, image = state.spec.name, str(state.spec.manifest.get("image", ""))
    container_id = f"{style.runtime}://{pod['metadata'].get('uid', '')}/{name}/{state.attempt}"
    last = state.ended if state.restart_at is not None else state.last
    ready = state.ready
    if state.spec.role == INIT:
        ready = state.ended is not None and state.ended.exit_code == 0
    shown: dict[str, Any] = {
        "name": name,
        "state": _state(state, machine, container_id, style),
        "lastState": {"terminated": _terminated(last, "", style)} if last else {},
        "ready": ready,
        "restartCount": state.attempt,
        "image": image,
        "imageID": "",
        "started": state.started,
    }
    if not state.never_ran:
        shown["containerID"] = container_id
    return shown


def _state(state: ContainerState, machine: PodMachine, container_id: str, style: StatusStyle) -> dict[str, Any]:
    if state.life == RUNNING:
        return {"running": {"startedAt": rfc3339(state.started_wall_s, precise=style.precise)}}
    if state.life == ENDED and state.ended is not None:
        if state.restart_at is None:
            return {"terminated": _terminated(state.ended, container_id, style)}
        waits = f"back-off restarting failed container {state.spec.name} in pod {machine.spec.name}"
        return {"waiting": {"reason": "CrashLoopBackOff", "message": waits}}
    inits = any(each.spec.role in {INIT, SIDECAR} for each in machine.containers.values())
    return {"waiting": {"reason": "PodInitializing" if inits else "ContainerCreating"}}


def _terminated(ended: Ended, container_id: str, style: StatusStyle) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "exitCode": ended.exit_code,
        "reason": ended.reason,
        "startedAt": rfc3339(ended.started_wall_s, precise=style.precise),
        "finishedAt": rfc3339(ended.finished_wall_s, precise=style.precise),
    }
    if ended.message:
        shown["message"] = ended.message
    if container_id:
        shown["containerID"] = container_id
    return shown


def _conditions(machine: PodMachine, shown: str, style: StatusStyle) -> list[dict[str, Any]]:
    at = rfc3339(machine.changed_wall_s, precise=style.precise)
    born = rfc3339(machine.born.wall, precise=style.precise)
    ready = (
        machine.initialized
        and not machine.finished
        and all(each.ready for each in machine.containers.values() if each.spec.role != INIT)
    )
    why = {SUCCEEDED: "PodCompleted", FAILED: "PodFailed"}.get(shown, "ContainersNotReady")
    shown_ready = {"status": "True"} if ready else {"status": "False", "reason": why}
    conditions: list[dict[str, Any]] = []
    if machine.disruption is not None:
        reason, message = machine.disruption
        conditions.append(
            {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message, "lastTransitionTime": at}
        )
    initialized = {"status": "True"} if machine.initialized else {"status": "False", "reason": "ContainersNotInitialized"}
    conditions += [
        {"type": "PodReadyToStartContainers", "status": "False" if machine.finished else "True", "lastTransitionTime": born},
        {"type": "Initialized", **initialized, "lastTransitionTime": born},
        {"type": "Ready", **shown_ready, "lastTransitionTime": at},
        {"type": "ContainersReady", **shown_ready, "lastTransitionTime": at},
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": born},
    ]
    return conditions


def _qos(pod: Mapping[str, Any]) -> str:
    spec = pod["spec"]
    resources = [each.get("resources") or {} for each in [*(spec.get("initContainers") or ()), *spec["containers"]]]
    if not any(each.get("requests") or each.get("limits") for each in resources):
        return "BestEffort"
    for each in resources:
        limits, requests = each.get("limits") or {}, each.get("requests") or {}
        if any(name not in limits or requests.get(name, limits[name]) != limits[name] for name in ("cpu", "memory")):
            return "Burstable"
    return "Guaranteed"
