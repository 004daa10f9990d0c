"""A log and a progress that remember what they were told, for assertions."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One event as it was logged."""

    name: str
    level: str
    fields: dict[str, object] = field(default_factory=dict)


class RecordingLog:
    """A ``Log`` that keeps every event."""

    def __init__(self) -> None:
        """Starts empty."""
        self._lock = threading.Lock()
        self.events: list[LogEvent] = []

    def event(self, name: str, /, *, level: str = "info", **fields: object) -> None:
        """Keeps the event."""
        with self._lock:
            self.events.append(LogEvent(name, level, dict(fields)))

    def named(self, name: str) -> list[LogEvent]:
        """The events called ``name``, in order."""
        with self._lock:
            return [event for event in self.events if event.name == name]


class RecordingProgress:
    """A ``Progress`` that adds up."""

    def __init__(self) -> None:
        """Starts at zero."""
        self._lock = threading.Lock()
        self.planned_objects = 0
        self.planned_bytes = 0
        self.moved_bytes = 0
        self.finished_subjects: list[str] = []

    def planned(self, objects: int, size_bytes: int) -> None:
        """Adds to what is to come."""
        with self._lock:
            self.planned_objects += objects
            self.planned_bytes += size_bytes

    def moved(self, size_bytes: int) -> None:
        """Adds to what has moved."""
        with self._lock:
            self.moved_bytes += size_bytes

    def finished(self, subject: str, size_bytes: int) -> None:  # noqa: ARG002 - the port gives the size; the subjects are what tests ask for
        """Keeps the object's name."""
        with self._lock:
            self.finished_subjects.append(subject)
