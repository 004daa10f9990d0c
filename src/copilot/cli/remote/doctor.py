"""``copilot doctor``: looks at a server from outside and says what to mend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from copilot.cli.remote.access import remote_command, show_rows
from copilot.core.errors import CopilotError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from copilot.cli.session import Session
    from copilot.control_plane.client import ControlPlaneClient


def _doctor(_session: Session, client: ControlPlaneClient, given: dict[str, Any]) -> int:
    checks: dict[str, Callable[[], str]] = {
        "server": lambda: client.health("/healthz"),
        "database": lambda: client.health("/readyz"),
        "identity": client.whoami,
        "project": client.check_project,
        "store": client.check_store,
        "executor": (lambda: client.check_executor(given["image"]))
        if given["run"]
        else lambda: "not tried; --run submits a task",
    }
    rows, failed = [], False
    for what, check in checks.items():
        try:
            rows.append({"check": what, "state": "ok", "said": check()})
        except CopilotError as error:
            failed = True
            rows.append({"check": what, "state": "FAILED", "said": error.sentence()})
    show_rows(rows, as_json=given["as_json"])
    return ExitCode.CONTROL_PLANE if failed else ExitCode.OK


command = remote_command(
    "doctor",
    _doctor,
    [
        click.Option(["--run"], is_flag=True, help="Also run a task that does nothing."),
        click.Option(["--image"], metavar="IMAGE", default="busybox", show_default=True, help="The image of that task."),
    ],
    text="Check a server: that it answers, its database, who we are to it, its store and, with --run, its executor.",
    example="copilot doctor --run\n  copilot doctor --run --image registry.example/team/alpine:3.20",
)
