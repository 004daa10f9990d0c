"""``copilot show``."""

from __future__ import annotations

import json
from typing import Final

import click

from copilot.cli.people import Invocation, PeopleCommand, completer
from copilot.cli.staging import messages
from copilot.core.uri import redact

_UNFOLDED: Final = 2**31  # a sentence is one line: it can be searched for, and a terminal folds by itself


@click.pass_obj
def _show(invocation: Invocation, *, uri: str, as_json: bool, kind: str) -> None:
    session = invocation.open()
    data = session.transfer.read(uri, session.token())
    name = redact(uri).rstrip("/").rpartition("/")[2]
    session.close()
    click.echo(in_words(messages.read_message(data, name=name, kind=kind), as_json=as_json), nl=False)


def in_words(facts: dict[str, object], *, as_json: bool) -> str:
    """Plain values as YAML, or as one line of JSON."""
    if as_json:
        return json.dumps(facts, ensure_ascii=False) + "\n"
    import yaml  # noqa: PLC0415 - only to print it for people

    return yaml.safe_dump(facts, allow_unicode=True, sort_keys=False, width=_UNFOLDED) if facts else "{}\n"


command = PeopleCommand(
    "show",
    callback=_show,
    params=[
        click.Argument(["uri"], shell_complete=completer("URI")),
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document."),
        click.Option(
            ["--kind"],
            type=click.Choice(messages.KINDS),
            default="auto",
            help="What the message is; auto goes by the name: an error document, JSON, else literals.",
        ),
    ],
    help="Print what lies at URI (or a local path) as plain values: an inputs.pb, an outputs.pb, an error document, a "
    "_manifest.json or a _receipt.json.",
    example="copilot show s3://bucket/run/outputs.pb --json",
)
