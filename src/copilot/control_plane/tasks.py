"""Deployed tasks: each version is written once and found again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from copilot.control_plane import runs
from copilot.control_plane.db.models import Task
from copilot.control_plane.errors import InvalidRequest, NoSuchResource, ResourceExists

if TYPE_CHECKING:
    from flyteidl2.task.task_definition_pb2 import TaskIdentifier, TaskSpec
    from sqlalchemy.orm import Session

    from copilot.control_plane.db.database import Unit


def deploy(unit: Unit, identifier: TaskIdentifier, spec: TaskSpec, *, by: str, now: float) -> Task:
    """Deploys a version. The same version with the same task is deployed already; with another one it is refused.

    Raises:
        InvalidRequest: the task's own identifier is another one.
        ResourceExists: this version is another task.
    """
    inner = spec.task_template.id
    for part in ("project", "domain", "name", "version"):
        given, said = getattr(inner, part), getattr(identifier, part)
        if given and given != said:
            raise InvalidRequest(
                f"task_id.{part} is {said!r}, spec.task_template.id.{part} is {given!r}",
                hint="Deploy a task under its own identifier.",
            )
    runs.require_project(unit.session, identifier.project)
    digest = runs.put_spec(unit.session, spec)
    known = look_up(unit.session, identifier)
    if known is not None:
        if known.spec_digest != digest:
            raise ResourceExists(
                f"task {identifier.name} version {identifier.version} exists and is another one",
                hint="Deploy it under a new version.",
            )
        return known
    task = Task(
        project=identifier.project,
        domain=identifier.domain,
        name=identifier.name,
        version=identifier.version,
        spec_digest=digest,
        deployed_at=now,
        deployed_by=by,
    )
    unit.session.add(task)
    unit.session.flush()
    return task


def look_up(session: Session, identifier: TaskIdentifier) -> Task | None:
    """The deployed version, or None."""
    return session.scalars(
        select(Task).where(
            Task.project == identifier.project,
            Task.domain == identifier.domain,
            Task.name == identifier.name,
            Task.version == identifier.version,
        )
    ).one_or_none()


def find_task(session: Session, identifier: TaskIdentifier) -> Task:
    """The deployed version. Raises ``NoSuchResource``."""
    task = look_up(session, identifier)
    if task is None:
        where = f"{identifier.project}/{identifier.domain}/{identifier.name}"
        raise NoSuchResource(
            f"task not found: {where} version {identifier.version!r}", hint="Deploy it first: flyte deploy FILE ENV."
        )
    return task
