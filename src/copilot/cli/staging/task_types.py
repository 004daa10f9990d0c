"""Types and values as people write them on a command line, as Flyte's: ``score:float``, ``stats:dir``, ``n=5``.

Pure, but for asking whether a path is a file or a directory.

A type is one of ``int float str bool datetime duration struct binary none file dir``, ``list[T]``, ``map[T]``, ``T?``
(optional), ``enum(a,b)``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Final

from copilot.config.nearest import did_you_mean
from copilot.core import idl
from copilot.core.errors import BadFlag
from copilot.core.gotext import parse_duration, parse_timestamp

SIMPLE: Final = {
    "int": idl.SimpleType.INTEGER,
    "float": idl.SimpleType.FLOAT,
    "str": idl.SimpleType.STRING,
    "bool": idl.SimpleType.BOOLEAN,
    "datetime": idl.SimpleType.DATETIME,
    "duration": idl.SimpleType.DURATION,
    "struct": idl.SimpleType.STRUCT,
    "binary": idl.SimpleType.BINARY,
    "none": idl.SimpleType.NONE,
}
_WORDS: Final = (*SIMPLE, "file", "dir", "list[T]", "map[T]", "enum(a,b)", "T?")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_INT_MAX: Final = 2**63


def parse_type(text: str, where: str) -> idl.LiteralType:
    """The type that ``text`` names.

    Raises:
        BadFlag: none.
    """
    word = text.strip()
    made = idl.LiteralType()
    if word.endswith("?"):
        made.union_type.variants.append(parse_type(word[:-1], where))
        made.union_type.variants.append(idl.LiteralType(simple=idl.SimpleType.NONE))
    elif word in SIMPLE:
        made.simple = SIMPLE[word]
    elif word in {"file", "dir"}:
        made.blob.dimensionality = idl.BlobType.MULTIPART if word == "dir" else idl.BlobType.SINGLE
    elif word.startswith("list[") and word.endswith("]"):
        made.collection_type.CopyFrom(parse_type(word[5:-1], where))
    elif word.startswith("map[") and word.endswith("]"):
        made.map_value_type.CopyFrom(parse_type(word[4:-1], where))
    elif word.startswith("enum(") and word.endswith(")"):
        made.enum_type.values.extend(value.strip() for value in word[5:-1].split(","))
    else:
        near = did_you_mean(word, _WORDS) or f"It is one of {', '.join(_WORDS)}."
        raise BadFlag(f"{where} has the unknown type {word!r}", op="flags", subject=where, hint=near)
    return made


def split_declaration(text: str, where: str) -> tuple[str, idl.LiteralType | None]:
    """``name`` or ``name:type``.

    Raises:
        BadFlag: the name is empty, or the type unknown.
    """
    name, colon, word = text.partition(":")
    if not name:
        raise BadFlag(f"{where} {text!r} has no name", op="flags", subject=where, hint="Write it as name:type.")
    return name, parse_type(word, f"{where} {name}") if colon else None


def literal_of(value: object, where: str, wanted: idl.LiteralType | None = None) -> idl.Literal:
    """A plain value as a literal of the type ``wanted``; without one, of the type it looks like.

    Texts that are a URI or begin with ``./``, ``../`` or ``/`` and exist are files or directories; other texts are texts.

    Raises:
        BadFlag: the value is not of its type.
    """
    if wanted is None:
        return _inferred(value, where)
    kind = wanted.WhichOneof("type")
    made = idl.Literal()
    if kind == "union_type":
        return _union(value, where, wanted)
    if kind == "blob":
        _blob(made, str(value), wanted.blob.dimensionality)
    elif kind == "collection_type" and isinstance(value, list):
        items = [literal_of(item, f"{where}[{index}]", wanted.collection_type) for index, item in enumerate(value)]
        made.collection.literals.extend(items)
        made.collection.SetInParent()
    elif kind == "map_value_type" and isinstance(value, Mapping):
        made.map.SetInParent()
        for key, item in value.items():
            made.map.literals[str(key)].CopyFrom(literal_of(item, f"{where}.{key}", wanted.map_value_type))
    elif kind == "enum_type" and str(value) in wanted.enum_type.values:
        made.scalar.primitive.string_value = str(value)
    elif kind == "simple":
        _simple(made, value, where, wanted.simple)
    else:
        raise _misfit(value, where)
    return made


def value_of(text: str, wanted: idl.LiteralType | None) -> object:
    """The plain value of a command line's text: JSON where it is JSON, else the text; a text stays one where text is wanted."""
    is_text = wanted is not None and wanted.WhichOneof("type") == "simple" and wanted.simple == idl.SimpleType.STRING
    if is_text or (wanted is not None and wanted.WhichOneof("type") in {"blob", "enum_type"}):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _union(value: object, where: str, wanted: idl.LiteralType) -> idl.Literal:
    made = idl.Literal()
    for variant in wanted.union_type.variants:
        is_none = variant.WhichOneof("type") == "simple" and variant.simple == idl.SimpleType.NONE
        if is_none == (value is None):
            made.scalar.union.value.CopyFrom(literal_of(value, where, variant))
            made.scalar.union.type.CopyFrom(variant)
            return made
    raise _misfit(value, where)


