"""A plain value as a scalar of a simple type: one function a type, each says whether the value fits. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Final

from copilot.core import idl
from copilot.core.gotext import parse_duration, parse_timestamp

#: Types whose text on a command line is the value, whatever it would be as JSON.
TEXTS: Final = frozenset({idl.SimpleType.STRING, idl.SimpleType.BINARY, idl.SimpleType.DATETIME, idl.SimpleType.DURATION})

#: How a value of a type is written, for messages.
FORMS: Final = {
    idl.SimpleType.BOOLEAN: "Write true or false.",
    idl.SimpleType.DATETIME: "Write it like 2026-01-02T03:04:05Z.",
    idl.SimpleType.DURATION: "Write it like 90s or 1h30m.",
    idl.SimpleType.BINARY: "Write the bytes in base64.",
    idl.SimpleType.STRUCT: 'Write it as JSON, like {"a": 1}.',
}

# In this order: to Python a boolean is an integer, and a datetime a date.
_LOOKS: Final[tuple[tuple[type, int], ...]] = (
    (type(None), idl.SimpleType.NONE),
    (bool, idl.SimpleType.BOOLEAN),
    (int, idl.SimpleType.INTEGER),
    (float, idl.SimpleType.FLOAT),
    (datetime, idl.SimpleType.DATETIME),
    (date, idl.SimpleType.STRING),
    (bytes, idl.SimpleType.BINARY),
    (str, idl.SimpleType.STRING),
)


def looks_like(value: object) -> int | None:
    """The simple type of what JSON and YAML know as such; None for everything else."""
    return next((simple for kind, simple in _LOOKS if isinstance(value, kind)), None)


def fill(scalar: idl.Scalar, value: object, simple: int) -> bool:
    """Makes ``scalar`` the ``value``, as one of the type ``simple``. False if it is no such value.

    Raises:
        UnicodeEncodeError: a text that cannot be written as UTF-8.
    """
    try:
        return simple in _FILL and _FILL[simple](scalar, value)
    except UnicodeEncodeError:
        raise
    except (ValueError, OverflowError):
        return False


def _integer(scalar: idl.Scalar, value: object) -> bool:
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    scalar.primitive.integer = value
    return True


def _float(scalar: idl.Scalar, value: object) -> bool:
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return False
    scalar.primitive.float_value = float(value)
    return True


def _string(scalar: idl.Scalar, value: object) -> bool:
    text = str(value) if isinstance(value, str | date) else json.dumps(value, ensure_ascii=False, default=str)
    scalar.primitive.string_value = text
    return True


def _boolean(scalar: idl.Scalar, value: object) -> bool:
    if not isinstance(value, bool):
        return False
    scalar.primitive.boolean = value
    return True


def _datetime(scalar: idl.Scalar, value: object) -> bool:
    if isinstance(value, datetime):  # YAML's own; without a zone it is UTC
        scalar.primitive.datetime.FromDatetime(value)
    else:
        scalar.primitive.datetime.seconds, scalar.primitive.datetime.nanos = parse_timestamp(str(value))
    return True


def _duration(scalar: idl.Scalar, value: object) -> bool:
    scalar.primitive.duration.FromNanoseconds(parse_duration(str(value)))
    return True


def _binary(scalar: idl.Scalar, value: object) -> bool:
    if not isinstance(value, bytes | str):
        return False
    scalar.binary.value = value if isinstance(value, bytes) else base64.b64decode(value, validate=True)
    return True


def _struct(scalar: idl.Scalar, value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    scalar.generic.update({str(key): item for key, item in value.items()})
    scalar.generic.SetInParent()
    return True


def _none(scalar: idl.Scalar, value: object) -> bool:
    if value is not None:
        return False
    scalar.none_type.SetInParent()
    return True


_FILL: Final[Mapping[int, Callable[[idl.Scalar, object], bool]]] = {
    idl.SimpleType.INTEGER: _integer,
    idl.SimpleType.FLOAT: _float,
    idl.SimpleType.STRING: _string,
    idl.SimpleType.BOOLEAN: _boolean,
    idl.SimpleType.DATETIME: _datetime,
    idl.SimpleType.DURATION: _duration,
    idl.SimpleType.BINARY: _binary,
    idl.SimpleType.STRUCT: _struct,
    idl.SimpleType.NONE: _none,
}
