"""The writers by name. A new one is a file, a line here, and a subclass of the contract suite."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from copilot.core.errors import BadFlag, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Mapping

    from copilot.core.secret_ports import SecretWriter
    from copilot.secrets.registry import ProviderContext

WRITERS: Mapping[str, tuple[str, str]] = {
    "aws": ("copilot.secrets.writers.aws:AwsWriter", "copilot[aws]"),
    "azure": ("copilot.secrets.writers.azure:AzureWriter", "copilot[azure]"),
    "gcp": ("copilot.secrets.writers.gcp:GcpWriter", "copilot[gcp]"),
    "vault": ("copilot.secrets.writers.vault:VaultWriter", "copilot[vault]"),
}


def open_writer(name: str, context: ProviderContext) -> SecretWriter:
    """The writer called ``name``.

    Raises:
        BadFlag: there is none of that name.
        MissingExtra: its client is not installed.
    """
    if name not in WRITERS:
        raise BadFlag(f"nothing writes secrets to {name}", op="open", subject=name, hint=f"Known are {', '.join(WRITERS)}.")
    target, extra = WRITERS[name]
    module, _, factory = target.partition(":")
    try:
        writer: SecretWriter = getattr(importlib.import_module(module), factory)(context)
    except ModuleNotFoundError as cause:
        raise MissingExtra(
            f"secrets in {name} need the package {cause.name}", op="open", subject=name, hint=f"Install {extra}."
        ) from cause
    return writer
