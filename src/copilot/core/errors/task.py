"""The task itself ended badly, or we were told to stop."""

from __future__ import annotations

from copilot.core.errors.base import CopilotError, ExitCode, Kind


class TaskError(CopilotError):
    """The task itself ended badly."""

    reason = "TaskFailed"
    exit_code = ExitCode.TASK
    kind = Kind.USER


class TaskFailed(TaskError):
    """The task says so: ``_ERROR``, or a non-zero exit code."""


class Interrupted(CopilotError):
    """The work was stopped from outside."""

    reason = "Interrupted"
    exit_code = ExitCode.INTERRUPTED


class Cancelled(Interrupted):
    """A signal asked us to stop."""

    reason = "Cancelled"


class DeadlineExceeded(Interrupted):
    """The time given for this is over."""

    reason = "DeadlineExceeded"
    exit_code = ExitCode.DEADLINE
