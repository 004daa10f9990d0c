"""``copilot completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from copilot.cli.people import PeopleCommand, group

SHELLS = ("bash", "fish", "zsh")


def _completion(shell: str) -> None:
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - the argument is a choice of shells that click knows
    click.echo(found(group(), {}, "copilot", "_COPILOT_COMPLETE").source())


command = PeopleCommand(
    "completion",
    callback=_completion,
    params=[click.Argument(["shell"], type=click.Choice(SHELLS))],
    help="Print the completion script of SHELL: bash, zsh or fish.",
    example='eval "$(copilot completion bash)"',
)
