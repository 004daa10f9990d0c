"""From arguments to an exit code: decides whose command line this is, and loads no more than that needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from copilot.cli.arguments import flags
from copilot.cli.arguments.pflag import command_index

if TYPE_CHECKING:
    from copilot.cli.session import Latch

DROP_IN_NAME: Final = "flyte-copilot"
DROP_IN_VARIABLE: Final = "COPILOT_DROP_IN"
_PIPE_CLOSED: Final = 141  # what a shell reports for SIGPIPE


def is_drop_in(argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether we go by the reference's name: by ``argv[0]``, a variable, or a flag."""
    if PurePath(argv[0]).name == DROP_IN_NAME:
        return True
    if environ.get(DROP_IN_VARIABLE, "") not in {"", "0", "false"}:
        return True
    own = argv[1 : argv.index("--")] if "--" in argv else argv[1:]
    return "--drop-in" in own or "--drop-in=true" in own


def run(argv: Sequence[str], latch: Latch) -> int:
    """Runs the command line; gives the exit code. Never raises."""
    try:
        code = _run(list(argv), latch, os.environ)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has gone (`copilot show … | head`): that is its right, and nothing to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    return code


def _run(argv: list[str], latch: Latch, environ: Mapping[str, str]) -> int:
    drop_in = is_drop_in(argv, environ)
    arguments, dry_run = argv[1:], False
    table = flags.table("", drop_in=drop_in)
    index = command_index(arguments, table)
    if index >= 0 and arguments[index] == "plan" and not _wants_help(arguments):
        # `copilot plan` stands before a whole command line of a pod: one that Flyte wrote can be pasted after it.
        following = arguments[:index] + arguments[index + 1 :]
        inner = command_index(following, table)
        if inner >= 0 and following[inner] in flags.POD_COMMANDS:
            arguments, index, dry_run = following, inner, True
    command = arguments[index] if index >= 0 else ""
    if command in flags.POD_COMMANDS and not _wants_help(arguments):
        from copilot.cli.pods import commands as pod  # noqa: PLC0415 - each personality loads only its own

        del arguments[index]
        return pod.run(command, arguments + ["--dry-run"] * dry_run, latch, environ, drop_in=drop_in)
    from copilot.cli import people  # noqa: PLC0415 - click, for everything else

    return people.run(arguments, latch, environ, drop_in=drop_in)


def _wants_help(arguments: Sequence[str]) -> bool:
    before_dashes = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--help" in before_dashes or "-h" in before_dashes
