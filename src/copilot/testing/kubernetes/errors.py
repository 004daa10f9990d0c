"""The API's own errors: a ``Status`` object and its HTTP code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class ApiError(Exception):
    """An answer that is no success.

    Args:
        code: the HTTP status.
        reason: the machine-readable word (``NotFound``, ``Conflict`` …).
        message: the sentence, worded as the API server words it.
        retry_after_s: sent as the header ``Retry-After``.
        details: ``status.details``.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        retry_after_s: int | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """See the class."""
        super().__init__(message)
        self.code, self.reason, self.message, self.retry_after_s = code, reason, message, retry_after_s
        self.details = dict(details or {})

    def status(self) -> dict[str, Any]:
        """The ``Status`` object."""
        details = {**self.details, **({"retryAfterSeconds": self.retry_after_s} if self.retry_after_s is not None else {})}
        shown: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if details:
            shown["details"] = details
        return shown


def not_found(plural: str, name: str) -> ApiError:
    """404."""
    return ApiError(404, "NotFound", f'{plural} "{name}" not found', details={"name": name, "kind": plural})


def already_exists(plural: str, name: str) -> ApiError:
    """409, on creation."""
    return ApiError(409, "AlreadyExists", f'{plural} "{name}" already exists', details={"name": name, "kind": plural})


def conflict(
    plural: str, name: str, why: str = "the object has been modified; please apply your changes to the latest version"
) -> ApiError:
    """409, on change."""
    message = f'Operation cannot be fulfilled on {plural} "{name}": {why}'
    return ApiError(409, "Conflict", message, details={"name": name, "kind": plural})


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def invalid(kind: str, name: str, field: str, message: str) -> ApiError:
    """422."""
    cause = {"reason": "FieldValueInvalid", "message": message, "field": field}
    details = {"name": name, "kind": kind, "causes": [cause]}
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {field}: {message}', details=details)


def gone(oldest: int, asked: int) -> ApiError:
    """410: the version is too old."""
    return ApiError(410, "Expired", f"too old resource version: {asked} ({oldest})")
