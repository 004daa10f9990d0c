"""Any error → ``core.ErrorDocument``, the message a Flyte backend shows and decides retries by."""

from __future__ import annotations

from typing import Final

from copilot.core import idl
from copilot.core.errors import CopilotError, InternalError, Kind, TaskError

INPUT_DOWNLOAD_FAILED: Final = "InputDownloadFailed"
OUTPUT_UPLOAD_FAILED: Final = "OutputUploadFailed"

MAX_MESSAGE_CHARACTERS: Final = 1024 * 1024


def error_document(error: BaseException, code: str) -> bytes:
    """The serialized ``core.ErrorDocument``.

    The kind is always RECOVERABLE, as the reference writes it: the run's own ``retries`` decide, not we. The origin says whose
    fault it was, so that the official SDK raises a user's or a system's error.

    Args:
        error: what went wrong; anything but a ``CopilotError`` is our own bug, and its text is not shown.
        code: ``InputDownloadFailed`` or ``OutputUploadFailed``.
    """
    known = error if isinstance(error, CopilotError) else InternalError(f"An unexpected {type(error).__name__} occurred")
    origin = idl.ExecutionError.USER if known.kind is Kind.USER else idl.ExecutionError.SYSTEM
    container_error = idl.ContainerError(
        code=code, message=error_message(known), kind=idl.ContainerError.RECOVERABLE, origin=origin
    )
    return bytes(idl.ErrorDocument(error=container_error).SerializeToString())


def error_message(error: CopilotError) -> str:
    """``<reason>: <sentence>``; for what the task itself said, its own words after the reason."""
    words = error.message if isinstance(error, TaskError) and not error.hint else error.sentence()
    text = f"{error.reason}: {words}".encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else f"{text[: MAX_MESSAGE_CHARACTERS - 1]}…"
