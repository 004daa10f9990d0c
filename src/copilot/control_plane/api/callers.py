"""Who is asking, and which projects a request is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

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
    """

    name: str = ""
    project: str = ""
    known: bool = False


CALLER: ContextVar[Caller] = ContextVar("caller", default=Caller())  # noqa: B039 - frozen


def check_scope(caller: Caller, request: Message) -> None:
    """Raises ``NotAllowed`` unless everything the request is about lies in the caller's project."""
    if not caller.project or request.DESCRIPTOR.full_name in _OPEN_TO_ALL:
        return
    asked = list(projects_of(request))
    if not asked or any(project != caller.project for project in asked):
        raise NotAllowed(
            f"the token {caller.name!r} is good for project {caller.project!r} only",
            hint="Use a token of the other project, or one for all of them.",
        )


def projects_of(message: Message) -> Iterator[str]:
    """Every project named in the identifiers of a request."""
    name = message.DESCRIPTOR.full_name
    if name in _SCOPED:
        yield getattr(message, _SCOPED[name])
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry or field.message_type.full_name in _DATA:
            continue
        for inner in value if field.is_repeated else (value,):
            yield from projects_of(inner)
