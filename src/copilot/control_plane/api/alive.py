"""Streams that say something even when there is nothing to say: clients and proxies take long silence for an end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TypeVar

T = TypeVar("T")


async def alive(messages: AsyncGenerator[T, None], every_s: float, sign: Callable[[], T]) -> AsyncIterator[T]:
    """``messages`` as they come, and a ``sign`` of life whenever there was none for ``every_s`` seconds."""
    waiting: asyncio.Task[T] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(_next(messages))
            await asyncio.wait({waiting}, timeout=every_s)
            if not waiting.done():
                yield sign()
                continue
            done, waiting = waiting, None
            try:
                message = done.result()
            except StopAsyncIteration:
                return
            yield message
    finally:
        if waiting is not None:
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                await waiting
        await messages.aclose()


async def _next(messages: AsyncGenerator[T, None]) -> T:
    return await anext(messages)
