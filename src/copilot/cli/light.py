"""The commands that are read without click, as click shows them: ``exec`` and ``probe``.

``copilot exec`` and ``copilot probe`` never come here (``__main__`` runs them at once); with global flags before the name, and
for help, they do.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import click

from copilot.wrapper import options, probe, run


class LightCommand(click.Command):
    """Passes its arguments on as they are; its help is the command's own."""

    def __init__(self, name: str, usage: str, main: Callable[[list[str], dict[str, str]], int]) -> None:
        """See the class."""
        settings = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
        arguments = click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)
        super().__init__(name, context_settings=settings, params=[arguments], callback=self._go)
        self._usage = usage
        self._main = main

    def _go(self, arguments: tuple[str, ...]) -> int:
        return self._main(list(arguments), dict(os.environ))

    def get_help(self, ctx: click.Context) -> str:  # noqa: ARG002 - click's signature
        """Its own text."""
        return self._usage


exec_command = LightCommand("exec", options.USAGE, run.main)
probe_command = LightCommand("probe", probe.USAGE, probe.main)
