"""``copilot projects``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from copilot.cli.remote.access import remote_command, show_rows

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.control_plane.client import ControlPlaneClient


def _projects(_session: Session, client: ControlPlaneClient, given: dict[str, Any]) -> int:
    if given["create"]:
        client.create_project(given["create"], given["name"] or given["create"])
    show_rows(client.projects(), as_json=given["as_json"])
    return 0


command = remote_command(
    "projects",
    _projects,
    [
        click.Option(["--create"], metavar="ID", help="Make a project first."),
        click.Option(["--name"], metavar="TEXT", help="The new project's name."),
    ],
    text="List the projects, after making one if asked.",
    example="copilot projects --create my-project",
)
