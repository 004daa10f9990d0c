"""Flyte's literals as a task reads them: files with text, directories, and the plain values of ``inputs.json`` and its like.

Pure: what has to be fetched is named, not fetched. The layout is Flyte's own (``docs/inputs.md`` has the table): the text of a
scalar is what Go would print, a collection is a directory with an entry an element, a map one with an entry a key.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite
from typing import Final

from copilot.core import gotext, idl
from copilot.core.errors import BadInputs, UnknownLiteral, UsageError
from copilot.core.json_text import Value, to_json
from copilot.core.paths import PathTree, printable, safe_relative
from copilot.core.uri import parse
from copilot.core.values import FetchSpec

_SINGLE: Final = 0
_MULTIPART: Final = 1


class Layout(Enum):
    """Where a single file stands. ``DIRECT``: it is the entry. ``NAMED_DIR``: it keeps its own name, in a directory."""

    DIRECT = "DIRECT"
    NAMED_DIR = "NAMED_DIR"


@dataclass(frozen=True, slots=True)
class ValueFile:
    """A file whose content is known before anything is fetched: ``path`` is relative to the input directory."""

    path: str
    content: bytes
    variable: str


@dataclass(slots=True)
class Rendering:
    """What a ``LiteralMap`` is on disk.

    Attributes:
        files: texts to write.
        directories: directories that must be there though nothing may be in them.
        fetches: objects and trees to bring.
        values: the plain values by variable.
        literals: the same literals with the local paths of what is fetched.
        unprintable: where a float is that no JSON and no YAML made from it can hold (NaN, infinite), or empty.
    """

    files: list[ValueFile] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    fetches: list[FetchSpec] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    literals: idl.LiteralMap = field(default_factory=idl.LiteralMap)
    unprintable: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a literal goes: its entry, what people call it, the variable it belongs to, and where a single file goes."""

    path: str
    where: str
    variable: str
    file_path: str = ""


def render(
    literals: idl.LiteralMap,
    *,
    input_dir: str,
    layout: Layout,
    references: bool = False,
    taken: PathTree | None = None,
) -> Rendering:
    """The files, directories, fetches and values of ``literals``.

    Args:
        literals: the inputs; offloaded literals have been read and stand in their places.
        input_dir: the final input directory as the task sees it: the beginning of every local path.
        layout: how single files are named.
        references: nothing is fetched; files and directories stay the URIs they are.
        taken: paths that belong to somebody already.

    Raises:
        UnknownLiteral: a literal without a value, or of an unknown kind; names the variable and the place in it.
        UnsafePath: a name that cannot be a path below the input directory, or two for one path.
        BadInputs: a file without a URI, a time outside the calendar, a ``Struct`` with a number JSON cannot write.
    """
    return _Renderer(input_dir, layout, references=references, taken=taken or PathTree()).run(literals)


def fail_without_value(where: str, what: str) -> UnknownLiteral:
    """The error for a literal that says nothing."""
    return UnknownLiteral(
        f"Input '{where}' holds {what}",
        op="plan",
        subject=where,
        hint="Write the input again with a current Flyte SDK, or update copilot.",
    )


