"""Every change of an action or an attempt: one function a kind of change, each inside somebody's transaction.

A change sets the phase (which ``control_plane.phases`` checks), writes an event with its time and reason, keeps the action
in step with its attempt, and names the topics to be told. Nothing else writes these rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from copilot.control_plane.db.models import Action, Attempt, Event, Run
from copilot.control_plane.facts import AttemptEnded, AttemptStarted, RunEnded
from copilot.control_plane.hub import PODS, QUEUE, action_topic, project_topic, run_topic
from copilot.control_plane.lifecycle.phases import LIVE, ROOT, Phase, steps

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from copilot.control_plane.db.database import Unit

_LIVE_NUMBERS: Final = tuple(int(phase) for phase in LIVE)
_MAX_MESSAGE: Final = 16_384


class Blame(Enum):
    """Whose failure an attempt's end is; each has a budget of its own."""

    NOBODY = ""
    USER = "user"
    SYSTEM = "system"
    PREEMPTION = "preemption"


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended.

    Attributes:
        phase: a terminal phase.
        blame: which budget a further attempt is taken from.
        code: a stable word (``OOMKilled``, ``TaskFailed`` …), empty after success.
        message: what people read.
        retryable: a further attempt may help.
        ended_at: when it really ended, seconds since the epoch; None: now.
        times: when earlier phases really began, as far as known.
    """

    phase: Phase
    blame: Blame = Blame.NOBODY
    code: str = ""
    message: str = ""
    retryable: bool = True
    ended_at: float | None = None
    times: Mapping[Phase, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Budgets:
    """How often an action is tried again, beside what its own ``retries`` allow for the user's failures.

    Attributes:
        system_failures: failures of ours, of the store or of the cluster.
        preemptions: pods taken away (evicted, preempted, deleted by others).
        backoff_s: wait before a second try after a system failure or a preemption; doubles each time.
        max_backoff_s: and never longer than this.
        user_backoff_s: wait before a retry of the user's failure, where the task does not say.
    """

    system_failures: int = 3
    preemptions: int = 10
    backoff_s: float = 1.0
    max_backoff_s: float = 60.0
    user_backoff_s: float = 0.0


def note(unit: Unit, action: Action, attempt: int, message: str, *, at: float, reason: str = "", warning: bool = False) -> None:
    """A word of the cluster, or of ours, for people: no phase changes."""
    text = message[:_MAX_MESSAGE]
    latest = unit.session.scalars(
        select(Event)
        .where(Event.action_id == action.id, Event.attempt == attempt, Event.kind == "cluster", Event.message == text)
        .limit(1)
    ).first()
    if latest is None:
        event = Event(
            action_id=action.id, attempt=attempt, kind="cluster", reason=reason[:255], message=text, warning=warning, at=at
        )
        unit.session.add(event)
        _tell(unit, action)


def advance(
    unit: Unit, action: Action, attempt: Attempt, to: Phase, *, now: float, times: Mapping[Phase, float], reason: str
) -> bool:
    """Moves a live attempt forward, and its action with it; False when there was nothing to do."""
    path = steps(Phase(attempt.phase), to)
    for phase in path:
        at = _in_order(unit, action, attempt, min(times.get(phase, now), now))
        before, attempt.phase = attempt.phase, int(phase)
        if phase is Phase.RUNNING:
            attempt.started_at = at
            attempt.logs_available = True
            queued_s = attempt.created_at - max(action.created_at, action.not_before)
            unit.facts.append(AttemptStarted(queued_s, at - attempt.created_at))
        _record(unit, action, attempt.number, before, phase, at=at, reason=reason)
        _mirror(unit, action, phase, at=at, reason=reason)
    return bool(path)


def end_attempt(unit: Unit, action: Action, attempt: Attempt, ending: Ending, budgets: Budgets, *, now: float) -> None:
    """Ends a live attempt, and decides: the action has ended too, or it goes back to the queue."""
    if Phase(attempt.phase).terminal:
        return
    if ending.phase is Phase.SUCCEEDED or Phase.RUNNING in ending.times:
        advance(unit, action, attempt, Phase.RUNNING, now=now, times=ending.times, reason="observed")
    at = _in_order(unit, action, attempt, min(ending.ended_at or now, now))
    before, attempt.phase = attempt.phase, int(ending.phase)
    attempt.ended_at = at
    attempt.error_code, attempt.error_message = ending.code[:255], ending.message[:_MAX_MESSAGE]
    attempt.error_kind = "user" if ending.blame is Blame.USER else "system" if ending.code else ""
    attempt.token_hash = ""
    action.live_attempt = 0
    ended_at = None if ending.phase is Phase.TIMED_OUT else ending.ended_at
    unit.facts.append(AttemptEnded(ending.phase.name.lower(), ending.blame.value, ending.code, ended_at))
    _record(
        unit, action, attempt.number, before, ending.phase, at=at, reason=ending.code or "succeeded", message=ending.message
    )
    # The live row has to be free before another attempt of this action may be begun, perhaps in this same transaction.
    unit.session.flush()
    unit.touch(PODS, QUEUE)
    if Phase(action.phase).terminal:
        return
    if ending.phase is Phase.SUCCEEDED:
        action.output_uri = attempt.output_prefix
    wait_s = _spend(action, ending, budgets)
    if wait_s is None:
        action.error_code, action.error_message, action.error_kind = (
            attempt.error_code,
            attempt.error_message,
            attempt.error_kind,
        )
        finish(unit, action, ending.phase, at=at, reason=ending.code or "succeeded", message=ending.message)
        return
    if action.queue_deadline is not None:
        # It waits for a pod anew, and has the whole of its time for that again.
        action.queue_deadline += now + wait_s - max(action.created_at, action.not_before)
    action.not_before = now + wait_s
    if Phase(action.phase) is not Phase.QUEUED:
        before, action.phase = action.phase, int(Phase.QUEUED)
        _record(
            unit, action, 0, before, Phase.QUEUED, at=now, reason="retry", message=f"attempt {attempt.number}: {ending.code}"
        )
    _tell(unit, action)


def finish(unit: Unit, action: Action, phase: Phase, *, at: float, reason: str, message: str = "") -> None:
    """Ends an action without a live attempt, and aborts what it had called."""
    for step in (steps(Phase(action.phase), phase) or (phase,)) if phase is Phase.SUCCEEDED else (phase,):
        before, action.phase = action.phase, int(step)
        _record(unit, action, 0, before, step, at=at, reason=reason, message=message)
    action.ended_at = max(at, action.created_at)
    _run_ended(unit, action, phase)
    _tell(unit, action)
    for child in _live_below(unit.session, action):
        abort_one(unit, child, reason=f"{action.name}, which called it, has ended", by="", at=at)


def abort(unit: Unit, action: Action, *, reason: str, by: str, now: float) -> bool:
    """Aborts an action and everything below it; False when it had ended: then nothing changes."""
    if Phase(action.phase).terminal:
        return False
    below = _live_below(unit.session, action)
    abort_one(unit, action, reason=reason, by=by, at=now)
    for child in below:
        abort_one(unit, child, reason=reason, by=by, at=now)
    return True


def abort_one(unit: Unit, action: Action, *, reason: str, by: str, at: float) -> None:
    """Aborts this action alone, with its live attempt; its pod is cleared away by the scheduler."""
    if Phase(action.phase).terminal:
        return
    attempt = live_attempt(unit.session, action)
    if attempt is not None:
        before, attempt.phase = attempt.phase, int(Phase.ABORTED)
        attempt.ended_at = max(at, attempt.created_at)
        attempt.error_code, attempt.error_message, attempt.error_kind = "Aborted", reason[:_MAX_MESSAGE], "user"
        attempt.token_hash = ""
        unit.facts.append(AttemptEnded(Phase.ABORTED.name.lower(), Blame.USER.value, attempt.error_code, None))
        _record(unit, action, attempt.number, before, Phase.ABORTED, at=at, reason="Aborted", message=reason)
    action.live_attempt = 0
    action.abort_reason, action.aborted_by = reason[:_MAX_MESSAGE], by[:255]
    before, action.phase = action.phase, int(Phase.ABORTED)
    action.ended_at = max(at, action.created_at)
    _record(unit, action, 0, before, Phase.ABORTED, at=at, reason="Aborted", message=reason)
    _run_ended(unit, action, Phase.ABORTED)
    unit.touch(PODS, QUEUE)
    _tell(unit, action)


def live_attempt(session: Session, action: Action) -> Attempt | None:
    """The attempt that has not ended, if there is one."""
    return session.scalars(
        select(Attempt).where(Attempt.action_id == action.id, Attempt.ended_at.is_(None)).with_for_update()
    ).one_or_none()


def lock(session: Session, action_id: int) -> Action | None:
    """The action, held until this transaction ends."""
    return session.scalars(select(Action).where(Action.id == action_id).with_for_update()).one_or_none()


def told(unit: Unit, action: Action) -> None:
    """Names the topics of an action that was changed otherwise."""
    _tell(unit, action)


def _spend(action: Action, ending: Ending, budgets: Budgets) -> float | None:
    """Seconds to the next attempt, taken from the budget the failure belongs to; None when there is none."""
    if ending.phase in (Phase.SUCCEEDED, Phase.ABORTED):
        return None
    if ending.blame is Blame.USER:
        if not ending.retryable or action.user_failures >= action.max_user_failures:
            return None
        action.user_failures += 1
        return budgets.user_backoff_s
    spent = action.preemptions if ending.blame is Blame.PREEMPTION else action.system_failures
    limit = budgets.preemptions if ending.blame is Blame.PREEMPTION else budgets.system_failures
    if not ending.retryable or spent >= limit:
        return None
    if ending.blame is Blame.PREEMPTION:
        action.preemptions += 1
    else:
        action.system_failures += 1
    return float(min(budgets.backoff_s * 2**spent, budgets.max_backoff_s))


def _mirror(unit: Unit, action: Action, phase: Phase, *, at: float, reason: str) -> None:
    for step in steps(Phase(action.phase), phase):
        before, action.phase = action.phase, int(step)
        _record(unit, action, 0, before, step, at=at, reason=reason)
        if step is Phase.RUNNING and action.started_at is None:
            action.started_at = at
    _tell(unit, action)


def _record(
    unit: Unit, action: Action, attempt: int, before: int, after: Phase, *, at: float, reason: str, message: str = ""
) -> None:
    unit.session.add(
        Event(
            action_id=action.id,
            attempt=attempt,
            kind="phase",
            before=before,
            after=int(after),
            reason=reason[:255],
            message=message[:_MAX_MESSAGE],
            at=at,
        )
    )
    action.updated_at = max(action.updated_at, at)


def _in_order(unit: Unit, action: Action, attempt: Attempt, at: float) -> float:
    """``at``, or the time of the attempt's last transition if clocks disagree: a history never runs backwards."""
    last = unit.session.scalar(
        select(func.max(Event.at)).where(Event.action_id == action.id, Event.attempt == attempt.number, Event.kind == "phase")
    )
    return max(at, attempt.created_at, last or 0.0)


def _live_below(session: Session, action: Action) -> Sequence[Action]:
    """Every live action that descends from this one, nearest first."""
    if action.name == ROOT:
        # Everything in a run descends from its root: one statement, whatever the depth.
        query = select(Action).where(Action.run_id == action.run_id, Action.id != action.id, Action.phase.in_(_LIVE_NUMBERS))
        return session.scalars(query.order_by(Action.id).with_for_update()).all()
    found: list[Action] = []
    parents = [action.name]
    while parents:
        query = select(Action).where(Action.run_id == action.run_id, Action.parent.in_(parents))
        children = session.scalars(query.order_by(Action.id).with_for_update()).all()
        found += [child for child in children if not Phase(child.phase).terminal]
        parents = [child.name for child in children]
    return found


def _run_ended(unit: Unit, action: Action, phase: Phase) -> None:
    if action.name == ROOT:
        unit.facts.append(RunEnded(phase.name.lower()))


def _tell(unit: Unit, action: Action) -> None:
    unit.touch(action_topic(action.id), run_topic(action.run_id))
    if action.name == ROOT:
        unit.touch(project_topic(action.project))


def run_of(session: Session, action: Action) -> Run:
    """The run an action belongs to."""
    return session.get_one(Run, action.run_id)
