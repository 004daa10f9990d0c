"""Texts as Go's standard library writes and reads them: numbers, booleans, durations, RFC 3339 times.

Flyte's own tools are written in Go, so what stands in an input file, and what may stand in an output file, is what ``strconv``
and ``time`` say it is. Sources: the documentation of Go's ``strconv`` and ``time`` packages (https://pkg.go.dev).

Every ``parse_*`` raises ``ValueError`` with the end of a sentence (``"is not an integer"``); the caller knows the variable and
the path and raises the error people read. No ``parse_*`` trims anything.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isinf, isnan
from typing import Final

NANOS_PER_SECOND: Final = 1_000_000_000
INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1

_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": NANOS_PER_SECOND,
    "m": 60 * NANOS_PER_SECOND,
    "h": 3600 * NANOS_PER_SECOND,
}
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})

_INTEGER = re.compile(r"[+-]?[0-9]+")
_DIGITS = "[0-9](?:_?[0-9])*"
_DECIMAL_FLOAT = re.compile(rf"[+-]?(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?")
_HEX_DIGITS = "[0-9a-fA-F](?:_?[0-9a-fA-F])*"
_HEX_FLOAT = re.compile(rf"[+-]?0[xX](?:_?{_HEX_DIGITS}(?:\.(?:{_HEX_DIGITS})?)?|\.{_HEX_DIGITS})[pP][+-]?{_DIGITS}")
_SPECIAL_FLOAT = re.compile(r"[+-]?inf(?:inity)?|nan", re.IGNORECASE)
_DURATION_TERM = re.compile(r"(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?(?P<unit>[^0-9.]+)")
_TIMESTAMP = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})T"
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?"
    r"(?:Z|(?P<sign>[+-])(?P<zone_h>[0-9]{2}):(?P<zone_m>[0-9]{2}))"
)
_MOST_FRACTION_DIGITS: Final = 300  # beyond it even leading zeros say nothing a nanosecond could hold
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMESTAMP_MIN_S: Final = -62_135_596_800  # 0001-01-01T00:00:00Z
_TIMESTAMP_MAX_S: Final = 253_402_300_799  # 9999-12-31T23:59:59Z
_STAND_IN_YEAR: Final = 400
_GREGORIAN_YEAR_S: Final = 31_556_952  # the mean over 400 years, exactly
_MAX_ZONE_H: Final = 24
_MAX_ZONE_M: Final = 60


# --- numbers and booleans -------------------------------------------------------------------------------------------


def format_float(value: float) -> str:
    """The shortest decimal that reads back as the same number, never with an exponent; ``NaN``, ``+Inf``, ``-Inf``."""
    if isnan(value):
        return "NaN"
    if isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = format(Decimal(repr(value)), "f")
    return text.removesuffix(".0")


def format_bool(value: bool) -> str:  # noqa: FBT001 — the value is the argument
    """``true`` or ``false``."""
    return "true" if value else "false"


def parse_int(text: str) -> int:
    """A signed 64-bit decimal integer: an optional sign and digits, nothing else."""
    if not _INTEGER.fullmatch(text):
        raise ValueError("is not an integer")
    value = int(text) if len(text) <= 4000 else INT64_MAX + 1  # noqa: PLR2004 — Python refuses longer digit strings
    if not INT64_MIN <= value <= INT64_MAX:
        raise ValueError("does not fit a signed 64-bit integer")
    return value


def parse_float(text: str) -> float:
    """A 64-bit float: decimal, hexadecimal (``0x1p-2``), ``inf``, ``infinity``, ``nan`` in any case."""
    if _SPECIAL_FLOAT.fullmatch(text):
        return float(text)
    if _DECIMAL_FLOAT.fullmatch(text):
        value = float(text)  # Go and Python both take underscores between digits
    elif _HEX_FLOAT.fullmatch(text):
        try:
            value = float.fromhex(text.replace("_", ""))
        except OverflowError:
            value = float("inf")
    else:
        raise ValueError("is not a number")
    if isinf(value):
        raise ValueError("does not fit a 64-bit float")
    return value


def parse_bool(text: str) -> bool:
    """One of 1, t, T, true, TRUE, True, 0, f, F, false, FALSE, False."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("is not a boolean (true or false)")


# --- durations ------------------------------------------------------------------------------------------------------


def format_duration(nanoseconds: int) -> str:
    """``1h2m3.5s``: hours, minutes and seconds; below one second the unit that keeps the number above one; ``0s``."""
    if nanoseconds == 0:
        return "0s"
    sign = "-" if nanoseconds < 0 else ""
    rest = abs(nanoseconds)
    if rest < NANOS_PER_SECOND:
        unit = next(name for name in ("ms", "µs", "ns") if rest >= _UNITS[name])
        return f"{sign}{_scaled(rest, _UNITS[unit])}{unit}"
    minutes, rest = divmod(rest, _UNITS["m"])
    hours, minutes = divmod(minutes, 60)
    text = f"{_scaled(rest, NANOS_PER_SECOND)}s"
    if hours:
        text = f"{hours}h{minutes}m{text}"
    elif minutes:
        text = f"{minutes}m{text}"
    return sign + text


