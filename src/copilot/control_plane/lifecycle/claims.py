"""Which attempts this server looks after: new ones from the queue, and those another server has let go.

An attempt belongs to one server at a time by a lease in its row. A server that dies stops renewing; when the lease has run
out another takes the attempt over, and because a pod's name comes from its attempt, it finds the pod instead of making a
second one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, or_, select, text, update

from copilot.control_plane import layout
from copilot.control_plane.db.models import Action, Attempt, Event, Run
from copilot.control_plane.lifecycle.moves import Blame, Ending, finish, told
from copilot.control_plane.lifecycle.phases import ROOT, Phase

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from copilot.control_plane.db.database import Unit
    from copilot.control_plane.settings import Limits

_CANDIDATES = 400
_LOCK = "copilot-claims"


@dataclass(frozen=True, slots=True)
class Claimed:
    """An attempt that is ours now.

    Attributes:
        attempt_id: its row.
        action_id: the action's row.
        pod_name: its pod.
        token: the secret its pod reports with; empty after a takeover (the pod has it already).
    """

    attempt_id: int
    action_id: int
    pod_name: str
    token: str = ""


def token_hash(token: str) -> str:
    """What is stored of an attempt's token."""
    return hashlib.sha256(token.encode()).hexdigest()


def pod_name(project: str, domain: str, run: str, action: str, attempt: int) -> str:
    """The pod of one attempt, always the same: readable, and unique among projects that use the same run name."""
    digest = hashlib.sha256("/".join((project, domain, run, action, str(attempt))).encode()).hexdigest()[:8]
    return f"{f'{run}-{action}-{attempt - 1}'[:52].rstrip('-')}-{digest}"


def claim_waiting(
    unit: Unit, *, owner: str, now: float, lease_s: float, limits: Limits, namespace: str, store_base: str
) -> list[Claimed]:
    """Begins an attempt for every action that may have a pod now, in fair order, and takes it."""
    session = unit.session
    if session.get_bind().dialect.name == "postgresql":
        # Two servers that count the pods in flight at the same moment would together exceed a limit.
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": _LOCK})
    chosen = _choose(session, now, limits)
    if not chosen:
        return []
    rows = session.execute(
        select(Action, Run)
        .join(Run, Run.id == Action.run_id)
        .where(Action.id.in_(chosen), Action.phase == int(Phase.QUEUED), Action.live_attempt == 0)
        .with_for_update(skip_locked=True, of=Action)
    ).all()
    claimed: list[tuple[Attempt, str]] = []
    for action, run in sorted(rows, key=lambda row: chosen.index(row[0].id)):
        number = action.attempts + 1
        token = secrets.token_urlsafe(24)
        attempt = Attempt(
            action_id=action.id,
            number=number,
            pod_namespace=namespace,
            pod_name=pod_name(run.project, run.domain, run.name, action.name, number),
            output_prefix=layout.attempt_prefix(run.output_base, action.name, number),
            logs_uri=layout.logs_uri(store_base, run.project, run.domain, run.name, action=action.name, attempt=number),
            token_hash=token_hash(token),
            lease_owner=owner,
            lease_until=now + lease_s,
            created_at=max(now, action.created_at),
        )
        action.attempts = action.live_attempt = number
        session.add(attempt)
        session.add(
            Event(
                action_id=action.id,
                attempt=number,
                kind="phase",
                after=int(Phase.QUEUED),
                reason="claimed",
                at=attempt.created_at,
            )
        )
        claimed.append((attempt, token))
        told(unit, action)
    session.flush()
    return [Claimed(attempt.id, attempt.action_id, attempt.pod_name, token) for attempt, token in claimed]


