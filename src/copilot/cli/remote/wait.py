"""``copilot wait``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from copilot.cli.remote.access import remote_command, show_facts
from copilot.core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from copilot.cli.session import Session
    from copilot.control_plane.client import ControlPlaneClient

_CODES = {
    "SUCCEEDED": ExitCode.OK,
    "FAILED": ExitCode.TASK,
    "TIMED_OUT": ExitCode.DEADLINE,
    "ABORTED": ExitCode.INTERRUPTED,
}


def exit_code(run: Mapping[str, Any]) -> int:
    """What a run's end is as an exit code."""
    return _CODES.get(run["phase"], ExitCode.CONTROL_PLANE)


def _wait(_session: Session, client: ControlPlaneClient, given: dict[str, Any]) -> int:
    run = client.wait(given["run"], lambda phase: click.echo(f"{given['run']}: {phase}", err=True))
    show_facts(run, as_json=given["as_json"])
    return exit_code(run)


command = remote_command(
    "wait",
    _wait,
    [click.Argument(["run"])],
    text="Wait for RUN's end, and tell its phases on standard error meanwhile. "
    "The exit code is 0 if it succeeded, 23 if it failed, 26 timed out, 130 if it was aborted.",
    example="copilot wait rg8chmbtl6rzft8pd8b4",
)
