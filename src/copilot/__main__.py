"""Arms the signals, then imports and runs the command line."""

from __future__ import annotations

import os
import sys

from copilot import signals


def main() -> int:
    """The entry point of both executables; returns the exit code."""
    latch = signals.arm(sys.argv, os.environ)
    from copilot.cli.entry import run  # noqa: PLC0415 - the signals are armed before anything else is imported

    return run(sys.argv, latch)


if __name__ == "__main__":
    sys.exit(main())
