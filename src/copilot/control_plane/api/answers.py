"""Around every RPC: who asks, how long it may take, and how an error becomes a code and a sentence."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from google.protobuf.message import DecodeError

from copilot.control_plane import errors as ours
from copilot.control_plane.api.callers import CALLER, Caller, check_scope
from copilot.core.errors import (
    AccessDenied,
    AlreadyExists,
    BadCredentials,
    CopilotError,
    DeadlineExceeded,
    Kind,
    ObjectNotFound,
    PodNotFound,
    SecretDenied,
    SecretExists,
    SecretExpiredToken,
    SecretNoIdentity,
    SecretNotFound,
    SecretRefused,
    SecretThrottled,
    VaultSealed,
)

if TYPE_CHECKING:
    from connectrpc.request import RequestContext

    from copilot.core.ports import Log

Q = TypeVar("Q")
A = TypeVar("A")
Authenticate = Callable[[str], Awaitable[Caller]]

CODES: Final[dict[type[CopilotError], Code]] = {
    ours.InvalidRequest: Code.INVALID_ARGUMENT,
    ours.NoSuchResource: Code.NOT_FOUND,
    ours.ResourceExists: Code.ALREADY_EXISTS,
    ours.NotAuthenticated: Code.UNAUTHENTICATED,
    ours.NotAllowed: Code.PERMISSION_DENIED,
    ours.TooLarge: Code.RESOURCE_EXHAUSTED,
    ours.Conflict: Code.FAILED_PRECONDITION,
    ours.NotServed: Code.UNIMPLEMENTED,
    ours.IllegalTransition: Code.INTERNAL,
    ObjectNotFound: Code.NOT_FOUND,
    PodNotFound: Code.NOT_FOUND,
    AlreadyExists: Code.ALREADY_EXISTS,
    # The store refuses us, not the one who asks; and asking again does not help.
    AccessDenied: Code.FAILED_PRECONDITION,
    BadCredentials: Code.FAILED_PRECONDITION,
    SecretExists: Code.ALREADY_EXISTS,
    SecretNotFound: Code.NOT_FOUND,
    SecretDenied: Code.PERMISSION_DENIED,
    SecretThrottled: Code.RESOURCE_EXHAUSTED,
    # As with the store: the manager refuses us.
    SecretNoIdentity: Code.FAILED_PRECONDITION,
    SecretExpiredToken: Code.FAILED_PRECONDITION,
    SecretRefused: Code.FAILED_PRECONDITION,
    VaultSealed: Code.FAILED_PRECONDITION,
    DeadlineExceeded: Code.UNAVAILABLE,
}


def code_of(error: CopilotError) -> Code:
    """The Connect code that clients get for an error."""
    for kind in type(error).__mro__:
        if kind in CODES:
            return CODES[kind]
    if error.transient:
        return Code.UNAVAILABLE
    return Code.INVALID_ARGUMENT if error.kind is Kind.USER else Code.INTERNAL


def answer_for(error: Exception, log: Log, method: str) -> ConnectError:
    """The error clients get. What nobody expected is logged under a number, and nothing else of it leaves the server."""
    if isinstance(error, ConnectError):
        return error
    if isinstance(error, CopilotError):
        return ConnectError(code_of(error), error.sentence())
    if isinstance(error, DecodeError):
        return ConnectError(Code.INVALID_ARGUMENT, "the message cannot be decoded")
    number = secrets.token_hex(4)
    log.event("rpc.crashed", level="error", method=method, number=number, error=repr(error))
    return ConnectError(Code.INTERNAL, f"something unexpected happened; the server's log has it under {number}")


class Around:
    """The interceptor of every service.

    Args:
        authenticate: turns an ``Authorization`` header (possibly empty) into a caller, or raises ``NotAuthenticated``.
        log: hears of what nobody expected.
    """

    def __init__(self, authenticate: Authenticate, log: Log) -> None:
        self._authenticate = authenticate
        self._log = log

    async def intercept_unary(
        self, call_next: Callable[[Q, RequestContext[Q, A]], Awaitable[A]], request: Q, ctx: RequestContext[Q, A]
    ) -> A:
        """One question, one answer."""
        try:
            await self._admit(request, ctx)
            async with asyncio.timeout(_seconds(ctx)):
                return await call_next(request, ctx)
        except TimeoutError as cause:
            raise ConnectError(Code.DEADLINE_EXCEEDED, "the time the client gave is over") from cause
        except Exception as error:
            raise answer_for(error, self._log, ctx.method().name) from error

    async def intercept_server_stream(
        self, call_next: Callable[[Q, RequestContext[Q, A]], AsyncIterator[A]], request: Q, ctx: RequestContext[Q, A]
    ) -> AsyncIterator[A]:
        """One question, many answers."""
        messages: AsyncIterator[A] | None = None
        try:
            await self._admit(request, ctx)
            messages = call_next(request, ctx)
            while True:
                async with asyncio.timeout(_seconds(ctx)):
                    try:
                        message = await anext(messages)
                    except StopAsyncIteration:
                        return
                yield message
        except TimeoutError as cause:
            raise ConnectError(Code.DEADLINE_EXCEEDED, "the time the client gave is over") from cause
        except Exception as error:
            raise answer_for(error, self._log, ctx.method().name) from error
        finally:
            close = getattr(messages, "aclose", None)
            if close is not None:
                await close()

    async def _admit(self, request: Any, ctx: RequestContext[Any, Any]) -> None:  # noqa: ANN401 - any message
        caller = await self._authenticate(ctx.request_headers().get("authorization", ""))
        CALLER.set(caller)
        check_scope(caller, request)


def _seconds(ctx: RequestContext[Any, Any]) -> float | None:
    left = ctx.timeout_ms()
    return None if left is None else max(left / 1000, 0)
