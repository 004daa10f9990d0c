"""The outputs of ``copilot run``: declared on the command line, or by what the command left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from copilot.cli.staging.task_types import parse_type, split_declaration
from copilot.core import idl
from copilot.core.errors import BadFlag
from copilot.core.gotext import parse_bool, parse_float, parse_int
from copilot.core.podfiles import ERROR_MARKER, SUCCESS_MARKER
from copilot.engine.atomic import local_errors

#: A file without a suffix and no larger than this, in bytes, is taken for a value; every other file for a file.
MAX_VALUE_BYTES: Final = 64 * 1024

_MARKERS: Final = frozenset({SUCCESS_MARKER, ERROR_MARKER})


def declare_outputs(declared: Sequence[str], directory: Path) -> idl.TypedInterface:
    """The interface: ``name:type`` each, a type that is left out by what ``directory`` holds; without any, all it holds.

    Raises:
        BadFlag: an unknown type, or a name twice.
        LocalError: the directory cannot be read.
    """
    types = {name: wanted or look_at(directory / name) for name, wanted in declared_types(declared).items()}
    if not declared:
        with local_errors(directory):
            found = sorted(path for path in directory.iterdir() if path.name not in _MARKERS)
        types = {path.name: look_at(path) for path in found}
    interface = idl.TypedInterface()
    for name, wanted in types.items():
        interface.outputs.variables.add(key=name).value.type.CopyFrom(wanted)
    return interface


def declared_types(declared: Sequence[str]) -> dict[str, idl.LiteralType | None]:
    """``name`` or ``name:type`` each, as they stand on the command line.

    Raises:
        BadFlag: an unknown type, or a name twice.
    """
    types: dict[str, idl.LiteralType | None] = {}
    for text in declared:
        name, wanted = split_declaration(text, "--output")
        if name in types:
            raise BadFlag(f"--output {name} is given twice", op="flags", subject="--output")
        types[name] = wanted
    return types


def look_at(path: Path) -> idl.LiteralType:
    """What the entry looks like: a directory, a file, or for a small text without a suffix the narrowest type that fits."""
    if path.is_dir():
        return parse_type("dir", path.name)
    if not path.is_file():
        return parse_type("str", path.name)  # that it is missing is for the plan to say
    if path.suffix or path.stat().st_size > MAX_VALUE_BYTES:
        return parse_type("file", path.name)
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return parse_type("file", path.name)
    return parse_type(_narrowest(text.strip(" \t\n")), path.name)


def _narrowest(text: str) -> str:
    for word, parse in (("int", parse_int), ("float", parse_float), ("bool", parse_bool)):
        try:
            parse(text)
        except ValueError:
            continue
        return word
    return "str"
