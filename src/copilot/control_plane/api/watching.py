"""Streams that say how something is now, and again whenever that changes, without asking the database meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

from copilot.control_plane.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from copilot.control_plane.db.database import Database
    from copilot.control_plane.hub import Subscription

T = TypeVar("T")

CLIENT_GONE: ContextVar[asyncio.Event | None] = ContextVar("client_gone", default=None)
"""Set by the server's outermost layer when the client of this request has gone."""

_AGAIN_S = 0.25
_MOST_AGAIN_S = 5.0


async def changes(database: Database, topic: str, look: Callable[[Session], T]) -> AsyncIterator[T]:
    """What ``look`` sees: now, and after every commit that touches ``topic``, if it is something else. Ends with the client.

    A database that does not answer meanwhile is waited for: the stream stays open, and its next message is true.
    """
    with database.hub.subscribe(topic) as subscription:
        last: T | None = None
        while True:
            seen = await _patiently(database, look)
            if seen != last:
                last = seen
                yield seen
            if await client_left(subscription):
                return


async def client_left(subscription: Subscription) -> bool:
    """Waits for a change; True when the client went first."""
    gone = CLIENT_GONE.get()
    if gone is None:
        await subscription.wait()
        return False
    change, leave = asyncio.ensure_future(subscription.wait()), asyncio.ensure_future(gone.wait())
    try:
        await asyncio.wait({change, leave}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        change.cancel()
        leave.cancel()
    return gone.is_set()


async def _patiently(database: Database, look: Callable[[Session], T]) -> T:
    wait_s = _AGAIN_S
    while True:
        try:
            return await database.read(look)
        except DatabaseUnavailable:
            gone = CLIENT_GONE.get()
            if gone is not None and gone.is_set():
                raise
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _MOST_AGAIN_S)
