"""JSON as Go's ``encoding/json`` writes it, byte for byte: ``inputs.json``, and the text of untyped ``Struct`` inputs.

What differs from Python's own: keys in byte order, no blanks, ``<`` ``>`` ``&`` and the two Unicode line separators escaped,
all other text as it is, floats in the shortest form with an exponent only below 1e-6 and from 1e21 on. Source: the
documentation of ``encoding/json`` (https://pkg.go.dev/encoding/json#Marshal).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from math import isfinite
from typing import Final, TypeAlias

from copilot.core.gotext import format_float

Value: TypeAlias = "bool | int | float | str | Sequence[Value] | Mapping[str, Value] | None"
"""A plain value: what stands in ``inputs.json`` and ``inputs.yaml``."""

_EXPONENT_BELOW: Final = 1e-6
_EXPONENT_FROM: Final = 1e21
_HTML: Final = re.compile("[<>&\u2028\u2029]")


def to_json(value: Value) -> str:
    """One line without a line feed at its end.

    Raises:
        ValueError: a float that is NaN or infinite: JSON has no word for it.
    """
    return "".join(_pieces(value))


def json_string(text: str) -> str:
    """The text as a JSON string, in its quotes."""
    quoted: str = encode_basestring(text)
    return _HTML.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


def json_float(value: float) -> str:
    """The shortest number that reads back as the same float.

    Raises:
        ValueError: NaN or infinite.
    """
    if not isfinite(value):
        raise ValueError(f"{format_float(value)} cannot be written as JSON")
    if value == 0 or _EXPONENT_BELOW <= abs(value) < _EXPONENT_FROM:
        return format_float(value)
    return exponent_form(value).replace("e-0", "e-")


def exponent_form(value: float) -> str:
    """``1.5e+300``, ``1e-07``: the shortest digits, a sign and at least two digits in the exponent."""
    mantissa, _, exponent = repr(value).partition("e")
    if exponent:
        return f"{mantissa.removesuffix('.0')}e{exponent}"
    # Python writes this one without an exponent: its digits are the shortest already, only the point has to move.
    sign, digits = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
    whole, _, fraction = digits.partition(".")
    joined = whole + fraction
    significant = joined.lstrip("0")
    power = len(whole) - 1 - (len(joined) - len(significant))
    significant = significant.rstrip("0") or "0"
    point = f".{significant[1:]}" if len(significant) > 1 else ""
    return f"{sign}{significant[0]}{point}e{power:+03d}"


def _pieces(value: Value) -> Iterator[str]:
    if value is None:
        yield "null"
    elif isinstance(value, bool):
        yield "true" if value else "false"
    elif isinstance(value, str):
        yield json_string(value)
    elif isinstance(value, int):
        yield str(value)
    elif isinstance(value, float):
        yield json_float(value)
    elif isinstance(value, Mapping):
        yield from _object(value)
    else:
        yield from _array(value)


def _object(value: Mapping[str, Value]) -> Iterator[str]:
    separator = "{"
    for key in sorted(value):
        yield f"{separator}{json_string(key)}:"
        yield from _pieces(value[key])
        separator = ","
    yield "}" if value else "{}"


def _array(value: Sequence[Value]) -> Iterator[str]:
    separator = "["
    for item in value:
        yield separator
        yield from _pieces(item)
        separator = ","
    yield "]" if value else "[]"
