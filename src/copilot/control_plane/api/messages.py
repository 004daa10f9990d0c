"""Rows as Flyte's messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from flyteidl2.common.identifier_pb2 import ActionIdentifier, RunIdentifier
from flyteidl2.common.identity_pb2 import EnrichedIdentity
from flyteidl2.core.execution_pb2 import ExecutionError, LogContext
from flyteidl2.task.common_pb2 import OutputReferences
from flyteidl2.task.run_pb2 import RunSpec
from flyteidl2.workflow import run_definition_pb2 as rd
from flyteidl2.workflow.state_service_pb2 import ActionUpdate
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import select

from copilot.control_plane.db.models import Action, Attempt, Event, Run
from copilot.control_plane.lifecycle.phases import Phase
from copilot.control_plane.runs import get_spec
from copilot.core import podfiles

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_KINDS: Final = {"user": rd.ErrorInfo.KIND_USER, "system": rd.ErrorInfo.KIND_SYSTEM}
_ERROR_KINDS: Final = {"user": ExecutionError.USER, "system": ExecutionError.SYSTEM}
_TYPES: Final = {
    "task": rd.ACTION_TYPE_TASK,
    "trace": rd.ACTION_TYPE_TRACE,
    "condition": rd.ACTION_TYPE_CONDITION,
}
REPORT: Final = "report.html"


def stamp(seconds: float) -> Timestamp:
    """Seconds since the epoch as a message, to the microsecond."""
    at = Timestamp()
    at.FromMicroseconds(round(seconds * 1e6))
    return at


def action_id(run: Run, action: Action) -> ActionIdentifier:
    """Its identifier; the organization stays empty."""
    return ActionIdentifier(run=RunIdentifier(project=run.project, domain=run.domain, name=run.name), name=action.name)


def run_message(run: Run, action: Action, labels: dict[str, str] | None = None) -> rd.Run:
    """A run with its root action."""
    return rd.Run(action=action_message(run, action), labels=labels or {})


def action_message(run: Run, action: Action) -> rd.Action:
    """An action without its attempts."""
    return rd.Action(id=action_id(run, action), metadata=metadata(run, action), status=status(action))


def metadata(run: Run, action: Action) -> rd.ActionMetadata:
    """What an action is, beside its state."""
    message = rd.ActionMetadata(
        parent=action.parent,
        group=action.group_name,
        action_type=_TYPES[action.kind],
        environment_name=action.environment,
        funtion_name=action.short_name,
        source=run.source,
    )
    if run.created_by:
        message.executed_by.CopyFrom(identity(run.created_by))
    if action.kind == "task":
        task = message.task
        task.id.project, task.id.domain = action.task_project, action.task_domain
        task.id.name, task.id.version = action.task_name, action.task_version
        task.task_type, task.short_name = action.task_type, action.short_name
    elif action.kind == "trace":
        message.trace.name = action.short_name
    else:
        message.condition.name = action.short_name
    return message


def identity(name: str) -> EnrichedIdentity:
    """A person or a program, by its name."""
    who = EnrichedIdentity()
    who.user.id.subject = name
    return who


def status(action: Action) -> rd.ActionStatus:
    """Phase, times and attempts. The time of an action runs from its submission to its real end."""
    message = rd.ActionStatus(phase=action.phase, start_time=stamp(action.created_at), attempts=max(action.attempts, 1))
    if action.kind != "task":
        message.attempts = 0
    if action.ended_at is not None:
        message.end_time.CopyFrom(stamp(action.ended_at))
        message.duration_ms = round((action.ended_at - action.created_at) * 1000)
    return message


def action_details(session: Session, run: Run, action: Action) -> rd.ActionDetails:
    """An action with its task, its attempts and their histories."""
    message = rd.ActionDetails(id=action_id(run, action), metadata=metadata(run, action), status=status(action))
    if action.error_code or action.error_message:
        message.error_info.CopyFrom(error_info(action))
    if action.phase == Phase.ABORTED:
        message.abort_info.reason = action.abort_reason
        if action.aborted_by:
            message.abort_info.aborted_by.CopyFrom(identity(action.aborted_by))
    if action.kind == "task":
        message.task.CopyFrom(get_spec(session, action.spec_digest))
    elif action.kind == "trace":
        message.trace.CopyFrom(rd.TraceAction.FromString(action.detail).spec)
    else:
        message.condition.CopyFrom(rd.ConditionAction.FromString(action.detail))
        if action.signal:
            message.signal_info.output.ParseFromString(action.signal)
    attempts = session.scalars(select(Attempt).where(Attempt.action_id == action.id).order_by(Attempt.number)).all()
    if attempts:
        events = session.scalars(select(Event).where(Event.action_id == action.id).order_by(Event.id)).all()
        message.attempts.extend(attempt_message(attempt, _of(events, attempt.number)) for attempt in attempts)
    return message


def attempt_message(attempt: Attempt, events: Sequence[Event]) -> rd.ActionAttempt:
    """One attempt with its history."""
    message = rd.ActionAttempt(
        phase=attempt.phase,
        start_time=stamp(attempt.created_at),
        attempt=attempt.number,
        outputs=OutputReferences(
            output_uri=f"{attempt.output_prefix}/{podfiles.OUTPUTS_PB}", report_uri=f"{attempt.output_prefix}/{REPORT}"
        ),
        logs_available=attempt.logs_available,
        cluster_events=cluster_events(events),
        phase_transitions=_transitions(events),
    )
    if attempt.ended_at is not None:
        message.end_time.CopyFrom(stamp(attempt.ended_at))
    if attempt.error_code or attempt.error_message:
        message.error_info.CopyFrom(error_info(attempt))
    if attempt.pod_created:
        message.log_context.CopyFrom(log_context(attempt))
    return message


def cluster_events(events: Iterable[Event]) -> list[rd.ClusterEvent]:
    """What the cluster said, in order."""
    kinds = {True: rd.ClusterEvent.TYPE_WARNING, False: rd.ClusterEvent.TYPE_NORMAL}
    return [
        rd.ClusterEvent(
            occurred_at=stamp(event.at), message=event.message, reason=event.reason, type=kinds[event.warning], count=1
        )
        for event in events
        if event.kind == "cluster"
    ]


def log_context(attempt: Attempt) -> LogContext:
    """Where the attempt's logs come from."""
    context = LogContext(primary_pod_name=attempt.pod_name)
    context.pods.add(namespace=attempt.pod_namespace, pod_name=attempt.pod_name)
    return context