def _simple(made: idl.Literal, value: object, where: str, simple: int) -> None:
    primitive = made.scalar.primitive
    try:
        if simple == idl.SimpleType.INTEGER and isinstance(value, int) and not isinstance(value, bool):
            primitive.integer = value
        elif simple == idl.SimpleType.FLOAT and isinstance(value, int | float | str) and not isinstance(value, bool):
            primitive.float_value = float(value)
        elif simple == idl.SimpleType.STRING:
            primitive.string_value = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        elif simple == idl.SimpleType.BOOLEAN and isinstance(value, bool):
            primitive.boolean = value
        elif simple == idl.SimpleType.DATETIME:
            primitive.datetime.seconds, primitive.datetime.nanos = parse_timestamp(str(value))
        elif simple == idl.SimpleType.DURATION:
            primitive.duration.FromNanoseconds(parse_duration(str(value)))
        elif simple == idl.SimpleType.STRUCT and isinstance(value, Mapping):
            made.scalar.generic.update({str(key): item for key, item in value.items()})
            made.scalar.generic.SetInParent()
        elif simple == idl.SimpleType.NONE and value is None:
            made.scalar.none_type.SetInParent()
        else:
            raise _misfit(value, where)
    except ValueError as error:
        raise _misfit(value, where) from error


def _inferred(value: object, where: str) -> idl.Literal:
    made = idl.Literal()
    if value is None:
        made.scalar.none_type.SetInParent()
    elif isinstance(value, bool):
        made.scalar.primitive.boolean = value
    elif isinstance(value, int) and -_INT_MAX <= value < _INT_MAX:
        made.scalar.primitive.integer = value
    elif isinstance(value, int | float):
        made.scalar.primitive.float_value = float(value)
    elif isinstance(value, list):
        made.collection.SetInParent()
        made.collection.literals.extend(_inferred(item, f"{where}[{index}]") for index, item in enumerate(value))
    elif isinstance(value, Mapping):
        made.map.SetInParent()
        for key, item in value.items():
            made.map.literals[str(key)].CopyFrom(_inferred(item, f"{where}.{key}"))
    elif isinstance(value, str) and (_URI.match(value) or (value.startswith(("./", "../", "/")) and os.path.exists(value))):  # noqa: PTH110
        tree = value.endswith("/") or os.path.isdir(value)  # noqa: PTH112 - a text that may be a URI
        _blob(made, value, idl.BlobType.MULTIPART if tree else idl.BlobType.SINGLE)
    else:
        made.scalar.primitive.string_value = str(value)
    return made


def _blob(made: idl.Literal, text: str, dimensionality: int) -> None:
    made.scalar.blob.uri = text if _URI.match(text) else os.path.abspath(text)  # noqa: PTH100 - a text that may be a URI
    made.scalar.blob.metadata.type.dimensionality = dimensionality


def _misfit(value: object, where: str) -> BadFlag:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}…"  # noqa: PLR2004 - enough to recognise it
    return BadFlag(f"{where} is {shown}, which is not of its declared type", op="flags", subject=where)
