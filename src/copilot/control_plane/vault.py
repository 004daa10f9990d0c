"""Secrets at rest: AES-256-GCM with a key that is not in the database, bound to the secret's own name.

Keys come from the server's settings (an environment variable, a mounted file) or, embedded, from a file of mode 0600 under
the data directory that is made at the first start. Several keys may be there at once: the first encrypts, each decrypts what
it encrypted. ``key_rotation`` encrypts everything anew under a fresh one, after which the others go.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import func, select

from copilot.control_plane.db.models import Secret
from copilot.control_plane.errors import NoSuchResource, ResourceExists
from copilot.control_plane.keys import FixedKeys, KeyFile, key_id, keys_of
from copilot.core.errors import SecretCorrupt

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from copilot.control_plane.db.database import Unit
    from copilot.control_plane.keys import Keys
    from copilot.control_plane.settings import ServerSettings

SECRET_KEYS: Final = "secret.keys"  # noqa: S105 - a file's name
_NONCE_BYTES: Final = 12


class Vault:
    """Encrypts, stores, finds and decrypts secrets.

    Args:
        keys: the one that encrypts first.
    """

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self._ciphers: dict[str, AESGCM] = {}
        self._current()

    def put(
        self, unit: Unit, secret: tuple[str, str, str], value: bytes, *, kind: int, now: float, replace: bool = False
    ) -> None:
        """Stores ``(project, domain, name)``. Raises ``ResourceExists``, with ``replace`` ``NoSuchResource`` instead."""
        project, domain, name = secret
        row = find(unit.session, secret)
        if row is None and replace:
            raise NoSuchResource(f"secret {name} not found")
        if row is not None and not replace:
            raise ResourceExists(f"secret {name} exists already", hint="Delete it first, or choose another name.")
        if row is None:
            row = Secret(project=project, domain=domain, name=name, created_at=now)
            unit.session.add(row)
        row.type, row.updated_at = kind, now
        self._seal(row, value)

    def resolve(self, session: Session, project: str, domain: str, name: str) -> bytes | None:
        """The value a task of this project and domain sees: its own, else the domain's, else everybody's; or None."""
        row = _nearest(session, project, domain, name)
        return None if row is None else self.open(row)

    def knows(self, session: Session, project: str, domain: str, name: str) -> bool:
        """Whether ``resolve`` would find it; nothing is decrypted."""
        return _nearest(session, project, domain, name) is not None

    def open(self, row: Secret) -> bytes:
        """The value. Raises ``SecretCorrupt`` when no key fits or the row was tampered with."""
        self._current()
        cipher = self._ciphers.get(row.key_id)
        if cipher is None:
            raise SecretCorrupt(
                f"secret {row.name} was encrypted with key {row.key_id}, which this server does not have",
                hint="Give the server that key as well, or store the secret anew.",
            )
        nonce, sealed = row.ciphertext[:_NONCE_BYTES], row.ciphertext[_NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, sealed, _bound_to(row))
        except InvalidTag as cause:
            raise SecretCorrupt(
                f"secret {row.name} cannot be decrypted: the row was changed", hint="Store the secret anew."
            ) from cause

    def under(self, session: Session) -> dict[str, int]:
        """How many secrets each key has encrypted, by the keys' names."""
        rows = session.execute(select(Secret.key_id, func.count()).group_by(Secret.key_id)).all()
        return {row[0]: row[1] for row in rows}

    def rotate(self, unit: Unit, *, most: int | None = None) -> int:
        """Encrypts what another key encrypted with the first one, ``most`` secrets at a time; how many that were."""
        current = self._current()
        query = select(Secret).where(Secret.key_id != current).order_by(Secret.id).limit(most).with_for_update()
        rows: Sequence[Secret] = unit.session.scalars(query).all()
        for row in rows:
            self._seal(row, self.open(row))
        return len(rows)

    def _seal(self, row: Secret, value: bytes) -> None:
        nonce = os.urandom(_NONCE_BYTES)
        row.key_id = self._current()
        row.ciphertext = nonce + self._ciphers[row.key_id].encrypt(nonce, value, _bound_to(row))

    def _current(self) -> str:
        """The name of the key that encrypts. A key that has gone from the file still decrypts what was read before that."""
        keys = self.keys.read()
        for key in keys:
            self._ciphers.setdefault(key_id(key), AESGCM(key))
        return key_id(keys[0])


def open_vault(settings: ServerSettings) -> Vault:
    """Secrets at rest under the keys of the settings, else of the file below ``data``."""
    if settings.secret_keys:
        return Vault(FixedKeys(keys_of(settings.secret_keys)))
    return Vault(KeyFile(settings.data / SECRET_KEYS))


def find(session: Session, secret: tuple[str, str, str]) -> Secret | None:
    """The row of ``(project, domain, name)``, exactly there."""
    project, domain, name = secret
    query = select(Secret).where(Secret.project == project, Secret.domain == domain, Secret.name == name)
    return session.scalars(query).one_or_none()


def _nearest(session: Session, project: str, domain: str, name: str) -> Secret | None:
    rows = (find(session, (*scope, name)) for scope in ((project, domain), ("", domain), ("", "")))
    return next((row for row in rows if row is not None), None)


def _bound_to(row: Secret) -> bytes:
    return f"{row.project}\x00{row.domain}\x00{row.name}".encode()