def error_info(row: Action | Attempt) -> rd.ErrorInfo:
    """Why it failed."""
    return rd.ErrorInfo(
        message=row.error_message, kind=_KINDS.get(row.error_kind, rd.ErrorInfo.KIND_UNSPECIFIED), code=row.error_code
    )


def action_update(run: Run, action: Action) -> ActionUpdate:
    """What a caller is told of what it called: ``output_uri`` is the prefix here, without ``outputs.pb``."""
    update = ActionUpdate(action_id=action_id(run, action), phase=action.phase)
    if action.kind == "task":
        update.output_uri = f"{run.output_base}{action.name}/{max(action.attempts, 1)}"
    else:
        update.output_uri = action.output_uri
    if action.phase in (Phase.FAILED, Phase.TIMED_OUT):
        update.error.code, update.error.message = action.error_code, action.error_message
        update.error.kind = _ERROR_KINDS.get(action.error_kind, ExecutionError.UNKNOWN)
    elif action.phase == Phase.ABORTED:
        update.error.code, update.error.message = "Aborted", action.abort_reason
        update.error.kind = ExecutionError.USER
    if action.signal:
        update.value.ParseFromString(action.signal)
    return update


def run_details(session: Session, run: Run, action: Action) -> rd.RunDetails:
    """A run with what was asked and its root action."""
    run_spec = RunSpec.FromString(run.run_spec)
    if not run_spec.HasField("run_start_time"):
        run_spec.run_start_time.CopyFrom(stamp(run.created_at))
    return rd.RunDetails(run_spec=run_spec, action=action_details(session, run, action))


def _of(events: Sequence[Event], attempt: int) -> list[Event]:
    return [event for event in events if event.attempt == attempt]


def _transitions(events: Sequence[Event]) -> list[rd.PhaseTransition]:
    moves = [event for event in events if event.kind == "phase"]
    transitions = []
    for event, following in zip(moves, [*moves[1:], None], strict=True):
        transition = rd.PhaseTransition(phase=event.after, start_time=stamp(event.at))
        if following is not None:
            transition.end_time.CopyFrom(stamp(following.at))
        elif Phase(event.after).terminal:
            transition.end_time.CopyFrom(stamp(event.at))
        transitions.append(transition)
    return transitions
