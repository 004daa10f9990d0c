"""The ports of secrets: references, values, and what reads and keeps them. As ``core.ports``, for tasks with secrets alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken


@runtime_checkable
class SecretValue(Protocol):
    """A value whose ``repr`` and ``str`` are redacted; the bytes only through ``reveal()``."""

    @property
    def version(self) -> str | None:
        """The version that was read, where there are versions."""
        ...

    def reveal(self) -> bytes:
        """The value itself."""
        ...


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is: provider, name, version or stage, and the key inside it.

    Attributes:
        provider: a registry name: ``aws``, ``gcp``, ``azure``, ``vault``, ``k8s``, ``file``, ``env``.
        name: the provider's own path (``prod/db``, an ARN, ``kv/app``).
        key: the field inside a structured secret, or None for the whole.
        version: the provider's own spelling, or None for the current one.
        options: further query parameters of the reference.
    """

    provider: str
    name: str
    key: str | None = None
    version: str | None = None
    options: Mapping[str, str] = field(default_factory=dict, hash=False)


class SecretProvider(Protocol):
    """Reads secrets from one manager. ``renew`` and ``revoke`` do nothing where there are no leases."""

    @property
    def max_batch(self) -> int:
        """How many secrets one request of the manager can read; 1 where it has no batch read."""
        ...

    def resolve(self, refs: Sequence[SecretRef], cancel: CancelToken) -> Mapping[SecretRef, SecretValue]:
        """All of them, batched where the manager can, or an error that names the first that failed."""
        ...

    def renew(self, value: SecretValue, cancel: CancelToken) -> SecretValue:
        """The value on a longer lease, where it has one."""
        ...

    def revoke(self, value: SecretValue, cancel: CancelToken) -> None:
        """Gives its lease back, where it has one."""
        ...

    def whoami(self, cancel: CancelToken) -> str:
        """The identity in use, for people; never a credential."""
        ...

    def close(self, cancel: CancelToken) -> None:
        """Ends the session, where the manager has sessions: what it lent is given back with it."""
        ...


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """What a manager says of a secret it keeps, without its value.

    Attributes:
        name: its own name: the last segment of ``SecretRef.name``.
        created_at_s: seconds since the epoch; None where the manager does not say at once.
        labels: what ``SecretWriter`` wrote beside it, where the manager keeps such.
    """

    name: str
    created_at_s: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


class SecretWriter(Protocol):
    """Writes secrets to one manager, where a ``SecretProvider`` of the same name reads them by the same references.

    Labels are small facts that are no secrets: lower-case letters, digits, ``-`` and ``_``. Nothing ever gives a value back.
    """

    def create(self, ref: SecretRef, value: bytes, labels: Mapping[str, str], cancel: CancelToken) -> None:
        """A new secret. Raises ``SecretExists``; one that was deleted and is still kept by the manager is made anew."""
        ...

    def update(self, ref: SecretRef, value: bytes, labels: Mapping[str, str], cancel: CancelToken) -> None:
        """Another value for a secret that is there. Raises ``SecretNotFound``."""
        ...

    def describe(self, ref: SecretRef, cancel: CancelToken) -> StoredSecret:
        """Everything but the value. Raises ``SecretNotFound``."""
        ...

    def delete(self, ref: SecretRef, cancel: CancelToken) -> None:
        """Nobody can read it any more. Raises ``SecretNotFound``."""
        ...

    def list(self, within: SecretRef, cancel: CancelToken) -> Iterator[StoredSecret]:
        """Every secret whose name begins with that of ``within``, in no promised order."""
        ...

    def close(self, cancel: CancelToken) -> None:
        """Ends the session, where the manager has sessions."""
        ...
