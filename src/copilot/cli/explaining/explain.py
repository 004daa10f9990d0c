"""``copilot explain``: a reason code, or what became of one run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem

from copilot.cli.explaining.reasons import reasons
from copilot.cli.explaining.run_codes import RUN_CODES
from copilot.cli.people import Invocation, PeopleCommand
from copilot.config.nearest import did_you_mean
from copilot.core.errors import BadFlag

_TIMEOUT_S: Final = 60.0


@click.pass_obj
def _explain(invocation: Invocation, *, what: str | None, as_json: bool) -> None:
    known = reasons()
    if what is None:
        click.echo(json.dumps([asdict(one) for one in known.values()]) if as_json else "\n".join(known))
    elif what in known:
        _explain_code(what, as_json=as_json)
    elif what in RUN_CODES:
        _explain_run_code(what, as_json=as_json)
    elif "/" in what or Path(what).exists():
        _explain_place(invocation, what, as_json=as_json)
    else:
        hint = did_you_mean(what, [*known, *RUN_CODES]) or "copilot explain lists them all."
        raise BadFlag(f"there is no reason code {what!r}", op="explain", subject=what, hint=hint)


def _explain_code(code: str, *, as_json: bool) -> None:
    one = reasons()[code]
    if as_json:
        click.echo(json.dumps(asdict(one)))
        return
    retried = "yes, until the time was over" if one.retried else "no: it would not have helped"
    click.echo(f"{one.code} (exit code {one.exit_code}, the {one.fault}'s)\n")
    click.echo(f"What happened:  {one.cause.replace(chr(96), '')}.\nWhat to do:     {one.cure}\nTried again:    {retried}.")


def _explain_run_code(code: str, *, as_json: bool) -> None:
    one = RUN_CODES[code]
    if as_json:
        click.echo(json.dumps({"code": code, **asdict(one)}))
        return
    retried = f"yes, while there are {one.budget} retries left" if one.budget else "no"
    click.echo(f"{code} (how an attempt of a run ended)\n")
    click.echo(f"What happened:  {one.cause}.\nWhat to do:     {one.cure}\nTried again:    {retried}.")


def _explain_place(invocation: Invocation, uri: str, *, as_json: bool) -> None:
    from copilot.cli.explaining.account import account  # noqa: PLC0415 - a code needs neither stores nor messages
    from copilot.cli.explaining.evidence import gather  # noqa: PLC0415 - as above

    session = invocation.open()
    told = account(gather(uri, session=session, cancel=session.token(timeout_s=_TIMEOUT_S)))
    session.close()
    click.echo(json.dumps(told.fields(), ensure_ascii=False) if as_json else "\n".join(told.lines()))


def _complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    codes = [CompletionItem(code) for code in [*reasons(), *RUN_CODES] if incomplete and code.startswith(incomplete)]
    return codes or [CompletionItem(incomplete, type="file")]


command = PeopleCommand(
    "explain",
    callback=_explain,
    params=[
        click.Argument(["what"], required=False, shell_complete=_complete, metavar="[CODE|PREFIX|DIR]"),
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document."),
    ],
    help="Say what happened, why, and what to do: of a run, by its output prefix (or a file in it), its output directory or "
    "its control directory; of a failure, by its reason code. Without either, list the reason codes.",
    example="copilot explain s3://bucket/run\n  copilot explain StoreUnreachable",
)
