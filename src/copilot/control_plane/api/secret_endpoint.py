"""``GET /copilot/v1/secrets/NAME``: the init container of an attempt fetches what its task declares.

So a secret that this server keeps reaches its task and is nowhere else: in no manifest and in no object of a cluster. The
token is the attempt's own, good while that goes on and for the secrets its task declares; everybody else gets nothing here,
whoever they are.
"""

from __future__ import annotations

import base64
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from copilot.control_plane import runs
from copilot.control_plane.api.http import Receive, Scope, Send, answer, header
from copilot.control_plane.errors import (
    ControlPlaneError,
    DatabaseUnavailable,
    InvalidRequest,
    NoSuchResource,
    NotAllowed,
    NotAuthenticated,
)
from copilot.control_plane.tokens import find_attempt_token
from copilot.core.errors import CopilotError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from copilot.control_plane.office import Office

PATH: Final = "/copilot/v1/secrets/"
_STATUS: Final[dict[type[CopilotError], HTTPStatus]] = {
    InvalidRequest: HTTPStatus.BAD_REQUEST,
    NotAuthenticated: HTTPStatus.UNAUTHORIZED,
    NotAllowed: HTTPStatus.FORBIDDEN,
    NoSuchResource: HTTPStatus.NOT_FOUND,
    DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


class SecretEndpoint:
    """An ASGI application.

    Args:
        office: database, and who keeps secrets.
    """

    def __init__(self, office: Office) -> None:
        self._office = office

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One secret."""
        del receive
        token = header(scope, "authorization").partition(" ")[2].strip()
        name = str(scope["path"]).removeprefix(PATH)
        try:
            if scope["method"] != "GET":
                raise InvalidRequest("secrets are read with GET")
            value = await self._value(token, name)
        except CopilotError as error:
            status = _STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
            if not isinstance(error, ControlPlaneError):
                self._office.log.event("secret.unreadable", level="error", name=name[:80], error=error.sentence())
            await answer(send, status, error.sentence().encode())
        else:
            encoded = base64.b64encode(value).decode()
            data = json.dumps({"value": encoded}).encode()
            await answer(send, HTTPStatus.OK, data, kind="application/json", headers={"cache-control": "no-store"})

    async def _value(self, token: str, name: str) -> bytes:
        def asked(session: Session) -> tuple[str, str, str]:
            found = find_attempt_token(session, token) if token else None
            if found is None:
                raise NotAuthenticated("the token is good for no running attempt", hint="It ends with its attempt.")
            _, action, run = found
            declared = runs.get_spec(session, action.spec_digest).task_template.security_context.secrets
            if name not in {secret.key for secret in declared}:
                raise NotAllowed(f"the task of {run.name}/{action.name} does not declare the secret {name[:80]!r}")
            return run.project, run.domain, f"{run.name}/{action.name}"

        project, domain, who = await self._office.database.read(asked)
        value = await self._office.secrets.value(project, domain, name)
        if value is None:
            raise NoSuchResource(f"there is no secret called {name} for {project}/{domain}")
        self._office.log.event("secret.fetched", name=name, by=who)
        return value
