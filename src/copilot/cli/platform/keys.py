"""``copilot keys``: the keys that a server's own secrets are encrypted with, listed and rotated beside its database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from copilot.cli.platform.beside_database import database_command
from copilot.cli.remote.access import show_rows

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.control_plane.db.database import Database
    from copilot.control_plane.vault import Vault

SECRET_KEYS: Final = "COPILOT_SECRET_KEYS"  # noqa: S105 - a variable's name


def _keys(session: Session, database: Database, given: dict[str, Any]) -> None:
    vault = _vault(session, given)
    if given["rotate"]:
        _rotate(session, database, vault)
    show_rows(_rows(database, vault), as_json=given["as_json"])


def _vault(session: Session, given: dict[str, Any]) -> Vault:
    from copilot.control_plane.settings import ServerSettings, default_data  # noqa: PLC0415 - the server's packages, when wanted
    from copilot.control_plane.vault import open_vault  # noqa: PLC0415 - as above

    texts = tuple(session.configuration.environ.get(SECRET_KEYS, "").split())
    for text in texts:
        session.redactor.register(text.encode())
    data = Path(given["data"]) if given["data"] else default_data()
    return open_vault(ServerSettings(data=data, secret_keys=texts))


def _rotate(session: Session, database: Database, vault: Vault) -> None:
    from copilot.control_plane.key_rotation import rotate  # noqa: PLC0415 - as above

    done = rotate(database, vault)
    begun = "an earlier rotation was brought to its end: " if done.resumed else ""
    gone = f"; {len(done.forgotten)} older keys are gone" if done.forgotten else ""
    session.log.event("keys.rotated", key=done.key, secrets=done.secrets, forgotten=len(done.forgotten))
    click.echo(f"{begun}{done.secrets} secrets were encrypted anew, and all are under key {done.key}{gone}", err=True)


def _rows(database: Database, vault: Vault) -> list[dict[str, object]]:
    from copilot.control_plane.keys import key_id  # noqa: PLC0415 - as above

    under = database.read_now(vault.under)
    rows: list[dict[str, object]] = []
    for key in vault.keys.read():
        use = "decrypts" if rows else "encrypts"
        rows.append({"key": key_id(key), "use": use, "secrets": under.pop(key_id(key), 0)})
    return rows + [{"key": key, "use": "missing", "secrets": count} for key, count in sorted(under.items())]


command = database_command(
    "keys",
    _keys,
    [
        click.Option(["--rotate"], is_flag=True, help="Encrypt every secret with another key, and forget the older ones."),
    ],
    text="List the keys that a server's own secrets are encrypted with, by names that say nothing of them, or rotate them. "
    "Works on its database, with or without the server running; begun again after an interruption it goes on where it was. "
    f"Where {SECRET_KEYS} gives the keys, --rotate encrypts everything with its first one.",
    example="copilot keys --data ./copilot-data --rotate",
)
