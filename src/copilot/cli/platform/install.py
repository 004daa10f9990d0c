"""``copilot install``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from copilot.cli.people import PeopleCommand
from copilot.core.errors import BadFlag, LocalIOError
from copilot.engine.atomic import local_errors
from copilot.wrapper.install import InstallError, install
from copilot.wrapper.single_file import write_single_file


def _install(
    *, directory: str, mounted_at: str, single_file: bool, only_exec: bool, extra: tuple[str, ...], as_json: bool
) -> None:
    if (only_exec or extra) and not single_file:
        hint = "Add --single-file; the directory holds exec and probe, and nothing else."
        raise BadFlag("--only-exec and --extra say what goes into a single file", op="flags", subject="install", hint=hint)
    place = Path(directory)
    try:
        with local_errors(place):
            if single_file:
                done = write_single_file(place, only_exec=only_exec, extras=extra)
            else:
                done = install(place, mounted_at=mounted_at)
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
            help="Write one executable file called DIR with all of the data plane, for a Dockerfile's COPY; it brings its own "
            "Python, and needs sh, tar and gzip where it runs.",
        ),
        click.Option(["--only-exec"], is_flag=True, help="With --single-file: exec and probe alone, in a seventh of the size."),
        click.Option(
            ["--extra"],
            multiple=True,
            metavar="NAME",
            help="With --single-file: another extra that is installed here, such as aws; vault and templates go in anyway.",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document."),
    ],
    help="Copy into DIR all that copilot exec needs, so that a container of any image can run it from there: no Python, no "
    "shell and no C library of its own is needed. Prints what to write before `exec -- COMMAND`; where there is a shell, "
    "DIR/copilot does the same. A second run does nothing.",
    example="copilot install /var/run/copilot/bin",
)
