"""Secrets at rest: AES-256-GCM with a key that is not in the database, bound to the secret's own name.

Keys come from the server's settings (an environment variable, a mounted file) or, embedded, from a file of mode 0600 under
the data directory that is made at the first start. Several keys may be there at once: the first encrypts, each decrypts what
it encrypted. ``rotate`` encrypts everything anew under the first one, after which the others may go.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import select

from copilot.control_plane.db.models import Secret
from copilot.control_plane.errors import InvalidRequest, NoSuchResource, ResourceExists
from copilot.core.errors import BadConfig, SecretCorrupt

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from copilot.control_plane.db.database import Unit

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_FILE_MODE: Final = 0o600


class Vault:
    """Encrypts, stores, finds and decrypts secrets.

    Args:
        keys: of 32 bytes each, the one that encrypts first.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise BadConfig(
                f"secrets need at least one key, each of {KEY_BYTES} bytes", hint="openssl rand -base64 32 makes one."
            )
        self._current = _key_id(keys[0])
        self._keys = {_key_id(key): AESGCM(key) for key in keys}

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
        for scope in ((project, domain), ("", domain), ("", "")):
            row = find(session, (*scope, name))
            if row is not None:
                return self.open(row)
        return None

    def open(self, row: Secret) -> bytes:
        """The value. Raises ``SecretCorrupt`` when no key fits or the row was tampered with."""
        cipher = self._keys.get(row.key_id)
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

    def rotate(self, unit: Unit) -> int:
        """Encrypts everything that another key encrypted with the first one; how many secrets that were."""
        rows = unit.session.scalars(select(Secret).where(Secret.key_id != self._current).with_for_update()).all()
        for row in rows:
            self._seal(row, self.open(row))
        return len(rows)

    def _seal(self, row: Secret, value: bytes) -> None:
        nonce = os.urandom(_NONCE_BYTES)
        row.key_id = self._current
        row.ciphertext = nonce + self._keys[self._current].encrypt(nonce, value, _bound_to(row))


def find(session: Session, secret: tuple[str, str, str]) -> Secret | None:
    """The row of ``(project, domain, name)``, exactly there."""
    project, domain, name = secret
    query = select(Secret).where(Secret.project == project, Secret.domain == domain, Secret.name == name)
    return session.scalars(query).one_or_none()


def keys_of(texts: Sequence[str]) -> list[bytes]:
    """Keys as settings spell them: base64 of 32 bytes. Raises ``InvalidRequest`` without quoting one."""
    try:
        return [base64.b64decode(text.strip(), validate=True) for text in texts]
    except ValueError as cause:
        raise InvalidRequest("a secret key is not base64", hint="openssl rand -base64 32 makes one.") from cause


def embedded_keys(path: Path) -> list[bytes]:
    """The keys of a file, a line each, the newest first; made with a fresh one if it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = base64.b64encode(os.urandom(KEY_BYTES)).decode() + "\n"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE), "w") as file:  # noqa: PTH123 - the mode from the start
            file.write(fresh)
    return keys_of([line for line in path.read_text().splitlines() if line.strip()])


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"copilot-key-id" + key).hexdigest()[:12]


def _bound_to(row: Secret) -> bytes:
    return f"{row.project}\x00{row.domain}\x00{row.name}".encode()
