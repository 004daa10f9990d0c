"""The help of the commands that run in pods, made from the tables they are parsed with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem

from copilot.cli.arguments import flags
from copilot.cli.people import completer
from copilot.core.errors import BadFlag

if TYPE_CHECKING:
    from copilot.cli.arguments.pflag import Flag

_EXAMPLES: Final = {
    "download": (
        "copilot download --from-remote s3://bucket/in/inputs.pb --to-local-dir /var/flyte/inputs \\\n"
        "    --to-output-prefix s3://bucket/out"
    ),
    "init": "copilot init --inputs s3://bucket/in/inputs.pb --to /var/flyte/inputs",
    "sidecar": "copilot sidecar --outputs /var/flyte/outputs --to s3://bucket/out --raw s3://bucket/raw --interface BASE64",
}
_TEXTS: Final = {
    "download": "Stage the inputs that an inputs.pb lists, with the reference's own flags.",
    "init": "Stage typed inputs into a directory: files, directories, and every value as text. Nothing is visible there "
    "before all of it has been verified; a second run of a finished one does nothing.",
    "sidecar": "Wait until the task has ended, then publish its outputs: files first, outputs.pb last.",
}


def _option(flag: Flag) -> click.Option:
    names = [f"--{name}" for name in (flag.name, *flag.aliases)] + ([f"-{flag.short}"] if flag.short else [])
    words = flag.help
    if flag.choices:
        words += f" One of {', '.join(flag.choices)}."
    if flag.default:
        words += f" Default: {flag.default}."
    return click.Option(
        [*names, flag.name.replace("-", "_").replace(".", "_")],
        help=words,
        metavar=flag.metavar or None,
        is_flag=flag.is_switch,
        type=click.Choice(flag.choices) if flag.choices else None,
        shell_complete=completer(flag.metavar),
        expose_value=False,
    )


def _command(name: str) -> click.Command:
    return click.Command(
        name,
        params=[_option(flag) for flag in flags.POD_COMMANDS[name]],
        help=_TEXTS[name],
        epilog=f"Global flags (copilot --help) may stand before or after.\n\n\b\nExample:\n  {_EXAMPLES[name]}",
    )


def _plan_needs_a_command(words: tuple[str, ...]) -> None:
    said = (
        f"plan is for init, download and sidecar, not for {words[0]!r}" if words else "plan needs the command line to plan for"
    )
    raise BadFlag(
        said,
        op="flags",
        hint="Write it after plan: copilot plan init --inputs URI --to DIR.",
    )


def _pod_commands(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in flags.POD_COMMANDS if name.startswith(incomplete)]


download = _command("download")
init = _command("init")
sidecar = _command("sidecar")
plan = click.Command(
    "plan",
    callback=_plan_needs_a_command,
    params=[click.Argument(["words"], nargs=-1, type=click.UNPROCESSED, metavar="COMMAND...", shell_complete=_pod_commands)],
    context_settings={"ignore_unknown_options": True},
    help="Print, as JSON, what init, download or sidecar would do with the flags that follow, and move nothing.",
    epilog="\b\nExample:\n  copilot plan init --inputs s3://bucket/in/inputs.pb --to /tmp/inputs",
)