class _Renderer:
    def __init__(self, input_dir: str, layout: Layout, *, references: bool, taken: PathTree) -> None:
        self._base = "" if input_dir == "." else f"{input_dir.rstrip('/')}/"
        self._layout = layout
        self._references = references
        self._taken = taken
        self._out = Rendering()

    def run(self, literals: idl.LiteralMap) -> Rendering:
        for variable in sorted(literals.literals):
            # One by one: what a task.Inputs holds besides its literals is no part of a LiteralMap.
            self._out.literals.literals[variable].CopyFrom(literals.literals[variable])
            place = _Place(variable, printable(variable), variable)
            self._out.values[variable] = self._literal(self._out.literals.literals[variable], place)
        return self._out

    # --- containers -------------------------------------------------------------------------------------------------

    def _literal(self, literal: idl.Literal, place: _Place) -> Value:
        kind = literal.WhichOneof("value")
        if kind == "scalar":
            return self._scalar(literal.scalar, place)
        if kind == "collection":
            return self._collection(literal.collection, place)
        if kind == "map":
            return self._map(literal.map, place)
        if kind == "offloaded_metadata":
            raise fail_without_value(place.where, "an offloaded literal that was not read")
        raise fail_without_value(place.where, "a literal without a value")

    def _collection(self, collection: idl.LiteralCollection, place: _Place) -> list[Value]:
        self._directory_if(not collection.literals, place)
        names = self._file_names(collection) if self._layout is Layout.NAMED_DIR and not self._references else {}
        values: list[Value] = []
        for index, literal in enumerate(collection.literals):
            file_path = f"{place.path}/{names[index]}" if index in names else ""
            inner = _Place(f"{place.path}/{index}", f"{place.where}[{index}]", place.variable, file_path)
            values.append(self._literal(literal, inner))
        return values

    def _map(self, literals: idl.LiteralMap, place: _Place) -> dict[str, Value]:
        self._directory_if(not literals.literals, place)
        values: dict[str, Value] = {}
        for key in sorted(literals.literals):
            inner = _Place(f"{place.path}/{key}", f"{place.where}.{printable(key)}", place.variable)
            values[key] = self._literal(literals.literals[key], inner)
        return values

    def _directory_if(self, empty: bool, place: _Place) -> None:  # noqa: FBT001 — the condition is the argument
        if empty:
            self._taken.add_directory(safe_relative(place.path), f"input '{place.where}'")
            self._out.directories.append(place.path)

    def _file_names(self, collection: idl.LiteralCollection) -> dict[int, str]:
        """The names of a list's single files: each keeps its own; one that is taken gets its index in front."""
        own = {at: name for at, literal in enumerate(collection.literals) if (name := _own_name(literal)) is not None}
        used = {str(at) for at in range(len(collection.literals)) if at not in own}
        names: dict[int, str] = {}
        for at, name in own.items():
            free = name
            while free in used:
                free = f"{at}_{free}"
            used.add(free)
            names[at] = free
        return names

    # --- scalars ----------------------------------------------------------------------------------------------------

    def _scalar(self, scalar: idl.Scalar, place: _Place) -> Value:
        kind = scalar.WhichOneof("value")
        if kind == "primitive":
            return self._primitive(scalar.primitive, place)
        if kind == "union":
            return self._literal(scalar.union.value, place)
        if kind == "blob":
            return self._blob(scalar.blob, place)
        if kind in {"schema", "structured_dataset"}:
            return self._fetch(getattr(scalar, kind), place, place.path, tree=True)
        return self._content(scalar, kind, place)

    def _content(self, scalar: idl.Scalar, kind: str | None, place: _Place) -> Value:
        if kind == "none_type":
            return self._file(place, "null", None)
        if kind == "error":
            return self._file(place, scalar.error.message, scalar.error.message)
        if kind == "binary":
            content: bytes = scalar.binary.value
            return self._file(place, content, base64.b64encode(content).decode("ascii") if content else None)
        if kind == "generic":
            value = _struct(scalar.generic, place)
            try:
                text = to_json(value)
            except ValueError as cause:
                raise _bad_value(place, f"a number that no JSON can hold ({cause})") from cause
            return self._file(place, text, value)
        raise fail_without_value(place.where, "a scalar without a value")

    def _primitive(self, primitive: idl.Primitive, place: _Place) -> Value:
        kind = primitive.WhichOneof("value")
        if kind == "integer":
            return self._file(place, str(primitive.integer), primitive.integer)
        if kind == "float_value":
            if not isfinite(primitive.float_value):
                self._out.unprintable = self._out.unprintable or place.where
            return self._file(place, gotext.format_float(primitive.float_value), primitive.float_value)
        if kind == "string_value":
            return self._file(place, primitive.string_value, primitive.string_value)
        if kind == "boolean":
            return self._file(place, gotext.format_bool(primitive.boolean), primitive.boolean)
        if kind == "datetime":
            try:
                text = gotext.format_timestamp(primitive.datetime.seconds, primitive.datetime.nanos)
            except ValueError as cause:
                raise _bad_value(place, f"a datetime that {cause}") from cause
            return self._file(place, text, text)
        if kind == "duration":
            nanoseconds = primitive.duration.seconds * gotext.NANOS_PER_SECOND + primitive.duration.nanos
            return self._file(place, gotext.format_duration(nanoseconds), nanoseconds)
        raise fail_without_value(place.where, "a primitive without a value")

    def _file(self, place: _Place, content: str | bytes, value: Value) -> Value:
        self._taken.add_file(safe_relative(place.path), f"input '{place.where}'")
        data = content if isinstance(content, bytes) else content.encode("utf-8")
        self._out.files.append(ValueFile(place.path, data, place.variable))
        return value

    # --- what is fetched --------------------------------------------------------------------------------------------

    def _blob(self, blob: idl.Blob, place: _Place) -> str:
        shape = blob.metadata.type.dimensionality
        if shape == _MULTIPART:
            return self._fetch(blob, place, place.path, tree=True)
        if shape != _SINGLE:
            raise fail_without_value(place.where, f"a file of unknown dimensionality ({shape})")
        path = place.file_path or place.path
        if self._layout is Layout.NAMED_DIR and not place.file_path and not self._references:
            path = f"{place.path}/{_name_in(blob.uri)}"
        return self._fetch(blob, place, path, tree=False)

    def _fetch(self, message: idl.Blob | idl.Schema | idl.StructuredDataset, place: _Place, path: str, *, tree: bool) -> str:
        uri: str = message.uri
        _check_uri(uri, place)
        if self._references:
            return uri
        owner = f"input '{place.where}'"
        claim = self._taken.add_tree if tree else self._taken.add_file
        claim(safe_relative(path), owner)
        self._out.fetches.append(FetchSpec(uri, path, tree=tree, variable=place.variable))
        local = self._base + path
        message.uri = local
        return local


