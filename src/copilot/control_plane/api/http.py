"""The little of HTTP that is not an RPC: requests and answers of the ASGI interface."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any

from copilot.control_plane.errors import InvalidRequest

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def header(scope: Scope, name: str) -> str:
    """A request header, or empty."""
    wanted = name.lower().encode()
    return next((value.decode("latin-1") for key, value in scope.get("headers", ()) if key.lower() == wanted), "")


async def body(receive: Receive) -> AsyncIterator[bytes]:
    """The request's body as it comes. Raises ``InvalidRequest`` when the client goes in the middle of it."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("the client went away before its request was whole")
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body", False):
            return


async def small_body(receive: Receive, most: int) -> bytes:
    """The whole body. Raises ``InvalidRequest`` for more than ``most`` bytes."""
    data = bytearray()
    async for chunk in body(receive):
        data += chunk
        if len(data) > most:
            raise InvalidRequest(f"the request is larger than {most} bytes")
    return bytes(data)


async def answer(
    send: Send,
    status: HTTPStatus,
    data: bytes = b"",
    *,
    kind: str = "text/plain; charset=utf-8",
    headers: Mapping[str, str] | None = None,
) -> None:
    """A whole answer."""
    given = {"content-type": kind, "content-length": str(len(data)), **(headers or {})}
    await send(
        {
            "type": "http.response.start",
            "status": status.value,
            "headers": [(key.encode("latin-1"), value.encode("latin-1")) for key, value in given.items()],
        }
    )
    await send({"type": "http.response.body", "body": data})


async def answer_json(send: Send, status: HTTPStatus, value: object) -> None:
    """A whole answer in JSON."""
    await answer(send, status, json.dumps(value).encode(), kind="application/json")
