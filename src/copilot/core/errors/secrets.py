"""A secret cannot be had, or not be handed over as asked."""

from __future__ import annotations

from copilot.core.errors.base import CopilotError, ExitCode, Kind


class SecretError(CopilotError):
    """A secret cannot be had, or not be handed over as asked. No message of these ever holds a value."""

    reason = "SecretFailed"
    exit_code = ExitCode.SECRET
    kind = Kind.USER


class BadSecretRef(SecretError):
    """The text is no reference to a secret."""

    reason = "BadSecretRef"
    default_hint = "Write it as provider://name#key?version=…, for example aws://prod/db#password."


class SecretNotFound(SecretError):
    """The manager has no such secret, or no such version of it."""

    reason = "SecretNotFound"


class SecretExists(SecretError):
    """The manager has a secret of this name already."""

    reason = "SecretExists"


class SecretDenied(SecretError):
    """Who we are is known to the manager and may not read this secret."""

    reason = "SecretDenied"


class SecretNoIdentity(SecretError):
    """There are no credentials to show to the manager, or it does not know them."""

    reason = "SecretNoIdentity"


class SecretExpiredToken(SecretError):
    """The token we show was good once and is not any more."""

    reason = "SecretTokenExpired"


class SecretRefused(SecretError):
    """The manager refused the request itself (another 4xx)."""

    reason = "SecretRefused"


class VaultSealed(SecretError):
    """The vault is up and sealed: it can read nothing until somebody unseals it."""

    reason = "VaultSealed"
    kind = Kind.SYSTEM


class SecretKeyMissing(SecretError):
    """The secret is there and has no such field, or is no JSON object."""

    reason = "SecretKeyMissing"


class SecretNotText(SecretError):
    """The value is binary where only text can go (a variable, a template)."""

    reason = "SecretNotText"


class SecretTooLarge(SecretError):
    """The value is longer than a variable of the environment may be."""

    reason = "SecretTooLarge"


class NotTmpfs(SecretError):
    """The file would be written to a disk, and nobody asked for that."""

    reason = "SecretNotOnTmpfs"


class SecretPathTaken(SecretError):
    """Two secrets are to be written to one path, or into one variable."""

    reason = "SecretPathTaken"


class BadSecretTemplate(SecretError):
    """A template cannot be read, or asks for what is not there."""

    reason = "BadSecretTemplate"


class SecretLeaked(SecretError):
    """An output holds a secret's value, and the leak guard was told to refuse that."""

    reason = "SecretLeaked"


class SecretUnreachable(SecretError):
    """No connection to the manager: refused, reset, no such host, TLS, time-out."""

    reason = "SecretManagerUnreachable"
    kind = Kind.SYSTEM
    transient = True


class SecretThrottled(SecretError):
    """The manager asks us to come back later."""

    reason = "SecretThrottled"
    kind = Kind.SYSTEM
    transient = True


class SecretFault(SecretError):
    """The manager failed (5xx)."""

    reason = "SecretManagerFault"
    kind = Kind.SYSTEM
    transient = True


class SecretCorrupt(SecretError):
    """The value does not have the checksum the manager states."""

    reason = "SecretCorrupt"
    kind = Kind.SYSTEM
    transient = True
