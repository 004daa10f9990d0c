"""How runs and actions come into being: checked, written once, and found again by their names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flyteidl2.task.task_definition_pb2 import TaskSpec
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from copilot.control_plane import layout
from copilot.control_plane.db.models import Action, Event, Project, Run, RunLabel, TaskSpecBlob
from copilot.control_plane.errors import InvalidRequest, NoSuchResource, ResourceExists
from copilot.control_plane.facts import ActionCreated
from copilot.control_plane.hub import QUEUE
from copilot.control_plane.lifecycle.moves import told
from copilot.control_plane.lifecycle.phases import ROOT, Phase

if TYPE_CHECKING:
    from flyteidl2.common.identifier_pb2 import RunIdentifier
    from flyteidl2.task.run_pb2 import RunSpec
    from flyteidl2.workflow.run_definition_pb2 import ConditionAction, TraceAction
    from flyteidl2.workflow.run_service_pb2 import CreateRunRequest
    from sqlalchemy.orm import Session

    from copilot.control_plane.db.database import Unit

ARCHIVED = 1
_MAX_TEXT = 255


@dataclass(frozen=True, slots=True)
class NewRun:
    """What a run is made of.

    Attributes:
        project, domain: where.
        name: the name that was asked for; empty: a fresh one.
        spec: the ``task.TaskSpec``.
        run_spec: the ``task.RunSpec``.
        input_uri: the inputs' ``…/inputs.pb``, or empty.
        digest: of the whole request: the same name with the same digest is the same run.
        source: ``workflow.RunSource``.
        created_by: who asked, or empty.
    """

    project: str
    domain: str
    name: str
    spec: TaskSpec
    run_spec: RunSpec
    input_uri: str
    digest: str
    source: int = 0
    created_by: str = ""


def create_run(unit: Unit, new: NewRun, *, now: float, store_base: str) -> tuple[Run, Action]:
    """The run and its root action, made now or, for the same name and request, before.

    Raises:
        ResourceExists: the name belongs to another request.
        NoSuchResource: no such project.
    """
    require_project(unit.session, new.project)
    name = new.name or layout.new_run_name()
    known = find_run(unit.session, new.project, new.domain, name)
    if known is not None:
        check_same(known, new.digest)
        return known, require_action(unit.session, known, ROOT)
    run = Run(
        project=new.project,
        domain=new.domain,
        name=name,
        request_digest=new.digest,
        run_spec=new.run_spec.SerializeToString(deterministic=True),
        output_base=layout.run_output_base(new.run_spec.run_base_dir or store_base, new.project, new.domain, name),
        source=new.source,
        max_action_concurrency=new.run_spec.max_action_concurrency,
        created_by=new.created_by,
        created_at=now,
    )
    unit.session.add(run)
    unit.session.flush()
    for key, value in new.run_spec.labels.values.items():
        unit.session.add(RunLabel(run_id=run.id, key=key, value=value))
    action = task_action(unit, run, ROOT, new.spec, parent="", group="", input_uri=new.input_uri, now=now)
    return run, action


def task_action(
    unit: Unit, run: Run, name: str, spec: TaskSpec, *, parent: str, group: str, input_uri: str, now: float
) -> Action:
    """A new action of a run that waits for a pod."""
    template = spec.task_template
    timeouts = template.metadata.timeouts
    action = Action(
        run_id=run.id,
        project=run.project,
        name=name,
        parent=parent,
        group_name=group[:_MAX_TEXT],
        kind="task",
        spec_digest=put_spec(unit.session, spec),
        task_project=template.id.project or run.project,
        task_domain=template.id.domain or run.domain,
        task_name=template.id.name[:_MAX_TEXT],
        task_version=template.id.version[:_MAX_TEXT],
        task_type=template.type[:63],
        short_name=(spec.short_name or template.id.name)[:_MAX_TEXT],
        environment=spec.environment.name[:_MAX_TEXT],
        input_uri=input_uri,
        max_user_failures=template.metadata.retries.retries,
        queue_deadline=now + timeouts.queued_timeout.ToTimedelta().total_seconds()
        if timeouts.HasField("queued_timeout")
        else None,
        deadline=now + timeouts.deadline.ToTimedelta().total_seconds() if timeouts.HasField("deadline") else None,
        created_at=now,
        updated_at=now,
        phase=int(Phase.QUEUED),
    )
    return _begin(unit, action)


def other_action(
    unit: Unit,
    run: Run,
    name: str,
    *,
    kind: str,
    detail: TraceAction | ConditionAction,
    phase: Phase,
    parent: str,
    group: str,
    now: float,
) -> Action:
    """A new action without a pod: a trace, which has ended already, or a condition, which waits for its signal."""
    action = Action(
        run_id=run.id,
        project=run.project,
        name=name,
        parent=parent,
        group_name=group[:_MAX_TEXT],
        kind=kind,
        detail=detail.SerializeToString(deterministic=True),
        short_name=detail.name[:_MAX_TEXT],
        phase=int(phase),
        created_at=now,
        updated_at=now,
    )
    if kind == "trace":
        action.created_at = detail.start_time.ToMicroseconds() / 1e6 or now
        action.started_at = action.created_at
        action.ended_at = (detail.end_time.ToMicroseconds() / 1e6 or now) if phase.terminal else None
        action.output_uri = detail.outputs.output_uri
    return _begin(unit, action)


def _begin(unit: Unit, action: Action) -> Action:
    unit.session.add(action)
    unit.session.flush()
    unit.session.add(Event(action_id=action.id, kind="phase", after=action.phase, reason="created", at=action.created_at))
    unit.facts.append(ActionCreated(action.kind, root=action.name == ROOT))
    told(unit, action)
    unit.touch(QUEUE)
    return action


def put_spec(session: Session, spec: TaskSpec) -> str:
    """Stores the spec if it is new, and returns its digest."""
    data = spec.SerializeToString(deterministic=True)
    digest = hashlib.sha256(data).hexdigest()
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(insert(TaskSpecBlob).values(digest=digest, spec=data).on_conflict_do_nothing())
    return digest


def get_spec(session: Session, digest: str | None) -> TaskSpec:
    """The ``task.TaskSpec`` with this digest; an empty one for None."""
    row = session.get(TaskSpecBlob, digest) if digest else None
    return TaskSpec.FromString(row.spec) if row is not None else TaskSpec()


def request_digest(request: CreateRunRequest) -> str:
    """What makes two CreateRun requests the same one: everything but who asks and from where."""
    same = type(request)()
    same.CopyFrom(request)
    same.ClearField("id")
    same.ClearField("source")
    same.ClearField("run_start_time")
    if same.WhichOneof("task") == "task_id":
        same.task_id.org = ""
    return hashlib.sha256(same.SerializeToString(deterministic=True)).hexdigest()


def check_same(run: Run, digest: str) -> None:
    """Raises ``ResourceExists`` unless the run was made by the request with this digest."""
    if run.request_digest != digest:
        raise ResourceExists(
            f"run {run.project}/{run.domain}/{run.name} exists and was made by another request",
            hint="Choose another name, or leave it out.",
        )


def find_run(session: Session, project: str, domain: str, name: str) -> Run | None:
    """The run of this name, or None. The organization counts for nothing: clients make it up."""
    return session.scalars(select(Run).where(Run.project == project, Run.domain == domain, Run.name == name)).one_or_none()


def require_run(session: Session, identifier: RunIdentifier) -> Run:
    """The run of a ``common.RunIdentifier``. Raises ``NoSuchResource``."""
    run = find_run(session, identifier.project, identifier.domain, identifier.name)
    if run is None:
        raise NoSuchResource(f"run not found: {identifier.project}/{identifier.domain}/{identifier.name}")
    return run


def require_action(session: Session, run: Run, name: str, *, locked: bool = False) -> Action:
    """The action of this name in the run. Raises ``NoSuchResource``."""
    query = select(Action).where(Action.run_id == run.id, Action.name == name)
    action = session.scalars(query.with_for_update() if locked else query).one_or_none()
    if action is None:
        raise NoSuchResource(f"action not found: {run.project}/{run.domain}/{run.name}/{name}")
    return action


def require_project(session: Session, project: str) -> Project:
    """The project, which takes new work. Raises ``NoSuchResource``."""
    if not project:
        raise InvalidRequest("a project is required")
    row = session.get(Project, project)
    if row is None or row.state == ARCHIVED:
        state = "is archived" if row is not None else "not found"
        raise NoSuchResource(
            f"project {project!r} {state}", hint=f"Make it: flyte create project --id {project} --name {project}."
        )
    return row
