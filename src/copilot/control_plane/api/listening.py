"""An ASGI application behind a listening socket, as long as somebody wants it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

    from copilot.control_plane.api.http import App

BACKLOG: Final = 1024
_GOODBYE_S: Final = 5
_LOOK_S: Final = 0.005


@contextlib.asynccontextmanager
async def answering(
    app: App, listening: socket.socket, *, log_level: str, let_go: Callable[[], None] = lambda: None
) -> AsyncIterator[None]:
    """Answers inside its ``async with``; at the end requests get a few seconds to finish.

    Args:
        app: the application.
        listening: its socket; closed at the end.
        log_level: uvicorn's.
        let_go: called before the end is waited for: streams that would go on for ever should end.
    """
    import uvicorn  # noqa: PLC0415 - 60 ms that only a listening server needs

    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=log_level,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_GOODBYE_S,
        h11_max_incomplete_event_size=64 * 1024,
        backlog=BACKLOG,
    )
    server = uvicorn.Server(config)
    # Signals are handled by who started the server; two handlers would fight.
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment]
    task = asyncio.create_task(server.serve(sockets=[listening]), name="uvicorn")
    try:
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn tells nobody else
            await asyncio.sleep(_LOOK_S)
        if task.done():
            await task
        yield
    finally:
        let_go()
        server.should_exit = True
        with contextlib.suppress(Exception):
            await task
