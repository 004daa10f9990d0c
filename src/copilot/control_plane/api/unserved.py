"""Flyte's services that are not here: each call is answered ``UNIMPLEMENTED`` in the protocol it was made in."""

from __future__ import annotations

import json
import struct
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from copilot.control_plane.api.http import Receive, Scope, Send, answer, header

_END_STREAM: Final = 2
_TRAILERS: Final = 0x80
_GRPC_UNIMPLEMENTED: Final = 12


async def unserved(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application."""
    del receive
    method = scope["path"].lstrip("/")
    message = f"{method[:200]} is not served here"
    kind = header(scope, "content-type")
    if kind.startswith("application/grpc-web"):
        trailers = f"grpc-status: {_GRPC_UNIMPLEMENTED}\r\ngrpc-message: {quote(message)}\r\n".encode()
        await answer(send, HTTPStatus.OK, struct.pack(">BI", _TRAILERS, len(trailers)) + trailers, kind=kind)
        return
    error = {"code": "unimplemented", "message": message}
    if kind.startswith("application/connect+"):
        end = json.dumps({"error": error}).encode()
        await answer(send, HTTPStatus.OK, struct.pack(">BI", _END_STREAM, len(end)) + end, kind=kind)
        return
    await answer(send, HTTPStatus.NOT_IMPLEMENTED, json.dumps(error).encode(), kind="application/json")
