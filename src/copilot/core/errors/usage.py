"""What was asked for cannot be understood."""

from __future__ import annotations

from copilot.core.errors.base import CopilotError, ExitCode, Kind


class UsageError(CopilotError):
    """The request cannot be understood."""

    reason = "BadRequest"
    exit_code = ExitCode.USAGE
    kind = Kind.USER


class BadFlag(UsageError):
    """A flag's value is not one of those it takes."""

    reason = "BadFlag"


class BadConfig(UsageError):
    """A configuration file, or a variable of the environment, cannot be used."""

    reason = "BadConfig"


class MissingExtra(UsageError):
    """The feature needs a package that is not installed."""

    reason = "MissingExtra"


class NotYet(UsageError):
    """Known, and not to be had in this version."""

    reason = "NotYetSupported"
