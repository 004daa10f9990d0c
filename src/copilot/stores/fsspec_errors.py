"""What s3fs, gcsfs and adlfs raise → ours, by the status and the code that their SDKs' exceptions carry as data."""

from __future__ import annotations

from typing import Any

from copilot.core.errors import AccessDenied, BadCredentials, BadStoreRequest, Stalled, StoreError, Truncated, Unreachable
from copilot.stores.obstore_errors import Subject, of_status

# Classes by name: the SDKs they come from are extras, and one is seldom there with the others.
_UNREACHABLE = frozenset(
    {
        "EndpointConnectionError",
        "ServiceRequestError",
        "ClientConnectorError",
        "ClientConnectorDNSError",
        "ConnectTimeoutError",
        "ServerDisconnectedError",
        "ConnectionClosedError",
        "ClientOSError",
    }
)
_STALLED = frozenset(
    {"ReadTimeoutError", "ServiceResponseTimeoutError", "ServerTimeoutError", "TimeoutError", "FSTimeoutError"}
)
_TRUNCATED = frozenset({"IncompleteReadError", "ClientPayloadError", "ResponseStreamingError", "IncompleteRead"})
_NOBODY = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "ClientAuthenticationError", "DefaultCredentialsError", "RefreshError"}
)


def classified(error: BaseException, op: str, name: str, where: str) -> StoreError:
    """The error of ours for one of a file system of fsspec."""
    subject = Subject(name, where, "")
    for cause in _chain(error):
        status, code = _status(cause), _code(cause)
        if status is not None:
            return of_status(status, code, op, subject)
        names = {kind.__name__ for kind in type(cause).__mro__}
        if names & _NOBODY:
            return BadCredentials(f"There are no credentials for {where}", op=op, subject=name, hint="Configure an identity.")
        if names & _TRUNCATED:
            return Truncated(f"The connection broke while {name} was moving", op=op, subject=name)
        if names & _STALLED:
            return Stalled(f"The store sent nothing for too long for {name}", op=op, subject=name)
        if names & _UNREACHABLE or isinstance(cause, ConnectionError):
            return Unreachable(
                f"The store cannot be reached for {name}", op=op, subject=name, hint="Check the endpoint and the network."
            )
    if isinstance(error, PermissionError):
        return AccessDenied(
            f"The store does not allow us to {op} {name}", op=op, subject=name, hint="Check the identity's rights."
        )
    return BadStoreRequest(f"{name} failed ({type(error).__name__})", op=op, subject=name)


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    # The SDK's own exception, which knows the status, lies below the file system's.
    return found[::-1] if any(_status(each) is not None for each in found[1:]) else found


def _status(error: BaseException) -> int | None:
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:  # azure, gcsfs, aiohttp
        status = getattr(error, "status_code", None) or getattr(error, "code", None) or getattr(error, "status", None)
    return status if isinstance(status, int) and status >= 300 else None  # noqa: PLR2004 - what HTTP calls no success


def _code(error: BaseException) -> str:
    response: Any = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else getattr(error, "error_code", "")
    return str(getattr(code, "value", code) or "")
