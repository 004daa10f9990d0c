"""``copilot describe``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from copilot.cli.remote.access import remote_command, show_facts

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.control_plane.client import ControlPlaneClient


def _describe(_session: Session, client: ControlPlaneClient, given: dict[str, Any]) -> int:
    show_facts(client.describe(given["run"]), as_json=given["as_json"])
    return 0


command = remote_command(
    "describe",
    _describe,
    [click.Argument(["run"])],
    text="Say everything of RUN: its phase, its attempts, and what was said of them.",
    example="copilot describe rg8chmbtl6rzft8pd8b4",
)
