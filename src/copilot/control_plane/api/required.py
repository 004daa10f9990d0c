"""Fields that a request must have. An empty message is a client's mistake and is told so; it never reaches the logic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot.control_plane.errors import InvalidRequest, NoSuchResource

if TYPE_CHECKING:
    from flyteidl2.common.identifier_pb2 import ActionIdentifier, RunIdentifier
    from google.protobuf.message import Message

    from copilot.control_plane.settings import ServerSettings


def need(message: Message, *fields: str) -> None:
    """Raises ``InvalidRequest`` for the first of ``fields`` (scalars or messages) that is not set."""
    for field in fields:
        descriptor = message.DESCRIPTOR.fields_by_name[field]
        there = message.HasField(field) if descriptor.has_presence else bool(getattr(message, field))
        if not there:
            raise InvalidRequest(f"{field} is required")


def need_run(identifier: RunIdentifier, field: str = "run_id") -> None:
    """Raises ``InvalidRequest`` for an identifier that cannot name a run."""
    for part in ("project", "domain", "name"):
        if not getattr(identifier, part):
            raise InvalidRequest(f"{field}.{part} is required")


def need_action(identifier: ActionIdentifier, field: str = "action_id") -> None:
    """Raises ``InvalidRequest`` for an identifier that cannot name an action."""
    need_run(identifier.run, f"{field}.run")
    if not identifier.name:
        raise InvalidRequest(f"{field}.name is required")


def need_domain(domain: str, settings: ServerSettings) -> None:
    """Raises ``NoSuchResource`` for a domain that no project has."""
    if not domain:
        raise InvalidRequest("a domain is required")
    if domain not in settings.domains:
        raise NoSuchResource(f"domain {domain!r} not found", hint=f"One of {', '.join(settings.domains)}.")
