"""``copilot version``."""

from __future__ import annotations

import json
import platform
from importlib import metadata

import click

from copilot import __version__
from copilot.cli.people import PeopleCommand

_PARTS = ("obstore", "protobuf", "flyteidl2", "click")


def _version(*, as_json: bool) -> None:
    facts = {"copilot": __version__, "python": platform.python_version()}
    facts.update((name, metadata.version(name)) for name in _PARTS)
    click.echo(json.dumps(facts) if as_json else "\n".join(f"{name} {version}" for name, version in facts.items()))


command = PeopleCommand(
    "version",
    callback=_version,
    params=[click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document.")],
    help="Print the version, and those of the parts that matter.",
    example="copilot version --json",
)
