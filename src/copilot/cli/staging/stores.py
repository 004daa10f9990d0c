"""``copilot stores``."""

from __future__ import annotations

import json

import click

from copilot.cli.people import PeopleCommand
from copilot.stores.registry import installed


def _stores(*, as_json: bool) -> None:
    rows = [{"scheme": scheme, "installed": not hint, "hint": hint} for scheme, hint in sorted(installed().items())]
    if as_json:
        click.echo(json.dumps(rows))
        return
    width = max(len(str(row["scheme"])) for row in rows)
    for row in rows:
        click.echo(f"{row['scheme']:<{width}}  {'ready' if row['installed'] else row['hint']}")


command = PeopleCommand(
    "stores",
    callback=_stores,
    params=[click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document.")],
    help="List the schemes of URIs, and for each whether it can be opened or what to install.",
    example="copilot stores",
)
