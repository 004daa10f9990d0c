"""``copilot install``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from copilot.cli.people import PeopleCommand
from copilot.core.errors import LocalIOError
from copilot.engine.atomic import local_errors
from copilot.wrapper.install import InstallError, install
from copilot.wrapper.single_file import write_single_file


def _install(*, directory: str, mounted_at: str, single_file: bool, as_json: bool) -> None:
    try:
        with local_errors(Path(directory)):
            place = Path(directory)
            done = write_single_file(place) if single_file else install(place, mounted_at=mounted_at)
    except InstallError as error:
        raise LocalIOError(str(error), op="install", subject=directory, hint="Use copilot's own image for this.") from error
    if as_json:
        facts = {"argv": done.argv, "size_bytes": done.size_bytes, "files": done.files, "changed": done.changed}
        click.echo(json.dumps(facts))
        return
    click.echo(shlex.join(done.argv))


command = PeopleCommand(
    "install",
    callback=_install,
    params=[
        click.Argument(["directory"], metavar="DIR"),
        click.Option(["--mounted-at"], default="", metavar="PATH", help="Where the task's container sees DIR, if elsewhere."),
        click.Option(
            ["--single-file"],
            is_flag=True,
            help="Write one executable file called DIR, for a Dockerfile's COPY; it needs sh, tar and gzip where it runs.",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document."),
    ],
    help="Copy into DIR all that copilot exec needs, so that a container of any image can run it from there: no Python, no "
    "shell and no C library of its own is needed. Prints what to write before `exec -- COMMAND`; where there is a shell, "
    "DIR/copilot does the same. A second run does nothing.",
    example="copilot install /var/run/copilot/bin",
)
