"""The event log: one JSON line an event for machines, one short line for people on a terminal. Both go to standard error.

Every line passes through the redactor. A log that cannot be written is dropped: telling people never makes the work fail.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from copilot.core.ports import Clock
    from copilot.telemetry.redact import Redactor

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "none": 100}


class Stream(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> object:
        """Writes whole lines."""
        ...

    def flush(self) -> None:
        """Hands them on."""
        ...


_COLOURS: Final = {"debug": "\033[2m", "info": "", "warning": "\033[33m", "error": "\033[31m"}


def rfc3339(seconds: float) -> str:
    """UTC with milliseconds, as log collectors parse it."""
    import time  # noqa: PLC0415 - builtin; only its formatting is used, never its clock

    whole = int(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((seconds - whole) * 1000):03d}Z"


class JsonLog:
    """One JSON object a line: ``time``, ``level``, ``event``, then the event's own fields.

    Args:
        stream: where lines go.
        clock: gives each line its time.
        redactor: masks secrets.
        level: the least level written: ``debug``, ``info``, ``warning``, ``error``, ``none``.
        context: fields that every line carries.
    """

    def __init__(
        self, stream: Stream, *, clock: Clock, redactor: Redactor, level: str = "info", context: Mapping[str, str] | None = None
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._redactor = redactor
        self._least = LEVELS[level]
        self._context = dict(context or {})
        self._lock = threading.Lock()

    def enabled(self, level: str) -> bool:
        """Whether an event of this level is written."""
        return LEVELS.get(level, LEVELS["info"]) >= self._least

    def event(self, name: str, /, *, level: str = "info", **fields: object) -> None:
        """Writes one event."""
        if self.enabled(level):
            self._write(self._line(name, level, fields))

    def _line(self, name: str, level: str, fields: Mapping[str, object]) -> str:
        record = {"time": rfc3339(self._clock.now_s()), "level": level, "event": name, **self._context, **fields}
        return json.dumps({key: _plain(value, self._redactor) for key, value in record.items()}, ensure_ascii=False)

    def _write(self, line: str) -> None:
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                return


class TextLog(JsonLog):
    """``event  field=value …`` for people; coloured by level if ``colour``."""

    def __init__(
        self,
        stream: Stream,
        *,
        clock: Clock,
        redactor: Redactor,
        level: str = "info",
        context: Mapping[str, str] | None = None,
        colour: bool = False,
    ) -> None:
        """As ``JsonLog``."""
        super().__init__(stream, clock=clock, redactor=redactor, level=level, context=context)
        self._colour = colour

    def _line(self, name: str, level: str, fields: Mapping[str, object]) -> str:
        if level == "error" and "message" in fields:
            return self._coloured(f"error: {_plain(fields['message'], self._redactor)} [{fields.get('reason', name)}]", level)
        parts = [name]
        for key, value in {**self._context, **fields}.items():
            plain = _plain(value, self._redactor)
            text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
            parts.append(text if key == "message" else f"{key}={text}")
        return self._coloured("  ".join(parts), level)

    def _coloured(self, line: str, level: str) -> str:
        colour = _COLOURS.get(level, "") if self._colour else ""
        return f"{colour}{line}\033[0m" if colour else line


def _plain(value: object, redactor: Redactor) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {redactor.mask(str(key)): _plain(inner, redactor) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner, redactor) for inner in value]
    return redactor.mask(str(value))
