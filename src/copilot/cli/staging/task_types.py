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

from copilot.cli.staging.task_scalars import FORMS, TEXTS, fill, looks_like
from copilot.config.nearest import did_you_mean
from copilot.core import idl
from copilot.core.errors import BadFlag
from copilot.core.paths import printable
from copilot.core.types_text import type_text

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
    elif kind != "simple" or not fill(made.scalar, value, wanted.simple):
        raise _misfit(value, where, wanted)
    return made


def value_of(text: str, wanted: idl.LiteralType | None) -> object:
    """The plain value of a command line's text: JSON where it is JSON, else the text; what is written as text stays one."""
    kind = None if wanted is None else wanted.WhichOneof("type")
    if wanted is not None and kind == "union_type":
        return None if text == "null" else value_of(text, next(iter(wanted.union_type.variants), None))
    if kind in {"blob", "enum_type"} or (wanted is not None and kind == "simple" and wanted.simple in TEXTS):
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
    raise _misfit(value, where, wanted)


def _inferred(value: object, where: str) -> idl.Literal:
    made = idl.Literal()
    if isinstance(value, list):
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
        simple = looks_like(value)
        if simple is None:
            said = f"{where} is a {type(value).__name__} of YAML, which no input can be"
            raise BadFlag(said, op="flags", subject=where, hint="Write a list or a mapping.")
        if not fill(made.scalar, value, simple):
            said = f"{where} is {_shown(value)}, and an integer has 64 bits"
            raise BadFlag(
                said, op="flags", subject=where, hint="Declare it: as float it keeps its first digits, as str all of them."
            )
    return made


def _blob(made: idl.Literal, text: str, dimensionality: int) -> None:
    made.scalar.blob.uri = text if _URI.match(text) else os.path.abspath(text)  # noqa: PTH100 - a text that may be a URI
    made.scalar.blob.metadata.type.dimensionality = dimensionality


def _misfit(value: object, where: str, wanted: idl.LiteralType) -> BadFlag:
    hint = FORMS.get(wanted.simple, "") if wanted.WhichOneof("type") == "simple" else ""
    if wanted.WhichOneof("type") in {"collection_type", "map_value_type"}:
        hint = "Write it as JSON, like " + ("[1, 2]." if wanted.HasField("collection_type") else '{"a": 1}.')
    said = f"{where} is {_shown(value)}, which is not of its declared type ({type_text(wanted)})"
    return BadFlag(said, op="flags", subject=where, hint=hint)


def _shown(value: object) -> str:
    shown = printable(json.dumps(value, ensure_ascii=False, default=str))
    return shown if len(shown) <= 60 else f"{shown[:57]}…"  # noqa: PLR2004 - enough to recognise it
