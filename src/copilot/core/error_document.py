"""Any error → ``core.ErrorDocument``, the message a Flyte backend shows and decides retries by."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from copilot.core import idl, podfiles
from copilot.core.errors import CompletionUnproven, CopilotError, InternalError, Kind, TaskError

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


def sidecar_code(error: BaseException) -> str:
    """The code of the document that the sidecar leaves: the task's own failure where that was seen, else the upload's.

    What the task wrote into ``_ERROR`` keeps the code under which backends know it.
    """
    if isinstance(error, TaskError) and not isinstance(error, CompletionUnproven) and error.subject != podfiles.ERROR_MARKER:
        return error.reason
    return OUTPUT_UPLOAD_FAILED


def says_more(document: bytes, code: str) -> bool:
    """Whether the document that is there is a better reason than one with ``code``, and must stay.

    A missing output is no reason where the inputs never came, or where the task had failed.
    """
    try:
        there = idl.ErrorDocument.FromString(document).error.code
    except DecodeError:
        return False
    return there == INPUT_DOWNLOAD_FAILED or (code == OUTPUT_UPLOAD_FAILED and there not in {"", OUTPUT_UPLOAD_FAILED})


def is_ours(document: bytes) -> bool:
    """Whether copilot, or the reference, wrote this error document: it has a code of theirs."""
    try:
        there = idl.ErrorDocument.FromString(document).error.code
    except DecodeError:
        return False
    return there in {INPUT_DOWNLOAD_FAILED, OUTPUT_UPLOAD_FAILED, *_reasons(TaskError)}


def _reasons(error: type[CopilotError]) -> set[str]:
    return {error.reason}.union(*(_reasons(kind) for kind in error.__subclasses__()))


def error_message(error: CopilotError) -> str:
    """``<reason>: <sentence>``; for what the task itself said, its own words after the reason."""
    words = error.message if isinstance(error, TaskError) and not error.hint else error.sentence()
    text = f"{error.reason}: {words}".encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else f"{text[: MAX_MESSAGE_CHARACTERS - 1]}…"
