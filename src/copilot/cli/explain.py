"""``copilot explain``."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from copilot.cli.people import PeopleCommand
from copilot.cli.reasons import reasons
from copilot.config.nearest import did_you_mean
from copilot.core.errors import BadFlag


def _explain(*, code: str | None, as_json: bool) -> None:
    known = reasons()
    if code is None:
        click.echo(json.dumps([asdict(one) for one in known.values()]) if as_json else "\n".join(known))
        return
    if code not in known:
        hint = did_you_mean(code, known) or "copilot explain lists them all."
        raise BadFlag(f"there is no reason code {code!r}", op="explain", subject=code, hint=hint)
    one = known[code]
    if as_json:
        click.echo(json.dumps(asdict(one)))
        return
    retried = "yes, until the time was over" if one.retried else "no: it would not have helped"
    click.echo(f"{one.code} (exit code {one.exit_code}, the {one.fault}'s)\n")
    click.echo(f"What happened:  {one.cause.replace(chr(96), '')}.\nWhat to do:     {one.cure}\nTried again:    {retried}.")


command = PeopleCommand(
    "explain",
    callback=_explain,
    params=[
        click.Argument(["code"], required=False),
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document."),
    ],
    help="Say what the reason code CODE of a failure means and what to do; without one, list them all.",
    example="copilot explain StoreUnreachable",
)
