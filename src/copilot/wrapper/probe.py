"""``copilot probe``: the sidecar's startup probe. It succeeds once SIGTERM is handled."""

from __future__ import annotations

import os

ARMED = "ARMED"
NOT_YET = 1
USAGE_ERROR = 2

USAGE = """Usage: copilot probe [--control-dir DIR]

  End with 0 once the sidecar handles SIGTERM (the file ARMED is in the control directory), with 1 before. A startup probe.

Options:
  --control-dir DIR  Default: $COPILOT_CONTROL_DIR.
  -h, --help         This text.

Example:
  copilot probe --control-dir /var/run/copilot
"""


def main(arguments: list[str], environ: dict[str, str]) -> int:
    """Looks once; gives the exit code."""
    directory = environ.get("COPILOT_CONTROL_DIR", "")
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name in {"-h", "--help"}:
            os.write(1, USAGE.encode())
            return 0
        if name != "--control-dir" or not (equals or rest):
            return _wrong(f"{name} cannot be understood. See copilot probe --help.")
        directory = value if equals else rest.pop(0)
    if not directory:
        return _wrong("no control directory was named. Give --control-dir, or set COPILOT_CONTROL_DIR.")
    if os.access(f"{directory}/{ARMED}", os.F_OK):
        return 0
    os.write(2, f"copilot probe: {directory}/{ARMED} is not there yet.\n".encode(errors="backslashreplace"))
    return NOT_YET


def _wrong(sentence: str) -> int:
    os.write(2, f"copilot probe: {sentence}\n".encode(errors="backslashreplace"))
    return USAGE_ERROR
