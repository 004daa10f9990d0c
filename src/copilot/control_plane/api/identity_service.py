"""``flyteidl2.auth.IdentityService`` and ``AuthMetadataService``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flyteidl2.auth import auth_service_pb2, identity_pb2

from copilot.control_plane.api.callers import CALLER
from copilot.control_plane.errors import NotAuthenticated, NotServed

if TYPE_CHECKING:
    from connectrpc.request import RequestContext

    Context = RequestContext[Any, Any]


class IdentityService:
    """Who the caller is, as far as that was proven: no header but a good token makes an identity."""

    async def user_info(self, request: identity_pb2.UserInfoRequest, ctx: Context) -> identity_pb2.UserInfoResponse:
        """The token's owner."""
        del request, ctx
        caller = CALLER.get()
        if not caller.known:
            raise NotAuthenticated("no authenticated identity on request")
        return identity_pb2.UserInfoResponse(subject=caller.name, name=caller.name, preferred_username=caller.name)


class AuthMetadataService:
    """How clients authenticate: with a bearer token in the standard header. There is no OAuth server here."""

    async def get_o_auth2_metadata(
        self, request: auth_service_pb2.GetOAuth2MetadataRequest, ctx: Context
    ) -> auth_service_pb2.GetOAuth2MetadataResponse:
        """Not here."""
        del request, ctx
        raise NotServed(
            "OAuth2 metadata is not configured", hint="Use a bearer token: auth type Passthrough or ExternalCommand."
        )

    async def get_public_client_config(
        self, request: auth_service_pb2.GetPublicClientConfigRequest, ctx: Context
    ) -> auth_service_pb2.GetPublicClientConfigResponse:
        """The header's name."""
        del request, ctx
        return auth_service_pb2.GetPublicClientConfigResponse(authorization_metadata_key="authorization")