def _check_uri(uri: str, place: _Place) -> None:
    if not uri:
        raise _bad_value(place, "a file or directory without a URI")
    try:
        parse(uri)
    except UsageError as cause:
        raise _bad_value(place, "a file or directory whose URI cannot be") from cause


def _name_in(uri: str) -> str:
    """The file name in a URI; empty where it has none, or is none at all: ``_check_uri`` says so in its turn."""
    try:
        return parse(uri).basename
    except UsageError:
        return ""


def _own_name(literal: idl.Literal) -> str | None:
    """The file name of a single file, seen through unions; None for every other literal."""
    while literal.WhichOneof("value") == "scalar" and literal.scalar.WhichOneof("value") == "union":
        literal = literal.scalar.union.value
    if literal.WhichOneof("value") != "scalar" or literal.scalar.WhichOneof("value") != "blob":
        return None
    blob = literal.scalar.blob
    return _name_in(blob.uri) if blob.metadata.type.dimensionality == _SINGLE else None


def _struct(struct: idl.Struct, place: _Place) -> dict[str, Value]:
    return {key: _struct_value(value, place) for key, value in struct.fields.items()}


def _struct_value(value: idl.Value, place: _Place) -> Value:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _struct(value.struct_value, place)
    if kind == "list_value":
        return [_struct_value(item, place) for item in value.list_value.values]
    if kind == "null_value":
        return None
    if kind is None:
        raise fail_without_value(place.where, "a Struct with a field without a value")
    plain: Value = getattr(value, kind)
    return plain


def _bad_value(place: _Place, what: str) -> BadInputs:
    return BadInputs(
        f"Input '{place.where}' holds {what}", op="plan", subject=place.where, hint="Correct the value and start the run again."
    )
