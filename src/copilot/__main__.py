"""Arms the signals, then imports and runs the command line."""

from __future__ import annotations

import os
import sys

_STDERR = 2
_INTERRUPTED = 130

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> int:
    """Runs the command line; returns the exit code."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    # Before any file of ours is opened; what exec starts finds closed what it would find closed without us.
    _complete_standard_files(inherited=command != "exec")
    # These two run beside the task, in its own time: they load nothing else, and take signals in their own way.
    if command == "exec":
        from copilot.wrapper import run as wrapper  # noqa: PLC0415 - only what is used

        return wrapper.main(sys.argv[2:], dict(os.environ))
    if command == "probe":
        from copilot.wrapper import probe  # noqa: PLC0415 - as above

        return probe.main(sys.argv[2:], dict(os.environ))
    from copilot import signals  # noqa: PLC0415 - as above

    latch = signals.arm(sys.argv, os.environ)
    from copilot.cli.entry import run  # noqa: PLC0415 - the signals are armed before anything else is imported

    return run(sys.argv, latch)


def _complete_standard_files(*, inherited: bool) -> None:
    """Whoever is started without a standard file writes to nobody: no file of ours gets its number, no line ends a command."""
    try:
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
            os.set_inheritable(descriptor, inherited)
        os.close(descriptor)
        for name, number in (("stdout", 1), ("stderr", _STDERR)):
            if getattr(sys, name) is None:
                setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False))
    except OSError:  # a root without /dev/null
        return


def entry_point() -> NoReturn:
    """What the installed executables call: ``main``, then the end of the process."""
    try:
        code = main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:  # a second Ctrl-C, before anything was there that could say so
        code = _INTERRUPTED
    _leave(code)


def _leave(code: int) -> NoReturn:
    """Ends the process: no wait for threads still inside a library, no word about pipes that nobody reads any more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(code)


if __name__ == "__main__":
    entry_point()
