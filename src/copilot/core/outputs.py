"""What a task left in its output directory → literals, and the files that have to be sent for them. Pure: entries come in.

A value is looked for where the inputs' layout would put it: a scalar is a file's text, a list is a directory of ``0``, ``1``, …
(or a JSON list), a map is a directory with one entry a key (or a JSON object), a file or a directory stands for itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from copilot.core import idl
from copilot.core.errors import BadOutput
from copilot.core.output_entries import Sending
from copilot.core.output_json import parse_json
from copilot.core.output_literals import declared_directory, is_uri, stored_literal, union_literal
from copilot.core.output_place import Place, misfit, shown
from copilot.core.output_scalars import enum_value, scalar_from_bytes, text_of
from copilot.core.output_values import JsonLiterals
from copilot.core.types_text import is_none, type_text

if TYPE_CHECKING:
    from copilot.core.output_entries import Entry

_MANY: Final = 5


@dataclass(slots=True)
class LiteralBuilder:
    """Builds the literals of one task's outputs, and notes what must be sent for them.

    Args:
        references_only: nothing is sent (``DO_NOT_UPLOAD``): a file or directory output is a file that holds the URI at which
            the task itself left it.
    """

    references_only: bool = False
    sends: list[Sending] = field(default_factory=list)

    def build(self, place: Place, literal_type: idl.LiteralType, entry: Entry) -> idl.Literal:
        """The literal of one output.

        Raises:
            OutputError: the entry does not hold a value of the type, or one nested so deeply that no protobuf reader takes it.
        """
        literal = self._build(place, literal_type, entry, exact=False)
        check_readable(place, literal_type, literal)
        return literal

    def _build(self, place: Place, literal_type: idl.LiteralType, entry: Entry, *, exact: bool) -> idl.Literal:
        match literal_type.WhichOneof("type"):
            case "simple":
                return scalar_from_bytes(place, literal_type, _content(place, literal_type, entry), exact=exact)
            case "enum_type":
                text = text_of(place, literal_type, _content(place, literal_type, entry))
                return enum_value(place, literal_type, text)
            case "blob" | "schema" | "structured_dataset_type":
                return self._stored(place, literal_type, entry, exact=exact)
            case "collection_type":
                return self._collection(place, literal_type, entry)
            case "map_value_type":
                return self._map(place, literal_type, entry)
            case "union_type":
                return self._union(place, literal_type, entry)
            case _:
                hint = "Declare the output with a type this version of copilot knows, or use a newer copilot."
                raise misfit(place, literal_type, "the interface gives no type that is known here", hint=hint)

    # --- files and directories ------------------------------------------------------------------------------------

    def _stored(self, place: Place, literal_type: idl.LiteralType, entry: Entry, *, exact: bool) -> idl.Literal:
        if self.references_only:
            return _named(place, literal_type, entry)
        if exact and literal_type.WhichOneof("type") == "blob":
            wants_directory = literal_type.blob.dimensionality == idl.BlobType.MULTIPART
            if wants_directory != entry.is_directory:
                raise misfit(place, literal_type, f"there is a {'directory' if entry.is_directory else 'file'}")
        if not place.uri:
            problem = "a key on the way to it cannot be part of an object's name (it is empty, '.', '..', or holds a '/')"
            raise misfit(place, literal_type, problem, hint="Use keys that could be file names.")
        self.sends.append(Sending(entry, place.uri))
        return stored_literal(literal_type, place.uri, directory=entry.is_directory, name=entry.name)

    # --- lists, maps, unions --------------------------------------------------------------------------------------

    def _collection(self, place: Place, literal_type: idl.LiteralType, entry: Entry) -> idl.Literal:
        if not entry.is_directory:
            return self._json(place, literal_type, entry, "Write a JSON list, or a directory with the entries 0, 1, 2, …")
        literal = idl.Literal()
        literal.collection.SetInParent()
        for index, child in enumerate(_numbered(place, literal_type, entry)):
            element = place.element(index, child.shown)
            literal.collection.literals.append(self._build(element, literal_type.collection_type, child, exact=False))
        return literal

    def _map(self, place: Place, literal_type: idl.LiteralType, entry: Entry) -> idl.Literal:
        if not entry.is_directory:
            return self._json(place, literal_type, entry, "Write a JSON object, or a directory with one entry a key.")
        literal = idl.Literal()
        literal.map.SetInParent()
        for child in entry.entries():
            value = self._build(place.entry(child.name, child.shown), literal_type.map_value_type, child, exact=False)
            literal.map.literals[child.name].CopyFrom(value)
        return literal

    def _union(self, place: Place, literal_type: idl.LiteralType, entry: Entry) -> idl.Literal:
        refusals: list[str] = []
        for exact in (True, False):
            for variant in literal_type.union_type.variants:
                if not exact and is_none(variant):
                    continue
                before = len(self.sends)
                try:
                    value = self._build(place, variant, entry, exact=exact)
                except BadOutput as no:
                    del self.sends[before:]
                    if exact:
                        refusals.append(no.message.partition(" but in ")[2].removeprefix(f"{entry.shown} ") or no.message)
                    continue
                return union_literal(variant, value)
        problem = f"nothing fits any variant ({'; '.join(refusals[:_MANY])})"
        raise misfit(place, literal_type, problem, hint="Write a value of one of its variants.")

    def _json(self, place: Place, literal_type: idl.LiteralType, entry: Entry, hint: str) -> idl.Literal:
        value = parse_json(place, literal_type, text_of(place, literal_type, entry.read()), hint=hint)
        return JsonLiterals(self.sends, partial(self._send_beside, entry)).build(place, literal_type, value)

    def _send_beside(self, entry: Entry, place: Place, literal_type: idl.LiteralType, path: str) -> idl.Literal:
        """The literal of a file or directory that a JSON text names by its path in the output directory.

        Raises:
            OutputError: nothing is there, or it may not be read.
        """
        found = None if self.references_only else entry.beside(path)
        if found is None:
            problem = f"{shown(path)} names no file of the output directory and is no URI"
            hint = "Name a path inside the output directory, or a URI such as s3://bucket/key."
            raise misfit(place, literal_type, problem, hint=hint)
        return self._stored(place, literal_type, found, exact=False)


def check_readable(place: Place, literal_type: idl.LiteralType, literal: idl.Literal) -> None:
    """Proves that the literal can be read back: protobuf writes what its readers then refuse (a hundred messages deep).

    Raises:
        BadOutput: it cannot.
    """
    try:
        idl.LiteralMap.FromString(idl.LiteralMap(literals={place.variable: literal}).SerializeToString())
    except idl.DecodeError as cause:
        hint = "Write it as a file, or as a text that holds the JSON."
        raise misfit(place, literal_type, "the value is nested too deeply for a literal", hint=hint) from cause


def _named(place: Place, literal_type: idl.LiteralType, entry: Entry) -> idl.Literal:
    hint = "With DO_NOT_UPLOAD the task stores the data itself and writes its URI into this file."
    if entry.is_directory:
        raise misfit(place, literal_type, "there is a directory, and nothing is uploaded in this mode", hint=hint)
    text = text_of(place, literal_type, entry.read())
    if not is_uri(text):
        raise misfit(place, literal_type, f"{shown(text)} is no URI, and nothing is uploaded in this mode", hint=hint)
    return stored_literal(literal_type, text, directory=declared_directory(literal_type), name=text.rpartition("/")[2])


def _content(place: Place, literal_type: idl.LiteralType, entry: Entry) -> bytes:
    if entry.is_directory:
        hint = f"Write a file with the value, or declare the output as a directory instead of {type_text(literal_type)}."
        raise misfit(place, literal_type, "there is a directory", hint=hint)
    return entry.read()


def _numbered(place: Place, literal_type: idl.LiteralType, entry: Entry) -> list[Entry]:
    """A directory's entries ``0``, ``1``, … in order; each may have an extension (``0.csv``)."""
    hint = "Call the elements 0, 1, 2, … without a gap; each may have an extension."
    by_index: dict[int, Entry] = {}
    for child in entry.entries():
        stem = child.name.partition(".")[0]
        if not (stem.isascii() and stem.isdigit()) or str(int(stem[:18])) != stem:
            raise misfit(place, literal_type, f"{shown(child.name)} is not the number of an element", hint=hint)
        if int(stem) in by_index:
            problem = f"{shown(by_index[int(stem)].name)} and {shown(child.name)} are both element {stem}"
            raise misfit(place, literal_type, problem, hint=hint)
        by_index[int(stem)] = child
    missing = next((index for index in range(len(by_index)) if index not in by_index), None)
    if missing is not None:
        raise misfit(place, literal_type, f"element {missing} is missing among {len(by_index)}", hint=hint)
    return [by_index[index] for index in range(len(by_index))]
