"""What the commands have in common that work on a server's database, with or without the server running."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from copilot.cli.people import Invocation, PeopleCommand
from copilot.cli.platform import database_url
from copilot.core.errors import BadFlag, CopilotError

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.control_plane.db.database import Database

Work = Callable[["Session", "Database", dict[str, Any]], None]


def database_command(name: str, work: Work, params: Sequence[click.Parameter], *, text: str, example: str) -> PeopleCommand:
    """A command that does ``work`` with the database that ``--data`` and ``--database`` mean."""

    @click.pass_obj
    def callback(invocation: Invocation, /, **given: Any) -> int:  # noqa: ANN401 - the options, by their names
        session = invocation.open()
        try:
            database = open_database(given, session.configuration.environ)
            try:
                database.reach()
                work(session, database, given)
            finally:
                database.close()
        except CopilotError as error:
            return session.fail(error)
        finally:
            session.close()
        return 0

    options = [
        click.Option(["--data"], metavar="DIR", help="The server's --data."),
        click.Option(["--database"], metavar="URL", help="The server's --database, or COPILOT_DATABASE."),
        *params,
        click.Option(["--json", "as_json"], is_flag=True, help="Print JSON; so it is where there is no terminal."),
    ]
    return PeopleCommand(name, callback=callback, params=options, help=text, example=example)


def open_database(given: Mapping[str, Any], environ: Mapping[str, str]) -> Database:
    """The database of the server that ``--data`` and ``--database`` mean. Raises ``BadFlag`` where there is none."""
    from copilot.control_plane.db.database import Database  # noqa: PLC0415 - the server's packages, when they are wanted
    from copilot.control_plane.hub import Hub  # noqa: PLC0415 - as above
    from copilot.control_plane.settings import ServerSettings, default_data  # noqa: PLC0415 - as above

    data = Path(given["data"]) if given["data"] else default_data()
    settings = ServerSettings(data=data, database=database_url.database_url(given["database"], environ))
    if not settings.database and not (data / "copilot.db").exists():
        raise BadFlag(
            f"there is no server's data in {data}", op="flags", subject="--data", hint="Give the server's own --data."
        )
    return Database(settings.database_url, Hub())
