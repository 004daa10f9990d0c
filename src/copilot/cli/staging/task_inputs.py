"""The inputs of ``copilot run``: plain values and files on the command line, or a document of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from copilot.cli.staging.task_types import literal_of, split_declaration, value_of
from copilot.core import idl
from copilot.core.errors import BadFlag, BadInputs
from copilot.core.uri import redact
from copilot.download.run import parse_inputs


def gather_inputs(document: str | None, given: Sequence[str], *, read: Callable[[str], bytes]) -> idl.LiteralMap:
    """All of them; what is given one by one wins over the document.

    Args:
        document: the URI of JSON or YAML (a mapping of names to values) or of an ``inputs.pb``; None for none.
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
        literals.literals[name].CopyFrom(literal_of(value_of(value, wanted), f"input {name}", wanted))
    return literals


def _document(uri: str, read: Callable[[str], bytes]) -> idl.LiteralMap:
    data = read(uri)
    if uri.endswith(".pb"):
        return parse_inputs(data, uri)
    import yaml  # noqa: PLC0415 - only where there is a document; JSON is YAML as well

    try:
        values = yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise BadInputs(f"{redact(uri)} is neither JSON nor YAML", op="read", subject=redact(uri)) from error
    if not isinstance(values, Mapping):
        raise BadInputs(
            f"{redact(uri)} is no mapping of names to values", op="read", subject=redact(uri), hint='Write it like {"n": 5}.'
        )
    literals = idl.LiteralMap()
    for name, value in values.items():
        literals.literals[str(name)].CopyFrom(literal_of(value, f"input {name}"))
    return literals
