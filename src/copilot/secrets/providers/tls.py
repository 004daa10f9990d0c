"""What goes wrong before a manager is reached at all: certificates that are not there, and those that are not accepted."""

from __future__ import annotations

import os

from copilot.core.errors import BadConfig, SecretUnreachable


def check_ca_file(path: str | None, *, variable: str, subject: str) -> None:
    """Raises ``BadConfig`` if the certificates to trust, which ``variable`` names, cannot be read."""
    if path and not os.access(path, os.R_OK):
        raise BadConfig(
            f"the certificates to trust, {path}, cannot be read", op="login", subject=subject, hint=f"Look at {variable}."
        )


def not_accepted(manager: str, *, op: str, subject: str, variable: str) -> SecretUnreachable:
    """The manager's certificate is not one that we trust; ``variable`` says which are."""
    return SecretUnreachable(
        f"the certificate of {manager} is not accepted here",
        op=op,
        subject=subject,
        hint=f"Is its authority the one that {variable} gives, and this address among its names?",
    )
