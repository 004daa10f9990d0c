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


class TaskOutOfMemory(TaskError):
    """The kernel ended the task: it used more memory than its limit."""

    reason = "TaskOutOfMemory"
    default_hint = "Give the task a higher memory limit."


class TaskDeadline(TaskError):
    """The task outlived its own deadline."""

    reason = "TaskDeadlineExceeded"
    default_hint = "Give the task more time, or let it do less."


class TaskEvicted(TaskError):
    """The pod was evicted while the task ran."""

    reason = "TaskEvicted"
    kind = Kind.SYSTEM
    default_hint = "Run it again; ask for what it really needs if its node was under pressure."


class TaskPreempted(TaskError):
    """The pod made room for one of higher priority."""

    reason = "TaskPreempted"
    kind = Kind.SYSTEM
    default_hint = "Run it again, or give it a higher priority."


class TaskDeleted(TaskError):
    """The pod was deleted while the task ran."""

    reason = "TaskDeleted"
    kind = Kind.SYSTEM
    default_hint = "Run it again, unless somebody meant to stop it."


class CompletionUnproven(TaskError):
    """Nobody could say how the task ended, so nothing is published as final."""

    reason = "CompletionUnproven"
    exit_code = ExitCode.UNPROVEN
    kind = Kind.SYSTEM
    default_hint = "Let the task write _SUCCESS as its last act, or start the sidecar with --trust-signal."


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
