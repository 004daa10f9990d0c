"""Projects' secrets in a secret manager: this server writes them there, and the pods of tasks read them there themselves.

The names are Flyte's (``core.flyte_secrets``), so that what Flyte's own secret service has written is listed and found as
well. This server's identity needs no right to read a value, and it never does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from copilot.control_plane.errors import NoSuchResource, ResourceExists
from copilot.control_plane.secret_store import KeptSecret, Place
from copilot.core.errors import BadSecretRef, SecretExists, SecretNotFound
from copilot.core.flyte_secrets import FlyteSecrets, stored_ref, stored_scope
from copilot.core.secret_ports import SecretRef
from copilot.engine.cancel import Token
from copilot.engine.retry import Retrier, RetryPolicy

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken, Clock, Log
    from copilot.core.secret_ports import SecretWriter, StoredSecret

T = TypeVar("T")

PATIENCE_S: Final = 20.0
"""Seconds in which a manager that throttles or does not answer is asked again; a client waits meanwhile."""

_AT_ONCE: Final = 8
_TYPE: Final = "copilot-type"


class ManagedSecrets:
    """See ``SecretStore``.

    Args:
        writer: writes to the manager.
        platform: which manager, and how secrets are named there.
        clock, log: as everywhere.
        patience_s: how long a manager that is away is asked again.
    """

    def __init__(
        self, writer: SecretWriter, platform: FlyteSecrets, *, clock: Clock, log: Log, patience_s: float = PATIENCE_S
    ) -> None:
        self._writer, self._platform, self._clock = writer, platform, clock
        self._patience_s = patience_s
        policy = RetryPolicy(deadline_s=patience_s / 2, first_contact_s=patience_s / 2, max_wait_s=2.0)
        self._retrier = Retrier(policy, clock=clock, log=log)
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def put(self, place: Place, value: bytes, *, kind: int, replace: bool) -> None:
        """See ``SecretStore``."""
        ref, labels = self._ref(place), {_TYPE: str(kind)}
        write = self._writer.update if replace else self._writer.create
        try:
            await self._ask("update" if replace else "create", place, lambda cancel: write(ref, value, labels, cancel))
        except SecretExists as cause:
            raise ResourceExists(
                f"secret {place[2]} exists already", hint="Delete it first, or choose another name."
            ) from cause

    async def find(self, place: Place) -> KeptSecret:
        """See ``SecretStore``."""
        ref = self._ref(place)
        return _kept(place, await self._ask("describe", place, lambda cancel: self._writer.describe(ref, cancel)))

    async def delete(self, place: Place) -> None:
        """See ``SecretStore``."""
        ref = self._ref(place)
        await self._ask("delete", place, lambda cancel: self._writer.delete(ref, cancel))

    async def list(self, project: str, domain: str, *, offset: int, limit: int) -> Sequence[KeptSecret]:
        """See ``SecretStore``. Managers do not sort, so every page looks at all names."""
        within = self._within()

        def look(cancel: CancelToken) -> list[tuple[Place, StoredSecret]]:
            found = []
            for each in self._writer.list(within, cancel):
                scope = stored_scope(self._platform, each.name)
                if scope is not None and (not project or scope[0] == project) and (not domain or scope[1] == domain):
                    found.append((scope, each))
            return sorted(found, key=lambda pair: (pair[0][2], pair[0]))

        page = (await self._ask("list", ("", "", ""), look))[offset : offset + limit]
        return [
            # What the list does not say is asked for what is shown.
            await self.find(scope) if each.created_at_s is None else _kept(scope, each)
            for scope, each in page
        ]

    async def missing(self, project: str, domain: str, keys: Collection[str]) -> str | None:
        """See ``SecretStore``: the pod finds out, with an identity that may read."""
        del project, domain, keys
        return None

    async def value(self, project: str, domain: str, key: str) -> bytes | None:
        """See ``SecretStore``: nothing, ever."""
        del project, domain, key
        return None

    def _ref(self, place: Place) -> SecretRef:
        return stored_ref(self._platform, *place)

    def _within(self) -> SecretRef:
        """What the names of all scopes begin with."""
        one, other = stored_ref(self._platform, "", "", "a"), stored_ref(self._platform, "", "x", "a")
        length = next(at for at, (ours, theirs) in enumerate(zip(one.name, other.name, strict=False)) if ours != theirs)
        return SecretRef(one.provider, one.name[:length], one.key, None, one.options)

    async def _ask(self, op: str, place: Place, work: Callable[[CancelToken], T]) -> T:
        cancel = Token(self._clock, timeout_s=self._patience_s)
        subject = "/".join(part for part in place if part)

        def ask() -> T:
            return self._retrier.call(lambda: work(cancel), cancel=cancel, op=f"secret.{op}", subject=subject)

        async with self._slots:
            try:
                return await asyncio.to_thread(ask)
            except SecretNotFound as cause:
                raise NoSuchResource(f"secret {place[2]} not found") from cause
            except BadSecretRef as cause:
                raise BadSecretRef(
                    f"{self._platform.embedded_in} cannot have a secret called {place[2]} in this scope: {cause.message}",
                    op=op,
                    subject=subject,
                    hint="Choose a shorter name.",
                ) from cause


def _kept(place: Place, stored: StoredSecret) -> KeptSecret:
    kind = stored.labels.get(_TYPE, "0")
    return KeptSecret(place, int(kind) if kind.isdecimal() else 0, stored.created_at_s)
