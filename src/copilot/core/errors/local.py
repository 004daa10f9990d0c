"""This machine's files or disk."""

from __future__ import annotations

from copilot.core.errors.base import CopilotError, ExitCode


class LocalError(CopilotError):
    """This machine's files or disk."""

    reason = "LocalIO"
    exit_code = ExitCode.LOCAL


class LocalIOError(LocalError):
    """Any other error of the local file system."""


class DiskFull(LocalError):
    """ENOSPC or EDQUOT while writing."""

    reason = "DiskFull"


class NotEnoughSpace(LocalError):
    """What is to come is known not to fit, before a byte is moved."""

    reason = "NotEnoughSpace"


class ReadOnlyPath(LocalError):
    """The place we must write to cannot be written."""

    reason = "ReadOnlyPath"
