"""The single place where an exception becomes what the world sees.

An exit code, one log line, a termination message of one sentence, and an error document where the backend looks for it. A
traceback goes to the log at debug level and into the log file, never at the user.
"""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.core.errors import (
    Cancelled,
    CopilotError,
    DiskFull,
    ExitCode,
    InternalError,
    LocalIOError,
    ReadOnlyPath,
)
from copilot.core.podfiles import ERROR_PB, ERRORS_PB, MAX_TERMINATION_MESSAGE_BYTES

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken, Log
    from copilot.engine.transfer import Transfer

_QUERY: Final = re.compile(r"(?<=\S)\?[^\s\"'()=]+=[^\s\"'()]*")
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an exception comes to.

    Attributes:
        error: it, as one of ours.
        reason: its stable code.
        sentence: what a person reads.
        exit_code: what the process ends with.
    """

    error: CopilotError
    reason: str
    sentence: str
    exit_code: int

    def message(self) -> str:
        """The termination message: the reason code and the sentence, at most 4 KiB, on one line."""
        text = " ".join(f"{self.reason}: {self.sentence}".split())
        raw = text.encode(errors="replace")  # what we were given may be no UTF-8: a path, a flag
        text = raw.decode()
        if len(raw) <= MAX_TERMINATION_MESSAGE_BYTES:
            return text
        return raw[: MAX_TERMINATION_MESSAGE_BYTES - 3].decode(errors="ignore") + "…"


def outcome_of(exception: BaseException, *, failure_exit_code: int | None = None, signal_number: int = 0) -> Outcome:
    """What ``exception`` comes to.

    Args:
        exception: any.
        failure_exit_code: what every failure ends with; None: the error's own.
        signal_number: the signal that stopped us, if one did; SIGTERM makes a cancellation end with 143 in place of 130.
    """
    error = as_copilot_error(exception)
    exit_code = error.exit_code
    if isinstance(error, Cancelled) and signal_number == signal.SIGTERM:
        exit_code = ExitCode.TERMINATED
    return Outcome(error, error.reason, error.sentence(), failure_exit_code or exit_code)


def as_copilot_error(exception: BaseException) -> CopilotError:
    """``exception`` itself, or the one of ours that says what it means."""
    if isinstance(exception, CopilotError):
        return exception
    ours: CopilotError
    if isinstance(exception, KeyboardInterrupt):
        ours = Cancelled("interrupted")
    elif isinstance(exception, MemoryError):
        ours = LocalIOError(
            "there is not enough memory", hint="Give the container more memory, or lower --memory and --max-workers."
        )
    elif isinstance(exception, OSError) and exception.errno is not None:
        ours = _local(exception)
    else:
        ours = InternalError(f"something that should not happen did ({type(exception).__name__})")
    ours.__cause__ = exception
    return ours


def masked(error: CopilotError, mask: Callable[[str], str]) -> CopilotError:
    """A copy of ``error``, and of the causes it speaks of, in which ``mask`` has gone over every text."""
    clone = type(error).__new__(type(error))
    clone.__dict__.update(error.__dict__)
    CopilotError.__init__(
        clone,
        mask(error.message),
        op=error.op,
        subject=mask(error.subject),
        hint=mask(error.hint),
        retry_after_s=error.retry_after_s,
    )
    cause = error.__cause__
    clone.__cause__ = masked(cause, mask) if isinstance(cause, CopilotError) else cause
    return clone.with_traceback(error.__traceback__)


def _local(error: OSError) -> CopilotError:
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    text = os.strerror(error.errno or 0)
    message = f"{where}: {text}" if where else text
    if error.errno in _DISK_FULL:
        return DiskFull(message, subject=where, hint="Give the volume more room.")
    if error.errno in _READ_ONLY:
        return ReadOnlyPath(message, subject=where, hint="Check the volume's permissions.")
    return LocalIOError(message, subject=where)


def tell(outcome: Outcome, log: Log, *, during: str) -> None:
    """The one log line, and the traceback at debug level."""
    error = outcome.error
    fields = {"op": error.op, "subject": error.subject}
    log.event(
        "failed",
        level="error",
        during=during,
        reason=outcome.reason,
        message=outcome.sentence,
        exit_code=outcome.exit_code,
        **{name: value for name, value in fields.items() if value},
    )
    import traceback  # noqa: PLC0415 - only after a failure

    # Libraries name the URL they asked for, with the query that may be its signature.
    text = _QUERY.sub("?***", "".join(traceback.format_exception(error)))
    log.event("failed.traceback", level="debug", traceback=text)


def write_termination_message(path: Path, message: str, *, create: bool) -> bool:
    """Writes ``message`` where Kubernetes looks for it; False where there is no such place.

    Args:
        path: the file.
        message: one line, at most 4 KiB.
        create: whether a file that is not there is made (it was asked for by name).
    """
    flags = os.O_WRONLY | os.O_TRUNC | (os.O_CREAT if create else 0)
    try:
        descriptor = os.open(path, flags, 0o644)
    except OSError:
        return False
    try:
        os.write(descriptor, message.encode())
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def error_document_names(err_output_name: str) -> tuple[str, ...]:
    """The document's names: the one asked for, else both that readers look for (the reference's and the backend's)."""
    return (err_output_name,) if err_output_name else (ERRORS_PB, ERROR_PB)


def write_error_document(
    outcome: Outcome,
    *,
    code: str,
    prefix: str,
    err_output_name: str,
    transfer: Transfer,
    cancel: CancelToken,
    log: Log,
    beside: bool = False,
) -> list[str]:
    """Writes the error document below ``prefix``; gives the URIs written. A store that refuses it is logged, not raised.

    With ``beside`` others write there as well: a document that says more than ours stays.
    """
    from copilot.core.error_document import error_document, says_more  # noqa: PLC0415 - not needed to fail on a flag
    from copilot.core.uri import join, redact  # noqa: PLC0415

    document = error_document(outcome.error, code)
    written: list[str] = []
    for name in error_document_names(err_output_name):
        uri = join(prefix, name)
        if beside:
            with suppress(CopilotError):
                if says_more(transfer.read(uri, cancel), code):
                    log.event("error_document.kept", uri=redact(uri), why="what is there says more than we could")
                    continue
        try:
            transfer.write(uri, document, cancel)
        except CopilotError as error:
            said = {"uri": redact(uri), "reason": error.reason, "message": error.sentence()}
            log.event("error_document.not_written", level="warning", **said)
        else:
            written.append(uri)
    return written