def take_over(
    unit: Unit, *, owner: str, now: float, lease_s: float, everything: bool = False, kept: Collection[int] = ()
) -> list[Claimed]:
    """Takes attempts whose lease has run out and whose pod may still be there.

    With ``everything`` the leases of others count for nothing: this is the only server (SQLite), and it has just started.
    Attempts in this server's name that are not among those it has (``kept``) are taken too: the answer to its own claim
    was lost with the connection, and as long as it renews its leases nobody else would ever look after them.
    """
    query = select(Attempt).where(Attempt.pod_gone.is_(False), Attempt.lease_owner != owner)
    if not everything:
        query = query.where(Attempt.lease_until < now)
    attempts = list(unit.session.scalars(query.order_by(Attempt.id).with_for_update(skip_locked=True)))
    ours = select(Attempt.id).where(
        Attempt.pod_gone.is_(False), Attempt.lease_owner == owner, Attempt.created_at < now - lease_s
    )
    forgotten = [each for each in unit.session.scalars(ours) if each not in kept]
    if forgotten:
        attempts += unit.session.scalars(select(Attempt).where(Attempt.id.in_(forgotten)).order_by(Attempt.id))
    for attempt in attempts:
        attempt.lease_owner, attempt.lease_until = owner, now + lease_s
    return [Claimed(attempt.id, attempt.action_id, attempt.pod_name) for attempt in attempts]


def renew(unit: Unit, *, owner: str, now: float, lease_s: float) -> None:
    """Renews every lease of this server."""
    unit.session.execute(
        update(Attempt).where(Attempt.lease_owner == owner, Attempt.pod_gone.is_(False)).values(lease_until=now + lease_s)
    )


def release(unit: Unit, *, owner: str) -> None:
    """Lets go of everything: another server, or this one after a restart, may go on at once."""
    unit.session.execute(update(Attempt).where(Attempt.lease_owner == owner).values(lease_until=0.0, lease_owner=""))


def expire(unit: Unit, *, now: float) -> int:
    """Ends actions that have waited for a pod longer than they wanted to; how many."""
    late = unit.session.scalars(
        select(Action)
        .where(
            Action.phase == int(Phase.QUEUED),
            Action.kind == "task",
            Action.live_attempt == 0,
            or_(Action.queue_deadline < now, Action.deadline < now),
        )
        .with_for_update(skip_locked=True)
    ).all()
    for action in late:
        message = "no pod could be had for it in the time the task allows"
        ending = Ending(Phase.TIMED_OUT, Blame.USER, "QueuedTimeout", message)
        action.error_code, action.error_message, action.error_kind = ending.code, message, "user"
        finish(unit, action, Phase.TIMED_OUT, at=now, reason=ending.code, message=message)
    return len(late)


def next_due(session: Session, now: float) -> float | None:
    """When the next action that waits out a back-off may be claimed."""
    return session.scalar(
        select(func.min(Action.not_before)).where(
            Action.phase == int(Phase.QUEUED), Action.kind == "task", Action.live_attempt == 0, Action.not_before > now
        )
    )


def _choose(session: Session, now: float, limits: Limits) -> list[int]:
    """Ids of the actions that may begin, in order: each project in turn, called ones before roots, first come first served."""
    flying = session.execute(select(Action.project, Action.run_id, Action.name).where(Action.live_attempt > 0)).all()
    free = limits.max_pods - len(flying)
    free_roots = limits.root_pods - sum(name == ROOT for _, _, name in flying)
    if free <= 0:
        return []
    project_load = Counter(project for project, _, _ in flying)
    project_roots = Counter(project for project, _, name in flying if name == ROOT)
    run_load = Counter(run_id for _, run_id, name in flying if name != ROOT)
    rank = func.row_number().over(partition_by=Action.project, order_by=((Action.name == ROOT), Action.id)).label("rank")
    waiting = (
        select(Action.id, Action.project, Action.run_id, Action.name, rank)
        .where(Action.phase == int(Phase.QUEUED), Action.kind == "task", Action.live_attempt == 0, Action.not_before <= now)
        .where(*(or_(at.is_(None), at >= now) for at in (Action.queue_deadline, Action.deadline)))  # or else ``expire``'s
        .subquery()
    )
    rows = session.execute(
        select(waiting, Run.max_action_concurrency).join(Run, Run.id == waiting.c.run_id).where(waiting.c.rank <= _CANDIDATES)
    ).all()
    chosen: list[int] = []
    for row in sorted(rows, key=lambda row: (row.rank + project_load[row.project], row.id)):
        if len(chosen) >= free:
            break
        if row.name == ROOT:
            limit = limits.max_runs_per_project
            if free_roots <= 0 or (limit and project_roots[row.project] >= limit):
                continue
            free_roots -= 1
            project_roots[row.project] += 1
        elif row.max_action_concurrency and run_load[row.run_id] >= row.max_action_concurrency:
            continue
        else:
            run_load[row.run_id] += 1
        chosen.append(row.id)
    return chosen
