"""A value inside a JSON text of an output → a literal of its declared type."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from math import isfinite
from types import NoneType
from typing import TYPE_CHECKING, Final

from copilot.core import gotext, idl
from copilot.core.errors import BadOutput
from copilot.core.output_json import JsonValue, clean_text, generic, json_kind
from copilot.core.output_literals import declared_directory, is_uri, none_literal, stored_literal, union_literal
from copilot.core.output_place import Place, misfit
from copilot.core.output_scalars import MSGPACK_TAG, duration_primitive, enum_value, scalar_from_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from copilot.core.output_entries import Sending


@dataclass(frozen=True, slots=True)
class JsonLiterals:
    """Literals of the values inside one JSON text.

    Args:
        sends: what must be sent for the literals so far: what a variant noted that does not fit after all is taken off again.
        send_beside: the literal of a file or directory that a text of the JSON names by its path; it notes what must be sent.
    """

    sends: list[Sending]
    send_beside: Callable[[Place, idl.LiteralType, str], idl.Literal]

    def build(self, place: Place, literal_type: idl.LiteralType, value: JsonValue) -> idl.Literal:
        """The literal of one value.

        Raises:
            OutputError: the value is not of the type.
        """
        match literal_type.WhichOneof("type"):
            case "collection_type":
                return self._collection(place, literal_type, value)
            case "map_value_type":
                return self._map(place, literal_type, value)
            case "union_type":
                return self._union(place, literal_type, value)
            case "enum_type" if isinstance(value, str):
                return enum_value(place, literal_type, value)
            case "blob" | "schema" | "structured_dataset_type" if isinstance(value, str):
                return self._stored(place, literal_type, value)
            case "simple":
                return _simple(place, literal_type, value)
            case _:
                raise misfit(place, literal_type, f"there is {json_kind(value)}")

    def _collection(self, place: Place, literal_type: idl.LiteralType, value: JsonValue) -> idl.Literal:
        if not isinstance(value, list):
            raise misfit(place, literal_type, f"there is {json_kind(value)}", hint="Write a JSON list: [1, 2, 3].")
        literal = idl.Literal()
        literal.collection.SetInParent()
        for index, item in enumerate(value):
            literal.collection.literals.append(self.build(place.element(index), literal_type.collection_type, item))
        return literal

    def _map(self, place: Place, literal_type: idl.LiteralType, value: JsonValue) -> idl.Literal:
        if not isinstance(value, dict):
            raise misfit(place, literal_type, f"there is {json_kind(value)}", hint='Write a JSON object: {"key": 1}.')
        literal = idl.Literal()
        literal.map.SetInParent()
        for key, item in value.items():
            clean = clean_text(key)
            literal.map.literals[clean].CopyFrom(self.build(place.entry(clean), literal_type.map_value_type, item))
        return literal

    def _union(self, place: Place, literal_type: idl.LiteralType, value: JsonValue) -> idl.Literal:
        for variant in literal_type.union_type.variants:
            before = len(self.sends)
            try:
                inner = self.build(place, variant, value)
            except BadOutput:
                del self.sends[before:]
                continue
            return union_literal(variant, inner)
        problem = f"{json_kind(value)} fits none of its variants"
        raise misfit(place, literal_type, problem, hint="Write a value of one of its variants.")

    def _stored(self, place: Place, literal_type: idl.LiteralType, text: str) -> idl.Literal:
        if is_uri(text):
            name = text.rpartition("/")[2]
            return stored_literal(literal_type, text, directory=declared_directory(literal_type), name=name)
        return self.send_beside(place, literal_type, text)


def _simple(place: Place, literal_type: idl.LiteralType, value: JsonValue) -> idl.Literal:
    simple = literal_type.simple
    fits = isinstance(value, _JSON_TYPES.get(simple, ()))
    if not fits or (isinstance(value, bool) and simple != idl.SimpleType.BOOLEAN):
        raise misfit(place, literal_type, f"there is {json_kind(value)}")
    if simple == idl.SimpleType.STRUCT:
        return generic(place, literal_type, value)
    if simple == idl.SimpleType.BINARY:
        return _binary(place, literal_type, value)
    if simple == idl.SimpleType.NONE:
        return none_literal()
    if isinstance(value, str):
        return _text(place, literal_type, clean_text(value))
    return _number(place, literal_type, value)


def _text(place: Place, literal_type: idl.LiteralType, text: str) -> idl.Literal:
    if literal_type.simple == idl.SimpleType.STRING:
        return idl.Literal(scalar=idl.Scalar(primitive=idl.Primitive(string_value=text)))
    if literal_type.simple == idl.SimpleType.ERROR:
        return idl.Literal(scalar=idl.Scalar(error=idl.Error(message=text)))
    return scalar_from_bytes(place, literal_type, text.encode())


def _number(place: Place, literal_type: idl.LiteralType, value: JsonValue) -> idl.Literal:
    primitive: idl.Primitive | None = None
    if isinstance(value, bool):
        primitive = idl.Primitive(boolean=value)
    elif literal_type.simple == idl.SimpleType.FLOAT and isinstance(value, int | float):
        primitive = _float(value)
    elif isinstance(value, int) and gotext.INT64_MIN <= value <= gotext.INT64_MAX:
        is_duration = literal_type.simple == idl.SimpleType.DURATION
        primitive = duration_primitive(value) if is_duration else idl.Primitive(integer=value)
    if primitive is None:
        raise misfit(place, literal_type, f"{json_kind(value)} does not fit 64 bits")
    return idl.Literal(scalar=idl.Scalar(primitive=primitive))


def _float(value: float) -> idl.Primitive | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return idl.Primitive(float_value=number) if isfinite(number) else None


def _binary(place: Place, literal_type: idl.LiteralType, value: JsonValue) -> idl.Literal:
    try:
        content = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError) as cause:
        hint = "Bytes inside JSON are base64 text."
        raise misfit(place, literal_type, f"there is {json_kind(value)}, not base64", hint=hint) from cause
    return idl.Literal(scalar=idl.Scalar(binary=idl.Binary(value=content, tag=MSGPACK_TAG)))


_JSON_TYPES: Final[dict[int, tuple[type, ...]]] = {
    idl.SimpleType.NONE: (NoneType,),
    idl.SimpleType.INTEGER: (int,),
    idl.SimpleType.FLOAT: (int, float),
    idl.SimpleType.STRING: (str,),
    idl.SimpleType.BOOLEAN: (bool,),
    idl.SimpleType.DATETIME: (str,),
    idl.SimpleType.DURATION: (str, int),
    idl.SimpleType.BINARY: (str, NoneType),
    idl.SimpleType.ERROR: (str,),
    idl.SimpleType.STRUCT: (dict,),
}
