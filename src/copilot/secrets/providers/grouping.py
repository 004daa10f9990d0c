"""What every provider does alike: one read for a secret's fields, options checked first, a client's errors told as ours."""

from __future__ import annotations

import difflib
import logging
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from copilot.core.errors import BadSecretRef, CopilotError
from copilot.core.secret_refs import describe_ref

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef, SecretValue
    from copilot.secrets.values import Payload, Secret


def address(ref: SecretRef) -> SecretRef:
    """``ref`` without its key: what one request reads."""
    return replace(ref, key=None)


def pick_all(refs: Iterable[SecretRef], payloads: Mapping[SecretRef, Payload]) -> dict[SecretRef, Secret]:
    """Every reference's value from the payloads of their addresses."""
    return {ref: payloads[address(ref)].pick(ref) for ref in refs}


def read_each(refs: Iterable[SecretRef], read: Callable[[SecretRef], Payload], cancel: CancelToken) -> dict[SecretRef, Secret]:
    """One ``read`` an address, in order, then every reference's value."""
    refs = list(refs)
    payloads: dict[SecretRef, Payload] = {}
    for ref in refs:
        where = address(ref)
        if where not in payloads:
            cancel.check()
            payloads[where] = read(where)
    return pick_all(refs, payloads)


@contextmanager
def classifying(classify: Callable[[Exception, str, str], CopilotError], op: str, subject: str) -> Iterator[None]:
    """What the body's client raises becomes what ``classify`` says it is; an error of ours passes as it is."""
    try:
        yield
    except CopilotError:
        raise
    except Exception as cause:
        raise classify(cause, op, subject) from cause


class WithoutLeases:
    """A provider of values that stay good until somebody changes them: nothing is leased."""

    def renew(self, value: SecretValue, cancel: CancelToken) -> SecretValue:
        """Nothing to renew."""
        cancel.check()
        return value

    def revoke(self, value: SecretValue, cancel: CancelToken) -> None:
        """Nothing to revoke."""


class LastingSecrets(WithoutLeases, ABC):
    """As ``WithoutLeases``, and each address is read by itself."""

    @abstractmethod
    def _read(self, ref: SecretRef) -> Payload:
        """What lies at one address."""

    def resolve(self, refs: Sequence[SecretRef], cancel: CancelToken) -> Mapping[SecretRef, SecretValue]:
        """See ``SecretProvider``."""
        return read_each(refs, self._read, cancel)


def check_options(ref: SecretRef, known: Collection[str]) -> None:
    """Raises ``BadSecretRef`` for an option the provider does not know."""
    for name in ref.options:
        if name not in known:
            near = difflib.get_close_matches(name, [*known, "version"], n=1)
            hint = f"Did you mean {near[0]}?" if near else f"It takes {', '.join(sorted([*known, 'version']))}."
            raise BadSecretRef(
                f"{ref.provider} references have no option {name}", op="parse", subject=describe_ref(ref), hint=hint
            )


def no_version(ref: SecretRef) -> None:
    """Raises ``BadSecretRef`` if ``ref`` asks for a version where there are none."""
    if ref.version is not None:
        raise BadSecretRef(
            f"{ref.provider} secrets have no versions", op="parse", subject=describe_ref(ref), hint="Leave it away."
        )


def silence(*loggers: str) -> None:
    """Keeps a client library's debug lines, which quote requests and answers, out of every log of this process.

    Its warnings do not go to standard error past our own log either: what they are about is told as an error.
    """
    for name in loggers:
        logger = logging.getLogger(name)
        if logger.getEffectiveLevel() < logging.WARNING:
            logger.setLevel(logging.WARNING)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
