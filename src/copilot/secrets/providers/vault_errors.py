"""What Vault's answers mean, as errors of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from copilot.core.errors import (
    BadConfig,
    CopilotError,
    SecretDenied,
    SecretError,
    SecretExpiredToken,
    SecretFault,
    SecretNotFound,
    SecretRefused,
    SecretThrottled,
    SecretUnreachable,
    VaultSealed,
)
from copilot.secrets.providers.tls import not_accepted

if TYPE_CHECKING:
    import hvac


@dataclass(frozen=True, slots=True)
class VaultCall:
    """The call that failed.

    Attributes:
        op: what it was to do.
        subject: what it was about.
        where: the server's address.
        token: what it showed; for asking whether that is known at all.
        client: makes a client from a namespace and a token.
    """

    op: str
    subject: str
    where: str
    token: str
    client: Callable[[str, str], hvac.Client]

    def __repr__(self) -> str:
        return f"VaultCall({self.op}, {self.subject})"


def classified(cause: Exception, call: VaultCall) -> CopilotError:
    """What hvac raised, as one of ours: by its class, which is HTTP's status."""
    import requests  # noqa: PLC0415 - hvac's own transport
    from hvac import exceptions as vault  # noqa: PLC0415 - clients are imported when used

    if isinstance(cause, requests.RequestException):
        return _not_reached(cause, call)
    if isinstance(cause, vault.VaultDown):
        return _down(call)
    if isinstance(cause, vault.Forbidden | vault.Unauthorized):
        return _forbidden(call)
    if isinstance(cause, vault.InvalidPath):
        return SecretNotFound(
            "Vault has no such secret, or no such version of it",
            op=call.op,
            subject=call.subject,
            hint="Check its path and its namespace.",
        )
    if isinstance(cause, vault.RateLimitExceeded):
        return SecretThrottled("Vault asks us to slow down", op=call.op, subject=call.subject)
    if isinstance(cause, vault.InvalidRequest | vault.UnsupportedOperation | vault.PreconditionFailed):
        return SecretRefused("Vault refused the request", op=call.op, subject=call.subject)
    if isinstance(cause, vault.VaultError):
        return SecretFault("Vault failed", op=call.op, subject=call.subject)
    raise cause


def _not_reached(cause: Exception, call: VaultCall) -> CopilotError:
    """There is no answer at all; why, by the class of requests' error."""
    from requests import exceptions as http  # noqa: PLC0415 - hvac's own transport

    if isinstance(cause, http.SSLError):
        return not_accepted(f"Vault at {call.where}", op=call.op, subject=call.subject, variable="VAULT_CACERT")
    if isinstance(cause, http.InvalidURL | http.InvalidSchema | http.MissingSchema):
        return BadConfig(
            f"the address of Vault, {call.where}, is no URL",
            op=call.op,
            subject=call.subject,
            hint="Set VAULT_ADDR to http(s)://HOST:PORT.",
        )
    return SecretUnreachable("Vault does not answer", op=call.op, subject=call.subject, hint=f"It should be at {call.where}.")


def _down(call: VaultCall) -> SecretError:
    """503: sealed, which somebody must mend, or a standby, which passes."""
    import requests  # noqa: PLC0415 - hvac's own transport
    from hvac import exceptions as vault  # noqa: PLC0415 - clients are imported when used

    try:
        sealed = bool(call.client("", "").sys.read_seal_status()["sealed"])
    except (vault.VaultError, requests.RequestException, KeyError, TypeError):
        sealed = False
    if sealed:
        return VaultSealed(f"Vault at {call.where} is sealed", op=call.op, subject=call.subject, hint="Have it unsealed.")
    return SecretUnreachable("Vault is not in service just now", op=call.op, subject=call.subject)


def _forbidden(call: VaultCall) -> SecretError:
    """403, which Vault says to strangers and to those without the right: whether it knows the token tells them apart."""
    import requests  # noqa: PLC0415 - hvac's own transport
    from hvac import exceptions as vault  # noqa: PLC0415 - clients are imported when used

    known = True
    if call.token:
        try:
            call.client("", call.token).auth.token.lookup_self()
        except (vault.Forbidden, vault.Unauthorized):
            known = False
        except (vault.VaultError, requests.RequestException):
            known = True
    if known:
        return SecretDenied(
            "the identity may not do this in Vault",
            op=call.op,
            subject=call.subject,
            hint="Grant it read on the path in its policy.",
        )
    return SecretExpiredToken(
        "Vault does not know the token, or not any more", op=call.op, subject=call.subject, hint="Log in again."
    )
