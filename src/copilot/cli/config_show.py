"""``copilot config show``."""

from __future__ import annotations

import json

import click

from copilot import config
from copilot.cli.people import Invocation, PeopleCommand


@click.pass_obj
def _show(invocation: Invocation, *, as_json: bool) -> None:
    facts = config.printable(invocation.open().configuration)
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    import yaml  # noqa: PLC0415 - only to print it for people

    click.echo(yaml.safe_dump(facts, allow_unicode=True, sort_keys=False), nl=False)


_show_command = PeopleCommand(
    "show",
    callback=_show,
    params=[click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document.")],
    help="Print what flags, environment and files come to. Secrets are shown as ***.",
    example="copilot config show --config '/etc/flyte/copilot/*.yaml'",
)

command = click.Group(
    "config",
    commands={"show": _show_command},
    help="Look at the configuration.",
    epilog="\b\nExample:\n  copilot config show --endpoint http://127.0.0.1:9000",
)
