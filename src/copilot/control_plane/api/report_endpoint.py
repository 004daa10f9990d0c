"""``POST /copilot/v1/report``: init and sidecar say what they have just done, so that nobody has to poll for it.

The report is a hint: it makes the server look at the pod and the store at once, and truth is read there. Its token is good
for its own attempt and ends with it. The body is a JSON object; ``step`` (a word) and ``message`` (a sentence) become an
event of the run.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from copilot.control_plane.api.http import Receive, Scope, Send, answer, header, small_body
from copilot.control_plane.errors import ControlPlaneError, InvalidRequest, NotAuthenticated
from copilot.control_plane.hub import hint_topic
from copilot.control_plane.lifecycle import moves
from copilot.control_plane.tokens import find_attempt_token

if TYPE_CHECKING:
    from copilot.control_plane.db.database import Unit
    from copilot.control_plane.office import Office

PATH: Final = "/copilot/v1/report"
_MOST_BYTES: Final = 64 * 1024
_MOST_STEP: Final = 63


class ReportEndpoint:
    """An ASGI application.

    Args:
        office: database and clock.
    """

    def __init__(self, office: Office) -> None:
        self._office = office

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One report."""
        try:
            step, message = _read(scope["method"], await small_body(receive, _MOST_BYTES))
            token = header(scope, "authorization").partition(" ")[2].strip()
            await self._take(token, step, message)
        except NotAuthenticated as error:
            await answer(send, HTTPStatus.UNAUTHORIZED, error.sentence().encode())
        except InvalidRequest as error:
            await answer(send, HTTPStatus.BAD_REQUEST, error.sentence().encode())
        except ControlPlaneError as error:
            await answer(send, HTTPStatus.SERVICE_UNAVAILABLE, error.sentence().encode())
        else:
            await answer(send, HTTPStatus.NO_CONTENT)

    async def _take(self, token: str, step: str, message: str) -> None:
        now = self._office.clock.now_s()

        def take(unit: Unit) -> None:
            found = find_attempt_token(unit.session, token) if token else None
            if found is None:
                raise NotAuthenticated(
                    "the token is good for no running attempt", hint="A report's token ends with its attempt."
                )
            attempt, action, _ = found
            if step:
                moves.note(unit, action, attempt.number, message or step, at=now, reason=step)
            unit.touch(hint_topic(attempt.id))

        await self._office.database.write(take)


def _read(method: str, data: bytes) -> tuple[str, str]:
    if method != "POST":
        raise InvalidRequest("reports are sent with POST")
    if not data.strip():
        return "", ""
    try:
        value = json.loads(data)
    except ValueError as cause:
        raise InvalidRequest("the report is no JSON") from cause
    if not isinstance(value, dict):
        raise InvalidRequest("the report is no JSON object")
    step, message = value.get("step", ""), value.get("message", "")
    if not isinstance(step, str) or not isinstance(message, str) or len(step) > _MOST_STEP:
        raise InvalidRequest("step is a word and message a sentence")
    return step, message
