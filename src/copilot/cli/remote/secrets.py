"""``copilot secrets set``, ``list`` and ``delete``: the secrets that a server keeps for a project's tasks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from copilot.cli.people import completer
from copilot.cli.remote.access import remote_command, show_rows
from copilot.core.errors import BadFlag
from copilot.engine.atomic import local_errors

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.control_plane.client import ControlPlaneClient


def _set(session: Session, client: ControlPlaneClient, given: dict[str, Any]) -> int:
    value = _value(given["file"])
    session.redactor.register(value)
    client.set_secret(given["name"], value)
    return 0


def _value(file: str | None) -> bytes:
    """The file's bytes, or standard input's; from a terminal a line that is not shown. Never an argument: those are seen."""
    if file is not None:
        with local_errors(Path(file), op="read"):
            value = Path(file).read_bytes()
    elif sys.stdin.isatty():
        value = str(click.prompt("Value", hide_input=True, err=True)).encode()
    else:
        value = sys.stdin.buffer.read()
    if not value:
        raise BadFlag("the secret's value is empty", op="flags", hint="Give it on standard input, or with --file.")
    return value


def _list(_session: Session, client: ControlPlaneClient, given: dict[str, Any]) -> int:
    show_rows(client.secrets(), as_json=given["as_json"])
    return 0


def _delete(_session: Session, client: ControlPlaneClient, given: dict[str, Any]) -> int:
    client.delete_secret(given["name"])
    return 0


set_command = remote_command(
    "set",
    _set,
    [
        click.Argument(["name"]),
        click.Option(
            ["--file"], metavar="FILE", shell_complete=completer("FILE"), help="Its value; else standard input, byte for byte."
        ),
    ],
    text="Give a server's secret NAME a value, or another one. Tasks of the project may ask for it; nobody can read it back.",
    example='printf %s "$KEY" | copilot secrets set signing_key\n  copilot submit --secret signing_key …',
)
list_command = remote_command(
    "list",
    _list,
    [],
    text="List the secrets that a server keeps for a project: names and dates, never values.",
    example="copilot secrets list",
)
delete_command = remote_command(
    "delete",
    _delete,
    [click.Argument(["name"])],
    text="Delete a server's secret NAME. Tasks that ask for it fail from now on.",
    example="copilot secrets delete signing_key",
)
