"""``copilot outputs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from copilot.cli.remote.access import remote_command, show_facts
from copilot.cli.staging import messages

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.control_plane.client import ControlPlaneClient


def _outputs(_session: Session, client: ControlPlaneClient, given: dict[str, Any]) -> int:
    show_facts(messages.plain_literals(client.outputs(given["run"])), as_json=given["as_json"])
    return 0


command = remote_command(
    "outputs",
    _outputs,
    [click.Argument(["run"])],
    text="Print RUN's outputs as plain values; files and directories as their URIs.",
    example="copilot outputs rg8chmbtl6rzft8pd8b4 --json",
)
