"""A literal type in the words of a person: ``integer``, ``list of files``, ``optional text``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from copilot.core import idl

if TYPE_CHECKING:
    from collections.abc import Callable

_SIMPLE: Final = {
    idl.SimpleType.NONE: "nothing (None)",
    idl.SimpleType.INTEGER: "integer",
    idl.SimpleType.FLOAT: "float",
    idl.SimpleType.STRING: "text",
    idl.SimpleType.BOOLEAN: "boolean",
    idl.SimpleType.DATETIME: "datetime",
    idl.SimpleType.DURATION: "duration",
    idl.SimpleType.BINARY: "bytes",
    idl.SimpleType.ERROR: "error message",
    idl.SimpleType.STRUCT: "JSON object",
}
_MOST_SHOWN: Final = 6


def type_text(literal_type: idl.LiteralType) -> str:
    """What a value of the type is, without an article, never long: at most six of an enum's values or a union's variants."""
    kind = literal_type.WhichOneof("type")
    return _WORDS[kind](literal_type) if kind in _WORDS else "value of an unknown type"


def is_none(literal_type: idl.LiteralType) -> bool:
    """Whether the type has no value but None."""
    return bool(literal_type.WhichOneof("type") == "simple" and literal_type.simple == idl.SimpleType.NONE)


def none_variant(literal_type: idl.LiteralType) -> idl.LiteralType | None:
    """The variant of an optional that stands for None, or None where absence is no value of the type."""
    if literal_type.WhichOneof("type") != "union_type":
        return None
    return next((variant for variant in literal_type.union_type.variants if is_none(variant)), None)


def _union_text(literal_type: idl.LiteralType) -> str:
    variants = literal_type.union_type.variants
    real = [type_text(variant) for variant in variants if not is_none(variant)]
    text = _some(real, " or ")
    return f"optional {text}" if len(real) < len(variants) else text


def _some(words: list[str], between: str = ", ") -> str:
    shown = between.join(words[:_MOST_SHOWN])
    return f"{shown} and {len(words) - _MOST_SHOWN} more" if len(words) > _MOST_SHOWN else shown


_WORDS: Final[dict[str, Callable[[idl.LiteralType], str]]] = {
    "simple": lambda it: _SIMPLE.get(it.simple, f"simple type {it.simple}"),
    "blob": lambda it: "directory" if it.blob.dimensionality == idl.BlobType.MULTIPART else "file",
    "collection_type": lambda it: f"list of {type_text(it.collection_type)}",
    "map_value_type": lambda it: f"map of text to {type_text(it.map_value_type)}",
    "enum_type": lambda it: f"one of {_some([repr(value) for value in it.enum_type.values])}",
    "union_type": _union_text,
    "structured_dataset_type": lambda _: "structured dataset (a file or a directory)",
    "schema": lambda _: "schema (a file or a directory)",
}
