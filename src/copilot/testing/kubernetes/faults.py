"""Faults of the API double, set by tests."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field

from copilot.testing.kubernetes.errors import ApiError


@dataclass
class Faults:
    """What goes wrong, and what was asked.

    Attributes:
        calls: how often each ``<verb> <plural[/subresource]>`` was asked for.
        duplicate_events: every event of a watch is sent twice.
    """

    calls: Counter[str] = field(default_factory=Counter)
    duplicate_events: bool = False
    _refusals: deque[tuple[str, ApiError]] = field(default_factory=deque)
    _dropped: int = 0
    _logs_to_break: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def refuse(self, times: int, *, code: int = 429, retry_after_s: int | None = 1, verb: str = "", message: str = "") -> None:
        """The next calls (of that verb, or all) are answered with this code and message."""
        reasons = {429: "TooManyRequests", 403: "Forbidden", 401: "Unauthorized", 504: "Timeout"}
        error = ApiError(
            code, reasons.get(code, "InternalError"), message or f"told to answer {code}", retry_after_s=retry_after_s
        )
        with self._lock:
            self._refusals.extend([(verb, error)] * times)

    def drop_watches(self) -> None:
        """Cuts every open watch, in the middle of its stream."""
        with self._lock:
            self._dropped += 1

    def break_logs(self, times: int) -> None:
        """Cuts the next logs after their first piece."""
        with self._lock:
            self._logs_to_break += times

    def breaks_log(self) -> bool:
        """Whether the log that is asked for now is to be cut."""
        with self._lock:
            broken = self._logs_to_break > 0
            self._logs_to_break -= broken
            return broken

    @property
    def drops(self) -> int:
        """How often watches were cut."""
        return self._dropped

    def meet(self, verb: str, resource: str) -> None:
        """One call. Raises the refusal that is meant for it."""
        with self._lock:
            self.calls[f"{verb} {resource}"] += 1
            if self._refusals and self._refusals[0][0] in {"", verb}:
                raise self._refusals.popleft()[1]
