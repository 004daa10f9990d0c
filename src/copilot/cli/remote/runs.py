"""``copilot runs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from copilot.cli.remote.access import remote_command, show_rows

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.control_plane.client import ControlPlaneClient


def _runs(_session: Session, client: ControlPlaneClient, given: dict[str, Any]) -> int:
    show_rows(client.runs(given["limit"]), as_json=given["as_json"])
    return 0


command = remote_command(
    "runs",
    _runs,
    [click.Option(["--limit"], type=click.IntRange(1, 200), default=20, show_default=True, help="Most rows.")],
    text="List the newest runs of a project.",
    example="copilot runs --limit 5",
)
