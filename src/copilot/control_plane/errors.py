"""What the control plane refuses, and why: one class an answer.

::

    ControlPlaneError
    ├── InvalidRequest      the request can never be right                  INVALID_ARGUMENT
    ├── NoSuchResource      no such project, run, action, task, secret …    NOT_FOUND
    ├── ResourceExists      the name is taken by something else             ALREADY_EXISTS
    ├── NotAuthenticated    no token, or one that is unknown or revoked     UNAUTHENTICATED
    ├── NotAllowed          the token is good, and not for this             PERMISSION_DENIED
    ├── TooLarge            more than this server takes                     RESOURCE_EXHAUSTED
    ├── Conflict            the state does not allow it now                 FAILED_PRECONDITION
    ├── NotServed           known to Flyte, not served here                 UNIMPLEMENTED
    ├── (transient) DatabaseUnavailable, StateChanged                       UNAVAILABLE, ABORTED
    └── IllegalTransition   our bug: a phase that cannot follow             INTERNAL
"""

from __future__ import annotations

from copilot.core.errors import CopilotError, ExitCode, Kind


class ControlPlaneError(CopilotError):
    """The control plane says no."""

    reason = "ControlPlane"
    exit_code = ExitCode.CONTROL_PLANE


class InvalidRequest(ControlPlaneError):
    """The request can never be right, whatever the state."""

    reason = "InvalidRequest"
    kind = Kind.USER


class NoSuchResource(ControlPlaneError):
    """No such project, domain, run, action, task, secret or object."""

    reason = "NoSuchResource"
    kind = Kind.USER


class ResourceExists(ControlPlaneError):
    """The name is taken by something else."""

    reason = "ResourceExists"
    kind = Kind.USER


class NotAuthenticated(ControlPlaneError):
    """No token, or one that is unknown, malformed or revoked."""

    reason = "NotAuthenticated"
    kind = Kind.USER
    default_hint = "Make one with copilot tokens --create NAME; give it in COPILOT_TOKEN or as Authorization: Bearer TOKEN."


class NotAllowed(ControlPlaneError):
    """Who asks is known and may not do this."""

    reason = "NotAllowed"
    kind = Kind.USER


class TooLarge(ControlPlaneError):
    """More than this server takes."""

    reason = "TooLarge"
    kind = Kind.USER


class Conflict(ControlPlaneError):
    """The state does not allow it now."""

    reason = "Conflict"
    kind = Kind.USER


class NotServed(ControlPlaneError):
    """Known to Flyte and not served here."""

    reason = "NotServed"
    kind = Kind.USER


class DatabaseUnavailable(ControlPlaneError):
    """The database does not answer."""

    reason = "DatabaseUnavailable"
    transient = True
    default_hint = "Ask again: nothing was changed."


class StateChanged(ControlPlaneError):
    """Somebody else moved the row first."""

    reason = "StateChanged"
    transient = True


class IllegalTransition(ControlPlaneError):
    """A phase that cannot follow the one before."""

    reason = "IllegalTransition"
    default_hint = "This is a bug in copilot: please report it with the log."
