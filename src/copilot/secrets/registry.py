"""The providers by name. A new one is a file, a line here, and a subclass of the contract suite."""

from __future__ import annotations

import difflib
import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from copilot.core.errors import BadSecretRef, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Mapping

    from copilot.core.ports import Clock
    from copilot.core.secret_ports import SecretProvider
    from copilot.secrets.settings import SecretSettings

PROVIDERS: Mapping[str, tuple[str, str]] = {
    "aws": ("copilot.secrets.providers.aws:AwsSecrets", "copilot[aws]"),
    "azure": ("copilot.secrets.providers.azure:AzureSecrets", "copilot[azure]"),
    "copilot": ("copilot.secrets.providers.server:ServerSecrets", ""),
    "env": ("copilot.secrets.providers.env:EnvironmentSecrets", ""),
    "file": ("copilot.secrets.providers.file:FileSecrets", ""),
    "gcp": ("copilot.secrets.providers.gcp:GcpSecrets", "copilot[gcp]"),
    "k8s": ("copilot.secrets.providers.kubernetes:KubernetesSecrets", ""),
    "vault": ("copilot.secrets.providers.vault:VaultSecrets", "copilot[vault]"),
}


def forget(_: bytes) -> None:
    """Tells nobody of a value: where there is no log to keep it out of."""


@dataclass(frozen=True, slots=True)
class ProviderContext:
    """What a provider is made with.

    Attributes:
        settings: how managers are reached.
        clock: the time of leases.
        known: hears of every credential the provider comes to hold, so that no log line shows it.
    """

    settings: SecretSettings
    clock: Clock
    known: Callable[[bytes], None] = forget


class Providers:
    """Opens each provider once, when it is first asked for; safe to use from many threads."""

    def __init__(self, context: ProviderContext, *, registry: Mapping[str, tuple[str, str]] = PROVIDERS) -> None:
        """``registry`` maps a name to ``module:factory`` and what to install for it."""
        self._context = context
        self._registry = registry
        self._opened: dict[str, SecretProvider] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> SecretProvider:
        """The provider called ``name``.

        Raises:
            BadSecretRef: there is none of that name.
            MissingExtra: its client is not installed.
        """
        with self._lock:
            if name not in self._opened:
                self._opened[name] = self._open(name)
            return self._opened[name]

    def opened(self) -> Mapping[str, SecretProvider]:
        """Those in use so far."""
        with self._lock:
            return dict(self._opened)

    def _open(self, name: str) -> SecretProvider:
        if name not in self._registry:
            near = difflib.get_close_matches(name, self._registry, n=1)
            raise BadSecretRef(
                f"there is no secret provider called {name}",
                op="open",
                hint=f"Did you mean {near[0]}://?" if near else f"Known are {', '.join(sorted(self._registry))}.",
            )
        target, extra = self._registry[name]
        module, _, factory = target.partition(":")
        try:
            provider: SecretProvider = getattr(importlib.import_module(module), factory)(self._context)
        except ModuleNotFoundError as cause:
            raise MissingExtra(
                f"secrets of {name}:// need the package {cause.name}",
                op="open",
                subject=f"{name}://",
                hint=f"Install {extra}." if extra else "",
            ) from cause
        return provider
