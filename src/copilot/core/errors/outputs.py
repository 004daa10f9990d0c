"""The task's outputs cannot be published as they are."""

from __future__ import annotations

from copilot.core.errors.base import CopilotError, ExitCode, Kind


class OutputError(CopilotError):
    """The task's outputs cannot be published as they are."""

    reason = "BadOutput"
    exit_code = ExitCode.OUTPUT
    kind = Kind.USER


class MissingOutput(OutputError):
    """A declared output was not written."""

    reason = "MissingOutput"


class UnreadableOutput(OutputError):
    """An output is there and cannot be read (permissions, a device, two candidates)."""

    reason = "UnreadableOutput"


class BadOutput(OutputError):
    """An output's content is not of its declared type."""


class ReservedName(OutputError):
    """An output is called like one of the files the protocol itself keeps."""

    reason = "ReservedName"
