"""Rows that belong together, read at once: an attempt with its action, its run and its task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flyteidl2.task.run_pb2 import RunSpec
from sqlalchemy import select

from copilot.control_plane.db.models import Action, Attempt, Run
from copilot.control_plane.runs import get_spec

if TYPE_CHECKING:
    from flyteidl2.task.task_definition_pb2 import TaskSpec
    from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """An attempt as it was when it was read; the rows are detached, changing them changes nothing."""

    attempt: Attempt
    action: Action
    run: Run
    spec: TaskSpec

    @property
    def ended(self) -> bool:
        """The attempt is over, whatever its pod does."""
        return self.attempt.ended_at is not None

    @property
    def run_spec(self) -> RunSpec:
        """The run's ``task.RunSpec``."""
        return RunSpec.FromString(self.run.run_spec)


def load_attempt(session: Session, attempt_id: int) -> AttemptRecord | None:
    """The attempt with what belongs to it, or None."""
    row = session.execute(
        select(Attempt, Action, Run)
        .join(Action, Action.id == Attempt.action_id)
        .join(Run, Run.id == Action.run_id)
        .where(Attempt.id == attempt_id)
    ).one_or_none()
    if row is None:
        return None
    attempt, action, run = row
    return AttemptRecord(attempt, action, run, get_spec(session, action.spec_digest))


def find_attempt(session: Session, action_id: int, number: int) -> Attempt | None:
    """The attempt with this number, or None."""
    return session.scalars(select(Attempt).where(Attempt.action_id == action_id, Attempt.number == number)).one_or_none()
