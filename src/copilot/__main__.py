"""Arms the signals, then imports and runs the command line."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """The entry point of both executables; returns the exit code."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
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


if __name__ == "__main__":
    sys.exit(main())
