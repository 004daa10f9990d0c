"""The text of an output file → a scalar literal, by the rules of Flyte's copilot (Go's number, time and duration texts)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from copilot.core import gotext, idl
from copilot.core.output_json import generic, parse_json
from copilot.core.output_literals import none_literal
from copilot.core.output_place import Place, misfit, shown

if TYPE_CHECKING:
    from collections.abc import Callable

TRIMMED: Final = " \t\n"
"""What is cut off both ends of a text: blanks, tabs, newlines; a carriage return stays, as in the reference."""

MSGPACK_TAG: Final = "msgpack"

_HINTS: Final = {
    idl.SimpleType.INTEGER: "Write decimal digits, for example 42.",
    idl.SimpleType.FLOAT: "Write a decimal number, for example 0.5 or 1e-3.",
    idl.SimpleType.BOOLEAN: "Write true or false.",
    idl.SimpleType.DATETIME: "Write an RFC 3339 time, for example 2026-01-02T03:04:05Z.",
    idl.SimpleType.DURATION: "Write a duration, for example 1h30m or 90s.",
    idl.SimpleType.STRUCT: 'Write one JSON object, for example {"accuracy": 0.97}.',
}


def scalar_from_bytes(place: Place, literal_type: idl.LiteralType, content: bytes, *, exact: bool = False) -> idl.Literal:
    """The literal of a simple type from a file's whole content.

    Args:
        place: where it was found, for messages.
        literal_type: a simple type.
        content: the file, as it is.
        exact: inside a union, where None takes only an empty text or ``null`` instead of anything.

    Raises:
        BadOutput: the content is not of the type.
    """
    simple = literal_type.simple
    if simple == idl.SimpleType.BINARY:
        return idl.Literal(scalar=idl.Scalar(binary=idl.Binary(value=content, tag=MSGPACK_TAG)))
    if simple == idl.SimpleType.NONE:
        return _none(place, literal_type, content, exact=exact)
    text = text_of(place, literal_type, content)
    if simple == idl.SimpleType.STRING:
        return idl.Literal(scalar=idl.Scalar(primitive=idl.Primitive(string_value=text)))
    if simple == idl.SimpleType.ERROR:
        return idl.Literal(scalar=idl.Scalar(error=idl.Error(message=text)))
    if simple == idl.SimpleType.STRUCT:
        return generic(place, literal_type, parse_json(place, literal_type, text, hint=_HINTS[simple]))
    reader = _READERS.get(simple)
    if reader is None:
        raise misfit(place, literal_type, "there is a type this version does not know", hint="Use a newer copilot.")
    try:
        primitive = reader(text)
    except ValueError as why:
        raise misfit(place, literal_type, f"{shown(text)} {why}", hint=_HINTS.get(simple, "")) from why
    return idl.Literal(scalar=idl.Scalar(primitive=primitive))


def text_of(place: Place, literal_type: idl.LiteralType, content: bytes) -> str:
    """The trimmed text of a file.

    Raises:
        BadOutput: the bytes are not UTF-8.
    """
    try:
        return content.decode("utf-8").strip(TRIMMED)
    except UnicodeDecodeError as cause:
        problem = f"byte {cause.start + 1} (0x{content[cause.start]:02x}) is not UTF-8 text"
        hint = "Write the text as UTF-8, or declare the output as a file."
        raise misfit(place, literal_type, problem, hint=hint) from cause


def enum_value(place: Place, literal_type: idl.LiteralType, text: str) -> idl.Literal:
    """An enum's literal.

    Raises:
        BadOutput: the text is not one of the listed values.
    """
    if text not in literal_type.enum_type.values:
        raise misfit(place, literal_type, f"{shown(text)} is none of them", hint="Write one of the listed values.")
    return idl.Literal(scalar=idl.Scalar(primitive=idl.Primitive(string_value=text)))


def _none(place: Place, literal_type: idl.LiteralType, content: bytes, *, exact: bool) -> idl.Literal:
    if exact and content.strip(TRIMMED.encode()) not in {b"", b"null"}:
        raise misfit(place, literal_type, f"{shown(content)} is a value", hint="Leave the file out for None.")
    return none_literal()


def _integer(text: str) -> idl.Primitive:
    return idl.Primitive(integer=gotext.parse_int(text))


def _float(text: str) -> idl.Primitive:
    return idl.Primitive(float_value=gotext.parse_float(text))


def _boolean(text: str) -> idl.Primitive:
    return idl.Primitive(boolean=gotext.parse_bool(text))


def _datetime(text: str) -> idl.Primitive:
    seconds, nanoseconds = gotext.parse_timestamp(text)
    primitive = idl.Primitive()
    primitive.datetime.seconds, primitive.datetime.nanos = seconds, nanoseconds
    primitive.datetime.SetInParent()
    return primitive


def _duration(text: str) -> idl.Primitive:
    return duration_primitive(gotext.parse_duration(text))


def duration_primitive(nanoseconds: int) -> idl.Primitive:
    """A duration; both fields of the message carry its sign, as protobuf wants it."""
    seconds, rest = divmod(abs(nanoseconds), gotext.NANOS_PER_SECOND)
    sign = -1 if nanoseconds < 0 else 1
    primitive = idl.Primitive()
    primitive.duration.seconds, primitive.duration.nanos = sign * seconds, sign * rest
    primitive.duration.SetInParent()
    return primitive


_READERS: Final[dict[int, Callable[[str], idl.Primitive]]] = {
    idl.SimpleType.INTEGER: _integer,
    idl.SimpleType.FLOAT: _float,
    idl.SimpleType.BOOLEAN: _boolean,
    idl.SimpleType.DATETIME: _datetime,
    idl.SimpleType.DURATION: _duration,
}
