"""``flyteidl2.secret.SecretService``: values go in and never come out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from flyteidl2.secret import definition_pb2 as sd
from flyteidl2.secret import payload_pb2 as pb
from sqlalchemy import select

from copilot.control_plane import runs
from copilot.control_plane.api.lists import offset_of
from copilot.control_plane.api.messages import stamp
from copilot.control_plane.api.required import need, need_domain
from copilot.control_plane.db.models import Secret
from copilot.control_plane.errors import InvalidRequest, NoSuchResource, TooLarge
from copilot.control_plane.vault import find

if TYPE_CHECKING:
    from connectrpc.request import RequestContext
    from sqlalchemy.orm import Session

    from copilot.control_plane.db.database import Unit
    from copilot.control_plane.office import Office

    Context = RequestContext[Any, Any]

_NAME: Final = re.compile(r"[-a-zA-Z0-9_]{1,253}")
MAX_SECRET_BYTES: Final = 1024 * 1024
_DEFAULT_LIMIT: Final = 10


class SecretService:
    """See the module."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def create_secret(self, request: pb.CreateSecretRequest, ctx: Context) -> pb.CreateSecretResponse:
        """A new secret."""
        del ctx
        await self._put(request.id, request.secret_spec, replace=False)
        return pb.CreateSecretResponse()

    async def update_secret(self, request: pb.UpdateSecretRequest, ctx: Context) -> pb.UpdateSecretResponse:
        """Another value for a secret that is there."""
        del ctx
        await self._put(request.id, request.secret_spec, replace=True)
        return pb.UpdateSecretResponse()

    async def _put(self, identifier: sd.SecretIdentifier, spec: sd.SecretSpec, *, replace: bool) -> None:
        secret = self._place(identifier)
        kind = spec.WhichOneof("value")
        if kind is None:
            raise InvalidRequest("secret_spec.value is required: a string_value or a binary_value")
        value = spec.string_value.encode() if kind == "string_value" else spec.binary_value
        if len(value) > MAX_SECRET_BYTES:
            raise TooLarge(f"the secret has {len(value)} bytes: at most {MAX_SECRET_BYTES} are taken")
        now = self._office.clock.now_s()

        def put(unit: Unit) -> None:
            if secret[0]:
                runs.require_project(unit.session, secret[0])
            self._office.vault.put(unit, secret, value, kind=spec.type, now=now, replace=replace)

        await self._office.database.write(put)

    async def get_secret(self, request: pb.GetSecretRequest, ctx: Context) -> pb.GetSecretResponse:
        """That a secret is there, and since when."""
        del ctx
        secret = self._place(request.id)
        row = await self._office.database.read(lambda session: find(session, secret))
        if row is None:
            raise NoSuchResource(f"secret {request.id.name} not found")
        return pb.GetSecretResponse(secret=_message(row))

    async def delete_secret(self, request: pb.DeleteSecretRequest, ctx: Context) -> pb.DeleteSecretResponse:
        """Forgets a secret."""
        del ctx
        secret = self._place(request.id)

        def delete(unit: Unit) -> None:
            row = find(unit.session, secret)
            if row is None:
                raise NoSuchResource(f"secret {request.id.name} not found")
            unit.session.delete(row)

        await self._office.database.write(delete)
        return pb.DeleteSecretResponse()

    async def list_secrets(self, request: pb.ListSecretsRequest, ctx: Context) -> pb.ListSecretsResponse:
        """A page of secrets of a project, a domain or everywhere; without either, all of them."""
        del ctx
        if request.project and not request.domain:
            raise InvalidRequest("a project needs its domain")
        most = self._office.settings.limits.max_page
        if not 0 <= request.limit <= most:
            raise InvalidRequest(f"invalid limit: {request.limit} (between 0 and {most})")
        limit, offset = request.limit or _DEFAULT_LIMIT, offset_of(request.token)
        query = select(Secret).order_by(Secret.name, Secret.id).offset(offset).limit(limit + 1)
        query = query.where(Secret.project == request.project) if request.project else query
        query = query.where(Secret.domain == request.domain) if request.domain else query

        def look(session: Session) -> list[Secret]:
            return list(session.scalars(query))

        rows = await self._office.database.read(look)
        token = str(offset + limit) if len(rows) > limit else ""
        return pb.ListSecretsResponse(secrets=[_message(row) for row in rows[:limit]], token=token)

    def _place(self, identifier: sd.SecretIdentifier) -> tuple[str, str, str]:
        need(identifier, "name")
        if not _NAME.fullmatch(identifier.name):
            raise InvalidRequest(f"invalid secret name {identifier.name[:80]!r}: letters, digits, '-' and '_' only")
        if identifier.project and not identifier.domain:
            raise InvalidRequest("a project needs its domain")
        if identifier.domain:
            need_domain(identifier.domain, self._office.settings)
        return identifier.project, identifier.domain, identifier.name


def _message(row: Secret) -> sd.Secret:
    identifier = sd.SecretIdentifier(name=row.name, domain=row.domain, project=row.project)
    status = sd.SecretStatus(overall_status=sd.FULLY_PRESENT)
    return sd.Secret(
        id=identifier,
        secret_metadata=sd.SecretMetadata(created_time=stamp(row.created_at), secret_status=status, type=row.type),
    )
