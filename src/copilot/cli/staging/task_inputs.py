"""The inputs of ``copilot run``: plain values and files on the command line, or a document of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from copilot.cli.staging.task_types import literal_of, split_declaration, value_of
from copilot.core import idl
from copilot.core.errors import BadFlag, BadInputs
from copilot.core.paths import printable
from copilot.core.uri import redact
from copilot.download.run import parse_inputs


def gather_inputs(document: str | None, given: Sequence[str], *, read: Callable[[str], bytes]) -> idl.LiteralMap:
    """All of them; what is given one by one wins over the document.

    Args:
        document: the URI of JSON or YAML (a mapping of ``name`` or ``name:type`` to values) or of an ``inputs.pb``; None for
            none.
        given: ``name=value`` or ``name:type=value``.
        read: reads a URI.

    Raises:
        BadInputs: the document is none.
        BadFlag: a value is not of its type.
    """
    literals = _document(document, read) if document else idl.LiteralMap()
    for text in given:
        declaration, equals, value = text.partition("=")
        if not equals:
            raise BadFlag(f"--input {text!r} has no value", op="flags", subject="--input", hint="Write it as name=value.")
        name, wanted = split_declaration(declaration, "--input")
        _add(literals, name, value_of(value, wanted), wanted)
    return literals


def _document(uri: str, read: Callable[[str], bytes]) -> idl.LiteralMap:
    data = read(uri)
    if uri.endswith(".pb"):
        return parse_inputs(data, uri)
    literals = idl.LiteralMap()
    try:
        values = _values(data, redact(uri))
        for declaration, value in values.items():
            name, wanted = split_declaration(str(declaration), "input")
            _add(literals, name, value, wanted)
    except RecursionError as error:
        raise BadInputs(f"{redact(uri)} is nested without end, or too deeply", op="read", subject=redact(uri)) from error
    return literals


def _values(data: bytes, shown: str) -> Mapping[object, object]:
    """JSON before YAML: to YAML 1.1 a JSON number like ``1e5`` is a text, and a character in two escapes is two halves."""
    try:
        values = json.loads(data)
    except ValueError:
        values = _yaml(data, shown)
    if not isinstance(values, Mapping):
        raise BadInputs(f"{shown} is no mapping of names to values", op="read", subject=shown, hint='Write it like {"n": 5}.')
    return values


def _yaml(data: bytes, shown: str) -> object:
    import yaml  # noqa: PLC0415 - only where there is such a document

    try:
        return yaml.safe_load(data)
    except (yaml.YAMLError, ValueError) as error:  # dates that no calendar has are ValueErrors
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
        raise BadInputs(f"{shown} is neither JSON nor YAML{where}", op="read", subject=shown) from error


def _add(literals: idl.LiteralMap, name: str, value: object, wanted: idl.LiteralType | None) -> None:
    try:
        literals.literals[name].CopyFrom(literal_of(value, f"input {name}", wanted))
    except UnicodeEncodeError as error:  # bytes of a command line that are no UTF-8, half a character in JSON
        said = f"input {printable(name)} is no text that can be written as UTF-8"
        raise BadFlag(
            said, op="flags", subject=printable(name), hint="Give it as a file, or as base64 of the type binary."
        ) from error
