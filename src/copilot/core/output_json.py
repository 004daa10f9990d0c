"""JSON texts of outputs: reading them strictly, and turning objects into protobuf's ``Struct``."""

from __future__ import annotations

import json
from math import isfinite
from typing import TypeAlias

from copilot.core import idl
from copilot.core.output_place import Place, misfit, shown

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


def parse_json(place: Place, literal_type: idl.LiteralType, text: str, *, hint: str = "") -> JsonValue:
    """One JSON value, and nothing after it.

    Raises:
        BadOutput: the text is not JSON (``NaN`` and ``Infinity`` are not), is nested too deeply, or holds a number of more than
            4,300 digits.
    """
    try:
        value: JsonValue = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as cause:
        problem = f"{shown(text)} is not JSON (line {cause.lineno}, column {cause.colno}: {cause.msg})"
        raise misfit(place, literal_type, problem, hint=hint) from cause
    except ValueError as cause:
        raise misfit(place, literal_type, f"there is a number that JSON does not have ({cause})", hint=hint) from cause
    except RecursionError as cause:
        raise misfit(place, literal_type, "the JSON is nested too deeply", hint=hint) from cause
    return value


def json_kind(value: JsonValue) -> str:
    """What a JSON value is, for messages."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {shown(value)}"
        case list():
            return f"a list of {len(value)}"
        case _:
            return f"an object with {len(value)} keys"


def generic(place: Place, literal_type: idl.LiteralType, value: JsonValue) -> idl.Literal:
    """A ``Struct`` literal of a JSON object. Its numbers are 64-bit floats: integers beyond 2**53 lose their last digits.

    Raises:
        BadOutput: the value is no object, or a number in it does not fit.
    """
    if not isinstance(value, dict):
        raise misfit(place, literal_type, f"there is {json_kind(value)}", hint='Write one JSON object: {"value": …}.')
    literal = idl.Literal()
    struct = literal.scalar.generic
    struct.SetInParent()
    try:
        _fill(struct, value)
    except OverflowError as cause:
        raise misfit(place, literal_type, "a number does not fit a 64-bit float", hint="Write it as a text.") from cause
    except RecursionError as cause:
        raise misfit(place, literal_type, "the JSON is nested too deeply", hint="Write it as a file.") from cause
    return literal


def clean_text(text: str) -> str:
    r"""The text as protobuf can carry it: half a surrogate pair (``"\ud800"`` alone) becomes U+FFFD, as in Go."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _fill(struct: idl.Struct, value: dict[str, JsonValue]) -> None:
    for key, item in value.items():
        _set(struct.fields[clean_text(key)], item)


def _set(target: idl.Value, value: JsonValue) -> None:
    match value:
        case None:
            target.null_value = 0
        case bool():
            target.bool_value = value
        case int() | float():
            number = float(value)
            if not isfinite(number):
                raise OverflowError
            target.number_value = number
        case str():
            target.string_value = clean_text(value)
        case list():
            target.list_value.SetInParent()
            for item in value:
                _set(target.list_value.values.add(), item)
        case _:
            target.struct_value.SetInParent()
            _fill(target.struct_value, value)


def _refuse(word: str) -> float:
    raise ValueError(word)
