"""``copilot abort``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from copilot.cli.remote.access import remote_command

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.control_plane.client import ControlPlaneClient


def _abort(_session: Session, client: ControlPlaneClient, given: dict[str, Any]) -> int:
    client.abort(given["run"], given["reason"])
    return 0


command = remote_command(
    "abort",
    _abort,
    [click.Argument(["run"]), click.Option(["--reason"], default="aborted from the command line", help="Why.")],
    text="Abort RUN and everything it has called. A run that has ended stays as it is.",
    example="copilot abort rg8chmbtl6rzft8pd8b4 --reason 'wrong input'",
)
