"""Who is asking, and which projects a request is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from copilot.control_plane.errors import NotAllowed

if TYPE_CHECKING:
    from google.protobuf.message import Message

_SCOPED: Final = {
    "flyteidl2.common.ProjectIdentifier": "name",
    "flyteidl2.common.RunIdentifier": "project",
    "flyteidl2.common.TriggerName": "project",
    "flyteidl2.task.TaskIdentifier": "project",
    "flyteidl2.task.TaskName": "project",
    "flyteidl2.secret.SecretIdentifier": "project",
    "flyteidl2.secret.ListSecretsRequest": "project",
    "flyteidl2.dataproxy.CreateUploadLocationRequest": "project",
    "flyteidl2.project.Project": "id",
    "flyteidl2.project.GetProjectRequest": "id",
    "flyteidl2.app.Identifier": "project",
}
# The rest of a request is data: a task may be copied from another project.
_DATA: Final = frozenset(
    {"flyteidl2.task.TaskSpec", "flyteidl2.task.RunSpec", "flyteidl2.task.Inputs", "flyteidl2.core.TaskTemplate"}
)
_OPEN_TO_ALL: Final = frozenset(
    {
        "flyteidl2.cluster.SelectClusterRequest",
        "flyteidl2.auth.UserInfoRequest",
        "flyteidl2.auth.GetOAuth2MetadataRequest",
        "flyteidl2.auth.GetPublicClientConfigRequest",
        "flyteidl2.project.ListProjectsRequest",
    }
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        name: for people and for the record; empty where nobody needs to say who they are.
        project: the only project this caller may see and touch; empty: all.
        known: the name was proven.
        domain, run: the only run of the project whose tasks this caller may see and call; empty: all. So it is with the
            token of an attempt, which may besides read the project's tasks.
    """

    name: str = ""
    project: str = ""
    known: bool = False
    domain: str = ""
    run: str = ""


CALLER: ContextVar[Caller] = ContextVar("caller", default=Caller())  # noqa: B039 - frozen


def check_scope(caller: Caller, request: Message) -> None:
    """Raises ``NotAllowed`` unless everything the request is about lies in the caller's project."""
    if not caller.project or request.DESCRIPTOR.full_name in _OPEN_TO_ALL:
        return
    if caller.run:
        _check_run(caller, request)
        return
    asked = list(projects_of(request))
    if not asked or any(project != caller.project for project in asked):
        raise NotAllowed(
            f"the token {caller.name!r} is good for project {caller.project!r} only",
            hint="Use a token of the other project, or one for all of them.",
        )


#: What a task asks of its own run, and what it reads of its project. Everything else is none of its business.
_OF_A_RUN: Final = frozenset(
    {
        "flyteidl2.actions.EnqueueRequest",
        "flyteidl2.actions.WatchForUpdatesRequest",
        "flyteidl2.actions.AbortRequest",
        "flyteidl2.actions.SignalRequest",
        "flyteidl2.workflow.AbortActionRequest",
        "flyteidl2.workflow.GetRunDetailsRequest",
        "flyteidl2.workflow.GetActionDetailsRequest",
        "flyteidl2.workflow.WatchActionDetailsRequest",
        "flyteidl2.workflow.ListActionsRequest",
        "flyteidl2.workflow.SignalEventRequest",
        "flyteidl2.dataproxy.GetActionDataRequest",
        "flyteidl2.dataproxy.TailLogsRequest",
    }
)
_OF_ITS_PROJECT: Final = frozenset({"flyteidl2.task.GetTaskDetailsRequest", "flyteidl2.task.ListTasksRequest"})
_RUN: Final = "flyteidl2.common.RunIdentifier"


def _check_run(caller: Caller, request: Message) -> None:
    """Raises ``NotAllowed`` unless the request is about the caller's own run, or reads a task of its project."""
    name = request.DESCRIPTOR.full_name
    own = (caller.project, caller.domain, caller.run)
    runs = [(each.project, each.domain, each.name) for each in _inside(request, _RUN)]
    asked = list(projects_of(request))
    if asked and all(project == caller.project for project in asked):
        if name in _OF_A_RUN and runs and all(run == own for run in runs):
            return
        if name in _OF_ITS_PROJECT:
            return
    raise NotAllowed(
        f"the token of {caller.name} is good for what its own run calls, and for nothing else",
        hint="Use a token of copilot tokens --create.",
    )


def _inside(message: Message, kind: str) -> Iterator[Any]:
    if message.DESCRIPTOR.full_name == kind:
        yield message
    for each in _parts(message):
        yield from _inside(each, kind)


def projects_of(message: Message) -> Iterator[str]:
    """Every project named in the identifiers of a request."""
    name = message.DESCRIPTOR.full_name
    if name in _SCOPED:
        yield getattr(message, _SCOPED[name])
    for each in _parts(message):
        yield from projects_of(each)


def _parts(message: Message) -> Iterator[Message]:
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry or field.message_type.full_name in _DATA:
            continue
        yield from value if field.is_repeated else (value,)
