"""``flyteidl2.secret.SecretService``: values go in and never come out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from flyteidl2.secret import definition_pb2 as sd
from flyteidl2.secret import payload_pb2 as pb

from copilot.control_plane import runs
from copilot.control_plane.api.lists import offset_of
from copilot.control_plane.api.messages import stamp
from copilot.control_plane.api.required import need, need_domain
from copilot.control_plane.errors import InvalidRequest, TooLarge

if TYPE_CHECKING:
    from connectrpc.request import RequestContext

    from copilot.control_plane.office import Office
    from copilot.control_plane.secret_store import KeptSecret, Place

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
        if secret[0]:
            await self._office.database.read(lambda session: runs.require_project(session, secret[0]))
        await self._office.secrets.put(secret, value, kind=spec.type, replace=replace)

    async def get_secret(self, request: pb.GetSecretRequest, ctx: Context) -> pb.GetSecretResponse:
        """That a secret is there, and since when."""
        del ctx
        return pb.GetSecretResponse(secret=_message(await self._office.secrets.find(self._place(request.id))))

    async def delete_secret(self, request: pb.DeleteSecretRequest, ctx: Context) -> pb.DeleteSecretResponse:
        """Forgets a secret."""
        del ctx
        await self._office.secrets.delete(self._place(request.id))
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
        found = await self._office.secrets.list(request.project, request.domain, offset=offset, limit=limit + 1)
        token = str(offset + limit) if len(found) > limit else ""
        return pb.ListSecretsResponse(secrets=[_message(each) for each in found[:limit]], token=token)

    def _place(self, identifier: sd.SecretIdentifier) -> Place:
        need(identifier, "name")
        if not _NAME.fullmatch(identifier.name):
            raise InvalidRequest(f"invalid secret name {identifier.name[:80]!r}: letters, digits, '-' and '_' only")
        if identifier.project and not identifier.domain:
            raise InvalidRequest("a project needs its domain")
        if identifier.domain:
            need_domain(identifier.domain, self._office.settings)
        return identifier.project, identifier.domain, identifier.name


def _message(kept: KeptSecret) -> sd.Secret:
    project, domain, name = kept.place
    status = sd.SecretStatus(overall_status=sd.FULLY_PRESENT)
    metadata = sd.SecretMetadata(secret_status=status, type=kept.kind)
    if kept.created_at_s is not None:
        metadata.created_time.CopyFrom(stamp(kept.created_at_s))
    return sd.Secret(id=sd.SecretIdentifier(name=name, domain=domain, project=project), secret_metadata=metadata)
