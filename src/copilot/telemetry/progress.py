"""Progress, told in the way that fits: log lines now and then, a file in the control directory, several at once.

The bar for a terminal is in ``telemetry.bar``: it alone imports rich.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from copilot.core.ports import Clock, Log, Progress

LOG_EVERY_S: Final = 10.0
FILE_EVERY_S: Final = 1.0


class Count:
    """What has moved so far: the base of everything that tells of it. Safe to use from many threads.

    Args:
        clock: says when the next telling is due.
        every_s: least seconds between two tellings.
    """

    def __init__(self, clock: Clock, every_s: float) -> None:
        """See the class."""
        self._clock = clock
        self._every_s = every_s
        self._lock = threading.Lock()
        self._started_s = clock.monotonic_s()
        self._due_s = self._started_s + every_s
        self.objects_planned = 0
        self.bytes_planned = 0
        self.objects = 0
        self.size_bytes = 0

    def planned(self, objects: int, size_bytes: int) -> None:
        """So much more is to come."""
        with self._lock:
            self.objects_planned += objects
            self.bytes_planned += size_bytes

    def moved(self, size_bytes: int) -> None:
        """Bytes have moved."""
        with self._lock:
            self.size_bytes += size_bytes
            if self._clock.monotonic_s() >= self._due_s:
                self._due_s = self._clock.monotonic_s() + self._every_s
                self.tell()

    def finished(self, subject: str, size_bytes: int) -> None:  # noqa: ARG002 - the port's signature
        """One object is done."""
        with self._lock:
            self.objects += 1

    def facts(self) -> dict[str, object]:
        """The numbers so far."""
        return {
            "objects": self.objects,
            "objects_planned": self.objects_planned,
            "bytes": self.size_bytes,
            "bytes_planned": self.bytes_planned,
            "seconds": round(self._clock.monotonic_s() - self._started_s, 3),
        }

    def tell(self) -> None:
        """Tells now."""

    def close(self) -> None:
        """The work is over."""


class LogProgress(Count):
    """A ``progress`` event at most every ten seconds."""

    def __init__(self, log: Log, clock: Clock, every_s: float = LOG_EVERY_S) -> None:
        """See the class."""
        super().__init__(clock, every_s)
        self._log = log

    def tell(self) -> None:
        """Writes one event."""
        self._log.event("progress", level="info", **self.facts())


class FileProgress(Count):
    """The numbers as JSON in a file, renamed into place at most once a second and at the end."""

    def __init__(self, path: Path, clock: Clock, every_s: float = FILE_EVERY_S) -> None:
        """See the class."""
        super().__init__(clock, every_s)
        self._path = path

    def tell(self) -> None:
        """Writes the file; a directory that cannot be written is no reason to stop the work."""
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            beside.write_text(json.dumps(self.facts()) + "\n")
            beside.replace(self._path)
        except OSError:
            return

    def close(self) -> None:
        """Writes the last numbers."""
        with self._lock:
            self.tell()


class Everybody:
    """Tells several."""

    def __init__(self, listeners: Sequence[Progress]) -> None:
        """See the class."""
        self._listeners = tuple(listeners)

    def planned(self, objects: int, size_bytes: int) -> None:
        """Passes it on."""
        for listener in self._listeners:
            listener.planned(objects, size_bytes)

    def moved(self, size_bytes: int) -> None:
        """Passes it on."""
        for listener in self._listeners:
            listener.moved(size_bytes)

    def finished(self, subject: str, size_bytes: int) -> None:
        """Passes it on."""
        for listener in self._listeners:
            listener.finished(subject, size_bytes)
