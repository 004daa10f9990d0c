"""``flyteidl2.project.ProjectService``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from flyteidl2.project import project_service_pb2 as pb
from sqlalchemy import select

from copilot.control_plane import layout
from copilot.control_plane.api.callers import CALLER
from copilot.control_plane.api.lists import offset_of
from copilot.control_plane.api.required import need
from copilot.control_plane.db.models import Project
from copilot.control_plane.errors import InvalidRequest, NoSuchResource, ResourceExists

if TYPE_CHECKING:
    from connectrpc.request import RequestContext
    from sqlalchemy.orm import Session

    from copilot.control_plane.db.database import Unit
    from copilot.control_plane.office import Office

    Context = RequestContext[Any, Any]

_SORTED: Final = {
    "created_at": Project.created_at,
    "id": Project.id,
    "identifier": Project.id,
    "name": Project.name,
    "state": Project.state,
}
_FILTERED: Final = {"state": Project.state, "id": Project.id, "identifier": Project.id, "name": Project.name}
_FILTER: Final = re.compile(r"\s*(eq|ne)\(\s*(\w+)\s*,\s*([^(),]*?)\s*\)\s*")
_MAX_NAME: Final = 256
_MAX_DESCRIPTION: Final = 4096


class ProjectService:
    """See the module."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def create_project(self, request: pb.CreateProjectRequest, ctx: Context) -> pb.CreateProjectResponse:
        """A new project."""
        del ctx
        asked = self._checked(request.project)
        layout.check_project_id(asked.id)
        now = self._office.clock.now_s()

        def create(unit: Unit) -> None:
            if unit.session.get(Project, asked.id) is not None:
                raise ResourceExists(f"project already exists: {asked.id}")
            project = Project(id=asked.id, created_at=now)
            _fill(project, asked)
            unit.session.add(project)

        await self._office.database.write(create)
        return pb.CreateProjectResponse()

    async def update_project(self, request: pb.UpdateProjectRequest, ctx: Context) -> pb.UpdateProjectResponse:
        """A project's name, description, labels and state anew."""
        del ctx
        asked = self._checked(request.project)

        def update(unit: Unit) -> None:
            project = unit.session.get(Project, asked.id, with_for_update=True)
            if project is None:
                raise NoSuchResource(f"project not found: {asked.id}")
            _fill(project, asked)

        await self._office.database.write(update)
        return pb.UpdateProjectResponse()

    async def get_project(self, request: pb.GetProjectRequest, ctx: Context) -> pb.GetProjectResponse:
        """One project."""
        del ctx
        need(request, "id")
        project = await self._office.database.read(lambda session: session.get(Project, request.id))
        if project is None:
            raise NoSuchResource(f"project not found: {request.id}")
        return pb.GetProjectResponse(project=self._message(project))

    async def list_projects(self, request: pb.ListProjectsRequest, ctx: Context) -> pb.ListProjectsResponse:
        """A page of projects. The filter is a text here: ``eq(state, 0)``, several joined by ``+``."""
        del ctx
        most = self._office.settings.limits.max_page
        if request.limit > most:
            raise InvalidRequest(f"invalid limit: {request.limit} (exceeds maximum of {most})")
        limit, offset = request.limit or most, offset_of(request.token)
        query = select(Project)
        for part in request.filters.split("+") if request.filters.strip() else ():
            query = query.where(_condition(part))
        if CALLER.get().project:
            query = query.where(Project.id == CALLER.get().project)
        key = request.sort_by.key or "created_at"
        if key not in _SORTED:
            raise InvalidRequest(f"invalid sort field: {key}", hint=f"One of {', '.join(_SORTED)}.")
        descending = bool(request.sort_by.key) and request.sort_by.direction == request.sort_by.DESCENDING
        column = _SORTED[key]
        query = query.order_by(column.desc() if descending else column.asc(), Project.id).offset(offset).limit(limit + 1)

        def look(session: Session) -> list[Project]:
            return list(session.scalars(query))

        rows = await self._office.database.read(look)
        token = str(offset + limit) if len(rows) > limit else ""
        page = pb.Projects(projects=[self._message(project) for project in rows[:limit]], token=token)
        return pb.ListProjectsResponse(projects=page)

    def _checked(self, asked: pb.Project) -> pb.Project:
        if not asked.id:
            raise InvalidRequest("project.id is required")
        if len(asked.name) > _MAX_NAME or len(asked.description) > _MAX_DESCRIPTION:
            raise InvalidRequest(f"a project's name has at most {_MAX_NAME} characters, its description {_MAX_DESCRIPTION}")
        most = self._office.settings.limits.max_labels
        if len(asked.labels.values) > most:
            raise InvalidRequest(f"the project has {len(asked.labels.values)} labels: at most {most} are taken")
        return asked

    def _message(self, project: Project) -> pb.Project:
        message = pb.Project(id=project.id, name=project.name, description=project.description, state=project.state)
        message.domains.extend(pb.Domain(id=domain, name=domain.capitalize()) for domain in self._office.settings.domains)
        message.labels.values.update(project.labels)
        return message


def _fill(project: Project, asked: pb.Project) -> None:
    project.name, project.description = asked.name or asked.id, asked.description
    project.labels, project.state = dict(asked.labels.values), asked.state


def _condition(text: str) -> Any:  # noqa: ANN401 - SQLAlchemy's own
    match = _FILTER.fullmatch(text)
    if match is None or match[2] not in _FILTERED:
        raise InvalidRequest(f"the filter {text[:60]!r} cannot be read", hint="For example: eq(state, 0).")
    column = _FILTERED[match[2]]
    value: object = match[3]
    if match[2] == "state":
        if not match[3].isdigit():
            raise InvalidRequest(f"the filter {text[:60]!r} needs a number", hint="For example: eq(state, 0).")
        value = int(match[3])
    return column == value if match[1] == "eq" else column != value
