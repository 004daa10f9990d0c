"""``copilot logs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from copilot.cli.remote.access import remote_command

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.control_plane.client import ControlPlaneClient


def _logs(_session: Session, client: ControlPlaneClient, given: dict[str, Any]) -> int:
    for line in client.logs(given["run"], given["attempt"]):
        click.echo(line, nl=False)
    return 0


command = remote_command(
    "logs",
    _logs,
    [
        click.Argument(["run"]),
        click.Option(["--attempt"], type=click.IntRange(1), default=1, show_default=True, help="Which attempt."),
        click.Option(["-f", "--follow"], is_flag=True, help="Until the task ends; a running task's log is always followed."),
    ],
    text="Print RUN's log: live while it runs, from the store afterwards.",
    example="copilot logs -f rg8chmbtl6rzft8pd8b4",
)
