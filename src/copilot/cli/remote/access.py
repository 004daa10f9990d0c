"""What the commands that speak to a server have in common: where it is, who we are, and how rows are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from copilot.cli.people import Invocation, PeopleCommand
from copilot.core.errors import BadFlag, CopilotError
from copilot.engine.cancel import Token

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.control_plane.client import ControlPlaneClient

SERVER: Final = "COPILOT_SERVER"
TOKEN: Final = "COPILOT_TOKEN"  # noqa: S105 - a variable's name
DEFAULT_SERVER: Final = "http://127.0.0.1:8090"

Work = Callable[["Session", "ControlPlaneClient", dict[str, Any]], int]

OPTIONS: Final[Sequence[Callable[[], click.Option]]] = (
    lambda: click.Option(["--server"], metavar="URL", help=f"The server; {SERVER}, else {DEFAULT_SERVER}."),
    lambda: click.Option(["--project"], default="flytesnacks", show_default=True, metavar="NAME", help="The project."),
    lambda: click.Option(["--domain"], default="development", show_default=True, metavar="NAME", help="The domain."),
    lambda: click.Option(["--json", "as_json"], is_flag=True, help="Print JSON; so it is where there is no terminal."),
)


def remote_command(name: str, work: Work, params: Sequence[click.Parameter], *, text: str, example: str) -> PeopleCommand:
    """A command that does ``work`` with a client of the server."""

    @click.pass_obj
    def callback(invocation: Invocation, /, **given: Any) -> int:  # noqa: ANN401 - the options, by their names
        session = invocation.open()
        try:
            return work(session, _client(session, given), given)
        except CopilotError as error:
            return session.fail(error)
        finally:
            session.close()

    options = [make() for make in OPTIONS]
    return PeopleCommand(name, callback=callback, params=[*params, *options], help=text, example=example)


def _client(session: Session, given: Mapping[str, Any]) -> ControlPlaneClient:
    from copilot.control_plane.client import ControlPlaneClient  # noqa: PLC0415 - a second of imports, when it is wanted

    environ = session.configuration.environ
    token = environ.get(TOKEN, "")
    if token:
        session.redactor.register(token.encode())
        if not token.isascii() or not token.isprintable() or " " in token:
            raise BadFlag(f"{TOKEN} is no token", op="flags", hint="Take one of copilot tokens --create NAME, on one line.")
    return ControlPlaneClient(
        _url(given["server"] or environ.get(SERVER) or DEFAULT_SERVER),
        project=given["project"],
        domain=given["domain"],
        token=token,
        cancel=Token(session.clock, latch=session.latch, why="we were asked to stop; the run goes on"),
        away=lambda why: click.echo(f"{why}; asking again for a minute", err=True),
    )


def _url(text: str) -> str:
    parts = urlsplit(text)
    try:
        there = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        there = False
    if not there:
        raise BadFlag(
            f"{text!r} is no URL of a server", op="flags", subject="--server", hint=f"Write it like {DEFAULT_SERVER}."
        )
    return text.rstrip("/")


def show_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """A table on a terminal, a JSON document a row elsewhere."""
    if as_json or not sys.stdout.isatty():
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
        return
    if not rows:
        click.echo("there are none", err=True)
        return
    from rich.console import Console  # noqa: PLC0415 - a terminal only
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(box=None, pad_edge=False)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        table.add_column(column.upper())
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    Console().print(table)


def show_facts(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """One thing: YAML on a terminal, JSON elsewhere."""
    from copilot.cli.staging.show import in_words  # noqa: PLC0415 - YAML, when it is wanted

    click.echo(in_words(dict(facts), as_json=as_json or not sys.stdout.isatty()), nl=False)
