"""``copilot tokens``: bearer tokens, made and revoked beside the server's database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from copilot.cli.platform.beside_database import database_command
from copilot.cli.remote.access import show_rows
from copilot.core.errors import BadFlag

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.control_plane.db.database import Database


def _tokens(session: Session, database: Database, given: dict[str, Any]) -> None:
    from copilot.control_plane import tokens  # noqa: PLC0415 - the server's own packages, when they are wanted

    _check(given)
    now = session.clock.now_s()
    if given["create"]:
        made = database.write_now(
            lambda unit: tokens.create_token(unit, given["create"], project=given["project"] or "", now=now)
        )
        click.echo(made)
        return
    if given["revoke"]:
        database.write_now(lambda unit: tokens.revoke_token(unit, given["revoke"], now=now))
    rows = [
        {
            "id": token.id,
            "name": token.name,
            "project": token.project or "(all)",
            "created": datetime.fromtimestamp(token.created_at, UTC).isoformat(timespec="seconds"),
            "state": "revoked" if token.revoked_at else "good",
        }
        for token in database.read_now(tokens.list_tokens)
    ]
    show_rows(rows, as_json=given["as_json"])


def _check(given: dict[str, Any]) -> None:
    """Raises ``BadFlag`` for what would be half done: nobody must believe a token revoked that is not."""
    if given["create"] is not None and given["revoke"] is not None:
        raise BadFlag("--create and --revoke are two commands", op="flags", hint="Do one after the other.")
    if given["project"] and given["create"] is None:
        raise BadFlag("--project goes with --create", op="flags", subject="--project", hint="Give the new token's name.")
    for flag in ("create", "revoke"):
        if given[flag] is not None and not given[flag].strip():
            raise BadFlag(f"--{flag} needs a name that is not empty", op="flags", subject=f"--{flag}")


command = database_command(
    "tokens",
    _tokens,
    [
        click.Option(["--create"], metavar="NAME", help="Make a token and print it: it cannot be printed again."),
        click.Option(["--project"], metavar="ID", help="With --create: good for this project only."),
        click.Option(["--revoke"], metavar="ID", help="Make a token good for nothing."),
    ],
    text="List a server's bearer tokens, make one, or revoke one. Works on its database, with or without the server running.",
    example="copilot tokens --data ./copilot-data --create alice --project my-project",
)
