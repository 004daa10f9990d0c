"""The SIGTERM latch. Imports only ``os``, ``signal`` and ``time``, so that it is armed before anything else is loaded.

A signal is remembered, never acted upon in the handler: work polls the latch through a cancel token, and the sidecar takes
SIGTERM for one witness of how the task ended. A second SIGINT is a person who does not want to wait: it interrupts at once.
"""

from __future__ import annotations

import os
import signal
import time

#: Environment variable with the control directory, where ``ARMED`` is written.
CONTROL_DIR = "COPILOT_CONTROL_DIR"
#: Marker that says SIGTERM is handled; the startup probe reads it.
ARMED = "ARMED"


class Latch:
    """Remembers the first signal. Any thread may ask or wait; waiting costs no processor."""

    def __init__(self) -> None:
        self._received = 0
        self._again = 0
        self._received_s = 0.0
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self.armed_error: OSError | None = None
        """Why ``ARMED`` could not be written, for the command line to report."""

    @property
    def received(self) -> int:
        """The number of the first signal, 0 before it."""
        return self._received

    @property
    def received_s(self) -> float:
        """When it came, in ``time.monotonic`` seconds; 0 before it."""
        return self._received_s

    @property
    def again(self) -> int:
        """The number of the last signal after the first, 0 before it: somebody asks once more."""
        return self._again

    def is_set(self) -> bool:
        """Whether a signal came."""
        return self._received != 0

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks until a signal comes, at most ``timeout`` seconds; True if one did."""
        if self._received:
            return True
        import select  # noqa: PLC0415 - only who waits pays for it: arming comes before every import

        poller = select.poll()
        poller.register(self._reader, select.POLLIN)
        poller.poll(None if timeout is None else max(0, int(timeout * 1000 + 0.999)))
        return self.is_set()

    def set(self, number: int) -> None:
        """What the handler does; also for code that wants to stop as if a signal had come."""
        if self._received:
            self._again = number
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self._received_s = time.monotonic()  # before the number: who sees that one finds the time
        self._received = number
        os.write(self._writer, b"x")


def arm(argv: list[str], environ: os._Environ[str] | dict[str, str]) -> Latch:
    """Handles SIGTERM and SIGINT from here on and, for a sidecar, writes ``ARMED`` into the control directory."""
    latch = Latch()

    def handle(number: int, _frame: object) -> None:
        latch.set(number)

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    if "sidecar" in argv:
        directory = _control_dir(argv) or environ.get(CONTROL_DIR, "")
        if directory:
            try:
                _mark(directory)
            except OSError as error:
                latch.armed_error = error
    return latch


def _control_dir(argv: list[str]) -> str:
    found = ""
    for index, argument in enumerate(argv):
        if argument == "--":
            break
        if argument == "--control-dir" and index + 1 < len(argv):
            found = argv[index + 1]
        elif argument.startswith("--control-dir="):
            found = argument.partition("=")[2]
    return found


def _mark(directory: str) -> None:
    os.makedirs(directory, exist_ok=True)  # noqa: PTH103 - pathlib would be an import before the signals are armed
    path = directory.rstrip("/") + "/" + ARMED
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.close(descriptor)
