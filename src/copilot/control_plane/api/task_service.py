"""``flyteidl2.task.TaskService``: deployed tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flyteidl2.task import task_definition_pb2 as td
from flyteidl2.task import task_service_pb2 as pb
from flyteidl2.task.run_pb2 import RunSpec
from sqlalchemy import ColumnElement, func, select

from copilot.control_plane import layout, runs, task_checks
from copilot.control_plane.api.callers import CALLER
from copilot.control_plane.api.lists import Page
from copilot.control_plane.api.messages import identity, stamp
from copilot.control_plane.api.required import need, need_domain
from copilot.control_plane.db.models import Task
from copilot.control_plane.errors import InvalidRequest, NotServed
from copilot.control_plane.tasks import deploy, find_task

if TYPE_CHECKING:
    from connectrpc.request import RequestContext
    from sqlalchemy.orm import Session

    from copilot.control_plane.db.database import Unit
    from copilot.control_plane.office import Office

    Context = RequestContext[Any, Any]

_COLUMNS: Final = {
    "created_at": Task.deployed_at,
    "deployed_at": Task.deployed_at,
    "updated_at": Task.deployed_at,
    "name": Task.name,
    "version": Task.version,
    "deployed_by": Task.deployed_by,
}


class TaskService:
    """See the module."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def deploy_task(self, request: pb.DeployTaskRequest, ctx: Context) -> pb.DeployTaskResponse:
        """Deploys one version of a task."""
        del ctx
        need(request, "task_id", "spec")
        _need_identifier(request.task_id)
        need_domain(request.task_id.domain, self._office.settings)
        layout.check_segment(request.task_id.name, "task_id.name")
        task_checks.check_spec(request.spec, RunSpec(), self._office.settings.limits)
        if request.triggers:
            raise NotServed("triggers are not served here", hint="Deploy the task without its triggers.")
        now, who = self._office.clock.now_s(), CALLER.get().name

        def write(unit: Unit) -> None:
            deploy(unit, request.task_id, request.spec, by=who, now=now)

        await self._office.database.write(write)
        return pb.DeployTaskResponse()

    async def get_task_details(self, request: pb.GetTaskDetailsRequest, ctx: Context) -> pb.GetTaskDetailsResponse:
        """One version with its task."""
        del ctx
        need(request, "task_id")
        _need_identifier(request.task_id)

        def look(session: Session) -> pb.GetTaskDetailsResponse:
            task = find_task(session, request.task_id)
            spec = runs.get_spec(session, task.spec_digest)
            return pb.GetTaskDetailsResponse(
                details=td.TaskDetails(task_id=_id(task), metadata=_metadata(task, spec), spec=spec)
            )

        return await self._office.database.read(look)

    async def list_tasks(self, request: pb.ListTasksRequest, ctx: Context) -> pb.ListTasksResponse:
        """A page of versions, the newest of each task first when so sorted."""
        del ctx
        page = Page(request.request, _COLUMNS, max_page=self._office.settings.limits.max_page)
        conditions: list[ColumnElement[bool]] = []
        if request.WhichOneof("scope_by") == "project_id":
            conditions.append(Task.project == request.project_id.name)
            conditions += [Task.domain == request.project_id.domain] if request.project_id.domain else []

        def look(session: Session) -> pb.ListTasksResponse:
            # One row a task: its newest version, unless versions are asked for by their own filter.
            newest = select(func.max(Task.id)).where(*conditions).group_by(Task.project, Task.domain, Task.name)
            scope = [*conditions, Task.id.in_(newest)] if _latest_only(request) else conditions
            rows = session.scalars(page.apply(select(Task).where(*scope), Task.id)).all()
            response = pb.ListTasksResponse(token=page.token(len(rows)))
            for task in rows[: page.limit]:
                spec = runs.get_spec(session, task.spec_digest)
                response.tasks.add(task_id=_id(task), metadata=_metadata(task, spec), task_summary=td.TaskSummary())
            response.metadata.total = session.scalar(select(func.count()).select_from(Task).where(*scope)) or 0
            counted = page.filtered(select(func.count()).select_from(Task).where(*scope))
            response.metadata.filtered_total = session.scalar(counted) or 0
            return response

        return await self._office.database.read(look)

    async def list_versions(self, request: pb.ListVersionsRequest, ctx: Context) -> pb.ListVersionsResponse:
        """A page of one task's versions."""
        del ctx
        need(request, "task_name")
        page = Page(request.request, _COLUMNS, max_page=self._office.settings.limits.max_page)
        name = request.task_name

        def look(session: Session) -> pb.ListVersionsResponse:
            query = select(Task).where(Task.project == name.project, Task.domain == name.domain, Task.name == name.name)
            rows = session.scalars(page.apply(query, Task.id)).all()
            response = pb.ListVersionsResponse(token=page.token(len(rows)))
            for task in rows[: page.limit]:
                response.versions.add(version=task.version, deployed_at=stamp(task.deployed_at))
            return response

        return await self._office.database.read(look)


def _latest_only(request: pb.ListTasksRequest) -> bool:
    return not any(each.field in {"name", "version"} for each in request.request.filters)


def _need_identifier(identifier: td.TaskIdentifier) -> None:
    for part in ("project", "domain", "name", "version"):
        if not getattr(identifier, part):
            raise InvalidRequest(f"task_id.{part} is required")
    task_checks.check_identifier(identifier, "task_id")


def _id(task: Task) -> td.TaskIdentifier:
    return td.TaskIdentifier(project=task.project, domain=task.domain, name=task.name, version=task.version)


def _metadata(task: Task, spec: td.TaskSpec) -> td.TaskMetadata:
    metadata = td.TaskMetadata(
        short_name=spec.short_name,
        deployed_at=stamp(task.deployed_at),
        environment_name=spec.environment.name,
        short_description=spec.documentation.short_description,
    )
    if task.deployed_by:
        metadata.deployed_by.CopyFrom(identity(task.deployed_by))
    return metadata
