"""Secrets that are variables of the environment already: ``env://NAME[#key]``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from copilot.core.errors import SecretNotFound
from copilot.core.secret_refs import describe_ref
from copilot.secrets.providers.grouping import check_options, no_version, read_each
from copilot.secrets.values import Payload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from copilot.core.ports import CancelToken, SecretRef, SecretValue
    from copilot.secrets.registry import ProviderContext


class EnvironmentSecrets:
    """Reads the variables given as ``settings.environ``."""

    max_batch = 1

    def __init__(self, context: ProviderContext) -> None:
        """See the class."""
        self._environ = context.settings.environ

    def resolve(self, refs: Sequence[SecretRef], cancel: CancelToken) -> Mapping[SecretRef, SecretValue]:
        """See ``SecretProvider``. Raises ``SecretNotFound`` for a variable that is not set; an empty one is a value."""
        return read_each(refs, self._read, cancel)

    def renew(self, value: SecretValue, cancel: CancelToken) -> SecretValue:
        """Nothing to renew."""
        cancel.check()
        return value

    def revoke(self, value: SecretValue, cancel: CancelToken) -> None:
        """Nothing to revoke."""

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
