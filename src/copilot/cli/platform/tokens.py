"""``copilot tokens``: bearer tokens, made and revoked beside the server's database."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from copilot.cli.people import Invocation, PeopleCommand
from copilot.cli.platform import database_url
from copilot.cli.remote.access import show_rows
from copilot.core.errors import BadFlag, CopilotError

if TYPE_CHECKING:
    from copilot.control_plane.db.database import Database


@click.pass_obj
def _tokens(invocation: Invocation, /, **given: Any) -> int:  # noqa: ANN401 - the options, by their names
    session = invocation.open()
    try:
        database = open_database(given, session.configuration.environ)
        try:
            _do(database, given, now=session.clock.now_s())
        finally:
            database.close()
    except CopilotError as error:
        return session.fail(error)
    finally:
        session.close()
    return 0


def _do(database: Database, given: dict[str, Any], *, now: float) -> None:
    from copilot.control_plane import tokens  # noqa: PLC0415 - the server's own packages, when they are wanted

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


def open_database(given: Mapping[str, Any], environ: Mapping[str, str]) -> Database:
    """The database of the server that ``--data`` and ``--database`` mean. Raises ``BadFlag`` where there is none."""
    from copilot.control_plane.db.database import Database  # noqa: PLC0415 - as above
    from copilot.control_plane.hub import Hub  # noqa: PLC0415 - as above
    from copilot.control_plane.settings import ServerSettings, default_data  # noqa: PLC0415 - as above

    data = Path(given["data"]) if given["data"] else default_data()
    settings = ServerSettings(data=data, database=database_url.database_url(given["database"], environ))
    if not settings.database and not (data / "copilot.db").exists():
        raise BadFlag(
            f"there is no server's data in {data}", op="flags", subject="--data", hint="Give the server's own --data."
        )
    return Database(settings.database_url, Hub())


command = PeopleCommand(
    "tokens",
    callback=_tokens,
    params=[
        click.Option(["--data"], metavar="DIR", help="The server's --data."),
        click.Option(["--database"], metavar="URL", help="The server's --database, or COPILOT_DATABASE."),
        click.Option(["--create"], metavar="NAME", help="Make a token and print it: it cannot be printed again."),
        click.Option(["--project"], metavar="ID", help="With --create: good for this project only."),
        click.Option(["--revoke"], metavar="ID", help="Make a token good for nothing."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print JSON; so it is where there is no terminal."),
    ],
    help="List a server's bearer tokens, make one, or revoke one. Works on its database, with or without the server running.",
    example="copilot tokens --data ./copilot-data --create alice --project my-project",
)
