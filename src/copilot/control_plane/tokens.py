"""Bearer tokens: shown once, stored as a hash, good for all projects or for one, and revocable.

A token is ``cop_<id>_<secret>``: the id finds the row, the secret is compared with its hash. A running task's pod has a
token of its own, which ends with its attempt.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from copilot.control_plane.api.callers import Caller
from copilot.control_plane.db.models import Action, Attempt, Run, Token
from copilot.control_plane.errors import NoSuchResource, NotAuthenticated
from copilot.control_plane.lifecycle.claims import token_hash

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from copilot.control_plane.db.database import Database, Unit

_PREFIX: Final = "cop"
_PARTS: Final = 3
_FILE_MODE: Final = 0o600


def create_token(unit: Unit, name: str, *, project: str = "", now: float) -> str:
    """Makes a token and returns its text, which nobody can have again."""
    if project:
        from copilot.control_plane.runs import require_project  # noqa: PLC0415 - only here

        require_project(unit.session, project)
    identifier, secret = secrets.token_hex(6), secrets.token_urlsafe(24).replace("_", "-")
    unit.session.add(Token(id=identifier, name=name[:255], hash=_hash(secret), project=project, created_at=now))
    return f"{_PREFIX}_{identifier}_{secret}"


def revoke_token(unit: Unit, identifier: str, *, now: float) -> None:
    """From now on the token is good for nothing. Raises ``NoSuchResource``."""
    row = unit.session.get(Token, identifier, with_for_update=True)
    if row is None:
        raise NoSuchResource(f"there is no token {identifier!r}")
    row.revoked_at = row.revoked_at or now


def list_tokens(session: Session) -> Sequence[Token]:
    """Every token ever made, the newest first; their texts are not known."""
    return session.scalars(select(Token).order_by(Token.created_at.desc())).all()


def first_token(database: Database, path: Path, *, now: float) -> bool:
    """Makes a token for everything if there is none yet, and leaves it in a file of mode 0600; False when there was one."""

    def make(unit: Unit) -> str:
        if unit.session.scalars(select(Token).limit(1)).first() is not None:
            return ""
        return create_token(unit, "admin", now=now)

    text = database.write_now(make)
    if text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE), "w") as file:  # noqa: PTH123 - the mode from the start
            file.write(text + "\n")
    return bool(text)


class Authenticator:
    """Turns an ``Authorization`` header into a caller.

    Args:
        database: where tokens are.
        required: without a good token nobody is let in.
    """

    def __init__(self, database: Database, *, required: bool) -> None:
        self._database = database
        self._required = required

    async def __call__(self, header: str) -> Caller:
        """Raises ``NotAuthenticated``. Where tokens are not required, a wrong one is refused nevertheless."""
        kind, _, text = header.partition(" ")
        text = text.strip()
        if not header:
            if self._required:
                raise NotAuthenticated("a bearer token is needed")
            return Caller()
        if kind.lower() != "bearer" or not text:
            raise NotAuthenticated("the Authorization header holds no bearer token")
        caller = await self._database.read(lambda session: find_caller(session, text))
        if caller is None:
            raise NotAuthenticated("the bearer token is unknown, revoked or has ended")
        return caller


def find_caller(session: Session, text: str) -> Caller | None:
    """Whose token this is, or None."""
    parts = text.split("_")
    if len(parts) == _PARTS and parts[0] == _PREFIX:
        row = session.get(Token, parts[1])
        if row is None or row.revoked_at is not None or not hmac.compare_digest(row.hash, _hash(parts[2])):
            return None
        return Caller(row.name, row.project, known=True)
    found = find_attempt_token(session, text)
    if found is None:
        return None
    _, action, run = found
    return Caller(f"{run.name}/{action.name}", run.project, known=True, domain=run.domain, run=run.name)


def find_attempt_token(session: Session, text: str) -> tuple[Attempt, Action, Run] | None:
    """The live attempt whose pod has this token, or None."""
    row = session.execute(
        select(Attempt, Action, Run)
        .join(Action, Action.id == Attempt.action_id)
        .join(Run, Run.id == Action.run_id)
        .where(Attempt.token_hash == token_hash(text), Attempt.ended_at.is_(None))
    ).one_or_none()
    return (row[0], row[1], row[2]) if row is not None else None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
