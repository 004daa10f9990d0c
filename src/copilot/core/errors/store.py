"""Something between us and a store."""

from __future__ import annotations

from copilot.core.errors.base import CopilotError, ExitCode, Kind


class StoreError(CopilotError):
    """A store said no, or nothing."""

    reason = "StoreFailed"
    exit_code = ExitCode.STORE


class ObjectNotFound(StoreError):
    """There is no such object."""

    reason = "ObjectNotFound"
    exit_code = ExitCode.NOT_FOUND
    kind = Kind.USER


class BucketNotFound(StoreError):
    """There is no such bucket, container or host directory."""

    reason = "BucketNotFound"
    exit_code = ExitCode.NOT_FOUND
    kind = Kind.USER


class AccessDenied(StoreError):
    """Who we are is known and may not do this (403)."""

    reason = "AccessDenied"
    exit_code = ExitCode.DENIED
    kind = Kind.USER


class BadCredentials(StoreError):
    """The credentials are missing, malformed, expired or unknown to the store (401 and its like)."""

    reason = "BadCredentials"
    exit_code = ExitCode.DENIED
    kind = Kind.USER


class NoIdentity(BadCredentials):
    """No credentials are configured, and the service of this machine that could give some did not answer.

    In a new pod that service may take some seconds to begin: asked again, for a while.
    """

    reason = "CredentialsUnavailable"
    transient = True


class BadStoreRequest(StoreError):
    """The store refused the request itself (another 4xx)."""

    reason = "StoreRefused"


class AlreadyExists(StoreError):
    """``if_absent`` was asked for and the object is there."""

    reason = "ObjectExists"


class Unsupported(StoreError):
    """The store cannot do this at all (writing over plain HTTP, say)."""

    reason = "Unsupported"
    exit_code = ExitCode.USAGE
    kind = Kind.USER


class Unreachable(StoreError):
    """No connection: refused, reset, no such host, TLS."""

    reason = "StoreUnreachable"
    exit_code = ExitCode.UNREACHABLE
    transient = True


class Throttled(StoreError):
    """429, ``SlowDown``: ask again later."""

    reason = "StoreThrottled"
    exit_code = ExitCode.UNREACHABLE
    transient = True


class ServerFault(StoreError):
    """5xx."""

    reason = "StoreFault"
    exit_code = ExitCode.UNREACHABLE
    transient = True


class Stalled(StoreError):
    """No byte for too long."""

    reason = "StoreStalled"
    exit_code = ExitCode.UNREACHABLE
    transient = True


class Truncated(StoreError):
    """Fewer bytes came than were promised."""

    reason = "Truncated"
    exit_code = ExitCode.UNREACHABLE
    transient = True


class ObjectChanged(StoreError):
    """The object is not the one we began with (its etag or size changed while it was read)."""

    reason = "ObjectChanged"
    transient = True


class ChecksumMismatch(StoreError):
    """The bytes are not those that were promised."""

    reason = "ChecksumMismatch"
    transient = True
