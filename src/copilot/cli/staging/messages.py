"""Protocol messages as plain values, for people and scripts."""

from __future__ import annotations

import json
from typing import Final

from copilot.core import idl
from copilot.core.errors import BadInputs
from copilot.core.literals import Layout, render
from copilot.core.podfiles import ERROR_PB, ERRORS_PB

KINDS: Final = ("auto", "literals", "error", "interface", "variables", "json")
_ERROR_NAMES: Final = frozenset({ERROR_PB, ERRORS_PB})


def plain_literals(literals: idl.LiteralMap) -> dict[str, object]:
    """Variable to plain value: files and directories as their URIs, a literal kept elsewhere as where it is."""
    inline, elsewhere = idl.LiteralMap(), {}
    for name, literal in literals.literals.items():
        if literal.WhichOneof("value") == "offloaded_metadata":
            metadata = literal.offloaded_metadata
            elsewhere[name] = {"offloaded": metadata.uri, "size_bytes": metadata.size_bytes}
        else:
            inline.literals[name].CopyFrom(literal)
    values = dict(render(inline, input_dir=".", layout=Layout.DIRECT, references=True).values)
    return dict(sorted({**values, **elsewhere}.items()))


def plain_error(document: idl.ErrorDocument) -> dict[str, object]:
    """An error document's fields."""
    error = document.error
    return {
        "code": error.code,
        "kind": idl.ContainerError.Kind.Name(error.kind),
        "origin": idl.ExecutionError.ErrorKind.Name(error.origin),
        "message": error.message,
    }


def read_message(data: bytes, *, name: str, kind: str) -> dict[str, object]:
    """What ``data`` says.

    Args:
        data: a serialized message.
        name: the file's own name: under an error document's name it is taken for one, and ``.json`` for JSON.
        kind: one of ``KINDS``.

    Raises:
        BadInputs: it is no such message.
    """
    if kind == "auto":
        kind = "error" if name in _ERROR_NAMES else "json" if name.endswith(".json") else "literals"
    if kind == "json":
        return _document(data, name)
    try:
        if kind == "error":
            return plain_error(idl.ErrorDocument.FromString(data))
        if kind == "literals":
            return plain_literals(idl.LiteralMap.FromString(data))
        variables = (
            idl.TypedInterface.FromString(data).outputs.variables
            if kind == "interface"
            else idl.VariableMap.FromString(data).variables
        )
    except idl.DecodeError as error:
        raise BadInputs(
            f"{name} is no message of the kind {kind!r}",
            op="show",
            subject=name,
            hint="Name its kind with --kind, or was it cut off?",
        ) from error
    from copilot.core.types_text import type_text  # noqa: PLC0415 - for interfaces only

    return {entry.key: type_text(entry.value.type) for entry in variables}


def _document(data: bytes, name: str) -> dict[str, object]:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise BadInputs(f"{name} is no JSON", op="show", subject=name, hint="Was it cut off?") from error
    return document if isinstance(document, dict) else {name: document}
