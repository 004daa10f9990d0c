"""Who keeps the secrets of projects: this server's own database, or (``managed_secrets``) one of the managers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import select

from copilot.control_plane.db.models import Secret
from copilot.control_plane.errors import NoSuchResource
from copilot.control_plane.vault import find

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from copilot.control_plane.db.database import Database, Unit
    from copilot.control_plane.vault import Vault
    from copilot.core.ports import Clock

Place = tuple[str, str, str]
"""``(project, domain, name)``: without a project it is the domain's, without a domain everybody's."""


@dataclass(frozen=True, slots=True)
class KeptSecret:
    """A secret without its value.

    Attributes:
        place: whose it is, and its name.
        kind: ``secret.SecretType``.
        created_at_s: seconds since the epoch; None where nobody knows.
    """

    place: Place
    kind: int = 0
    created_at_s: float | None = None


class SecretStore(Protocol):
    """Keeps secrets. Values go in; they come out to the pods of tasks alone."""

    async def put(self, place: Place, value: bytes, *, kind: int, replace: bool) -> None:
        """A new secret, or with ``replace`` another value. Raises ``ResourceExists``, ``NoSuchResource``, ``SecretError``."""
        ...

    async def find(self, place: Place) -> KeptSecret:
        """Exactly that one. Raises ``NoSuchResource``, ``SecretError``."""
        ...

    async def delete(self, place: Place) -> None:
        """Forgets it. Raises ``NoSuchResource``, ``SecretError``."""
        ...

    async def list(self, project: str, domain: str, *, offset: int, limit: int) -> Sequence[KeptSecret]:
        """Those of a project, of a domain, or all of them, by name."""
        ...

    async def missing(self, project: str, domain: str, keys: Collection[str]) -> str | None:
        """One of ``keys`` that a task of that scope would not find; None: it finds all, or only its pod can know."""
        ...

    async def value(self, project: str, domain: str, key: str) -> bytes | None:
        """What a task of that scope gets from this server; None: nothing."""
        ...


class EmbeddedSecrets:
    """Encrypted in the server's own database.

    Args:
        database: it.
        vault: encrypts.
        clock: for the time of creation.
    """

    def __init__(self, database: Database, vault: Vault, clock: Clock) -> None:
        self._database, self._vault, self._clock = database, vault, clock

    async def put(self, place: Place, value: bytes, *, kind: int, replace: bool) -> None:
        """See the port."""
        now = self._clock.now_s()

        def put(unit: Unit) -> None:
            self._vault.put(unit, place, value, kind=kind, now=now, replace=replace)

        # Until it is written the key must not go.
        with await asyncio.to_thread(self._vault.keys.hold):
            await self._database.write(put)

    async def find(self, place: Place) -> KeptSecret:
        """See the port."""
        row = await self._database.read(lambda session: find(session, place))
        if row is None:
            raise NoSuchResource(f"secret {place[2]} not found")
        return _kept(row)

    async def delete(self, place: Place) -> None:
        """See the port."""

        def delete(unit: Unit) -> None:
            row = find(unit.session, place)
            if row is None:
                raise NoSuchResource(f"secret {place[2]} not found")
            unit.session.delete(row)

        await self._database.write(delete)

    async def list(self, project: str, domain: str, *, offset: int, limit: int) -> Sequence[KeptSecret]:
        """See the port."""
        query = select(Secret).order_by(Secret.name, Secret.id).offset(offset).limit(limit)
        query = query.where(Secret.project == project) if project else query
        query = query.where(Secret.domain == domain) if domain else query

        def look(session: Session) -> Sequence[Secret]:
            return session.scalars(query).all()

        return [_kept(row) for row in await self._database.read(look)]

    async def missing(self, project: str, domain: str, keys: Collection[str]) -> str | None:
        """See the port."""
        if not keys:
            return None

        def look(session: Session) -> str | None:
            return next((key for key in sorted(keys) if not self._vault.knows(session, project, domain, key)), None)

        return await self._database.read(look)

    async def value(self, project: str, domain: str, key: str) -> bytes | None:
        """See the port."""
        return await self._database.read(lambda session: self._vault.resolve(session, project, domain, key))


def _kept(row: Secret) -> KeptSecret:
    return KeptSecret((row.project, row.domain, row.name), row.type, row.created_at)
