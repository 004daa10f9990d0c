"""Secrets that are variables of the environment already: ``env://NAME[#key]``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from copilot.core.errors import SecretNotFound
from copilot.core.secret_refs import describe_ref
from copilot.secrets.providers.grouping import LastingSecrets, check_options, no_version
from copilot.secrets.values import Payload

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef
    from copilot.secrets.registry import ProviderContext


class EnvironmentSecrets(LastingSecrets):
    """Reads the variables given as ``settings.environ``.

    Raises ``SecretNotFound`` for a variable that is not set; an empty one is a value.
    """

    max_batch = 1

    def __init__(self, context: ProviderContext) -> None:
        """See the class."""
        self._environ = context.settings.environ

    def close(self, cancel: CancelToken) -> None:
        """There is no session to end."""

    def whoami(self, cancel: CancelToken) -> str:
        """This process."""
        cancel.check()
        return "this process's environment"

    def _read(self, ref: SecretRef) -> Payload:
        check_options(ref, ())
        no_version(ref)
        value = self._environ.get(ref.name)
        if value is None:
            raise SecretNotFound(
                f"the variable {ref.name} is not set",
                op="resolve",
                subject=describe_ref(ref),
                hint="Set it, or correct its name.",
            )
        return Payload(raw=os.fsencode(value))