def _scaled(value: int, scale: int) -> str:
    whole, fraction = divmod(value, scale)
    digits = len(str(scale)) - 1
    return f"{whole}.{fraction:0{digits}d}".rstrip("0").rstrip(".") if fraction else str(whole)


def parse_duration(text: str) -> int:
    """Nanoseconds of ``1h2m3.5s``, ``90s``, ``1.5h``, ``-300ms``, ``0``; within a signed 64-bit integer."""
    body = text[1:] if text[:1] in {"+", "-"} else text
    negative = text.startswith("-")
    if body == "0":
        return 0
    total, position = 0, 0
    while position < len(body):
        match = _DURATION_TERM.match(body, position)
        if match is None or not (match["whole"] or match["fraction"]) or match["unit"] not in _UNITS:
            raise ValueError("is not a duration such as 1h30m, 90s or 1.5h")
        unit = _UNITS[match["unit"]]
        total += _bounded_int(match["whole"]) * unit + _fraction(match["fraction"] or "", unit)
        position = match.end()
    if position == 0:
        raise ValueError("is not a duration such as 1h30m, 90s or 1.5h")
    total = -total if negative else total
    if not INT64_MIN <= total <= INT64_MAX:
        raise ValueError("is a duration beyond 292 years")
    return total


def _fraction(digits: str, unit: int) -> int:
    """``0.<digits>`` of a unit in nanoseconds, in floating point and with as many digits as fit 63 bits: Go's own rounding."""
    used = 0
    while used < min(len(digits), _MOST_FRACTION_DIGITS) and int(digits[: used + 1]) <= INT64_MAX:
        used += 1
    return int(float(_bounded_int(digits[:used])) * (unit / 10.0**used))


def _bounded_int(digits: str) -> int:
    """The number, or one that is surely too large (Python refuses to read very long digit strings)."""
    return int(digits or "0") if len(digits) <= 40 else 10**40  # noqa: PLR2004 — any length beyond int64 will do


# --- times ----------------------------------------------------------------------------------------------------------


def format_timestamp(seconds: int, nanoseconds: int = 0) -> str:
    """RFC 3339 in UTC with as many decimals as are needed: ``2026-01-02T03:04:05.000000006Z``.

    Raises ``ValueError`` outside the years 1 to 9999 (the range of protobuf's ``Timestamp``).
    """
    _check_timestamp(seconds, nanoseconds)
    moment = _EPOCH + timedelta(seconds=seconds)
    text = f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}T{moment.hour:02d}:{moment.minute:02d}:{moment.second:02d}"
    return f"{text}.{nanoseconds:09d}".rstrip("0") + "Z" if nanoseconds else f"{text}Z"


def parse_timestamp(text: str) -> tuple[int, int]:
    """``(seconds since the epoch, nanoseconds)`` of an RFC 3339 time with any zone; digits beyond the ninth are dropped."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError("is not an RFC 3339 time such as 2026-01-02T03:04:05Z")
    zone_h, zone_m = int(match["zone_h"] or 0), int(match["zone_m"] or 0)
    if zone_h > _MAX_ZONE_H or zone_m > _MAX_ZONE_M:
        raise ValueError("has a time zone that does not exist")
    year = int(match["year"])
    try:
        # Python's calendar has no year 0; year 400 has the same days and stands in, for a zone may lift the time into year 1.
        day = datetime(year or _STAND_IN_YEAR, int(match["month"]), int(match["day"]), tzinfo=UTC)
        moment = day.replace(hour=int(match["hour"]), minute=int(match["minute"]), second=int(match["second"]))
    except ValueError as cause:
        raise ValueError("is not a time of the calendar") from cause
    seconds = (moment - _EPOCH) // timedelta(seconds=1) - (0 if year else _STAND_IN_YEAR * _GREGORIAN_YEAR_S)
    offset = zone_h * 3600 + zone_m * 60
    seconds -= -offset if match["sign"] == "-" else offset
    nanoseconds = int((match["fraction"] or "")[:9].ljust(9, "0"))
    _check_timestamp(seconds, nanoseconds)
    return seconds, nanoseconds


def _check_timestamp(seconds: int, nanoseconds: int) -> None:
    if not (_TIMESTAMP_MIN_S <= seconds <= _TIMESTAMP_MAX_S and 0 <= nanoseconds < NANOS_PER_SECOND):
        raise ValueError("is a time outside the years 1 to 9999")
