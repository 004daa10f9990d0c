"""The inputs cannot be used as they are."""

from __future__ import annotations

from copilot.core.errors.base import CopilotError, ExitCode, Kind


class InputError(CopilotError):
    """The inputs cannot be used as they are."""

    reason = "BadInputs"
    exit_code = ExitCode.INPUT
    kind = Kind.USER


class BadInputs(InputError):
    """``inputs.pb`` is no ``core.LiteralMap``, or does not fit the interface."""


class UnknownLiteral(InputError):
    """A literal without a value, or of a kind this version does not know."""

    reason = "UnknownLiteral"


class UnsafePath(InputError):
    """A name that would be written outside its directory: ``..``, NUL, an absolute path."""

    reason = "UnsafePath"
