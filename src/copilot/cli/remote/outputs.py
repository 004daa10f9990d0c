"""``copilot outputs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from copilot.cli.remote.access import remote_command, show_facts
from copilot.cli.staging import messages

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.control_plane.client import ControlPlaneClient

_SUCCEEDED: Final = "SUCCEEDED"


def _outputs(_session: Session, client: ControlPlaneClient, given: dict[str, Any]) -> int:
    from copilot.control_plane.errors import Conflict  # noqa: PLC0415 - the client has loaded it by now

    run = client.describe(given["run"])
    if run["phase"] != _SUCCEEDED:
        hint = f"See how it went: copilot describe {run['run']}." if "seconds" in run else f"Wait: copilot wait {run['run']}."
        raise Conflict(f"run {run['run']} is {run['phase']}: it has no outputs", op="outputs", subject=run["run"], hint=hint)
    show_facts(messages.plain_literals(client.outputs(given["run"])), as_json=given["as_json"])
    return 0


command = remote_command(
    "outputs",
    _outputs,
    [click.Argument(["run"])],
    text="Print RUN's outputs as plain values; files and directories as their URIs. A run that has not succeeded has none.",
    example="copilot outputs rg8chmbtl6rzft8pd8b4 --json",
)
