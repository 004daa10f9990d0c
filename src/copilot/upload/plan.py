"""An output directory and an interface → everything that will be published, decided before a byte moves, and printable."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.core import idl, podfiles
from copilot.core.errors import ReservedName
from copilot.core.output_literals import absent
from copilot.core.output_place import Place
from copilot.core.outputs import LiteralBuilder
from copilot.core.types_text import type_text
from copilot.core.uri import join, redact
from copilot.core.values import SendSpec
from copilot.upload.entries import LocalEntry
from copilot.upload.find import OutputDirectory
from copilot.upload.large import LargeValue, large_value
from copilot.upload.walk import PlannedSend

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

OFFLOADED_PREFIX: Final = "_offloaded"
"""Below the raw prefix: literals too large for ``outputs.pb``, one ``<variable>.pb`` each."""

DEFAULT_MAX_LITERAL_BYTES: Final = 10 * 1024 * 1024


class UploadMode(StrEnum):
    """When and whether the data of files and directories moves."""

    ON_EXIT = "UPLOAD_ON_EXIT"
    EAGER = "UPLOAD_EAGER"
    NONE = "DO_NOT_UPLOAD"


@dataclass(frozen=True, slots=True)
class OutputTarget:
    """Where outputs go.

    Attributes:
        raw_prefix: URI below which data goes, ``<raw>/<variable>``.
        output_prefix: URI below which ``outputs.pb`` and its neighbours go.
        meta_name: the name of ``outputs.pb``.
        error_names: the names under which an error document may be written there.
    """

    raw_prefix: str
    output_prefix: str
    meta_name: str = podfiles.OUTPUTS_PB
    error_names: tuple[str, ...] = (podfiles.ERROR_PB, podfiles.ERRORS_PB)

    @property
    def outputs_uri(self) -> str:
        """The commit."""
        return join(self.output_prefix, self.meta_name)

    def reserved_uris(self) -> Iterator[str]:
        """Every place the protocol keeps for itself."""
        for name in sorted({*podfiles.RESERVED_OUTPUT_NAMES, self.meta_name, *self.error_names}):
            yield join(self.output_prefix, name)


@dataclass(frozen=True, slots=True)
class Offloaded:
    """A literal that is an object of its own.

    Attributes:
        variable: the output.
        uri: the object.
        content: the serialized literal, or where it is read from.
    """

    variable: str
    uri: str
    content: bytes | LargeValue

    @property
    def size_bytes(self) -> int:
        """Of the serialized literal."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.size_bytes

    @property
    def spec(self) -> SendSpec:
        """As it is verified."""
        return SendSpec(Path(f"{self.variable}.pb"), self.uri, variable=self.variable)


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """What will be published.

    Attributes:
        target: where.
        literals: ``outputs.pb``.
        sends: the files and directories that literals name.
        offloaded: literals beyond the size that may stand in ``outputs.pb``.
        declared: the variables and their types, by name.
        paths: where each variable was found; absent ones are missing here.
    """

    target: OutputTarget
    literals: idl.LiteralMap
    sends: tuple[PlannedSend, ...]
    offloaded: tuple[Offloaded, ...]
    declared: Mapping[str, idl.LiteralType]
    paths: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """The plan for people, one line a decision."""
        for variable, literal_type in sorted(self.declared.items()):
            path = self.paths.get(variable, "(not written: None)")
            yield f"read    {variable}: {type_text(literal_type)} from {path}"
        for send in self.sends:
            yield f"send    {send.entry.shown}{'/' if send.entry.is_directory else ''} -> {redact(send.uri)}"
        for item in self.offloaded:
            yield f"offload {item.variable} ({item.size_bytes:,} bytes) -> {redact(item.uri)}"
        size_bytes = self.literals.ByteSize()
        yield f"publish {len(self.literals.literals)} outputs ({size_bytes:,} bytes) -> {redact(self.target.outputs_uri)}"

    def __str__(self) -> str:
        """All lines."""
        return "\n".join(self.lines())


def output_types(interface: idl.TypedInterface) -> dict[str, idl.LiteralType]:
    """The declared outputs by name, in the interface's order."""
    return {entry.key: entry.value.type for entry in interface.outputs.variables}


def plan_outputs(
    directory: Path,
    declared: Mapping[str, idl.LiteralType],
    target: OutputTarget,
    *,
    mode: UploadMode = UploadMode.ON_EXIT,
    max_literal_bytes: int = DEFAULT_MAX_LITERAL_BYTES,
) -> OutputPlan:
    """Reads every declared output and decides what goes where. Trees are not walked yet; no network is touched.

    Args:
        directory: where the task wrote its outputs.
        declared: the interface's outputs.
        target: where they go.
        mode: ``NONE`` sends no data: files and directories are then files that hold a URI.
        max_literal_bytes: a larger literal, or the largest of several that are larger together, becomes an object of its own.

    Raises:
        MissingOutput: a declared output is not there (an optional one becomes None).
        UnreadableOutput: it cannot be read.
        BadOutput: it is not of its type.
        ReservedName: its place is one of those the protocol keeps for itself.
    """
    for variable in declared:
        _refuse_reserved(variable, target)
    found = OutputDirectory.open(directory, declared.keys())
    builder = LiteralBuilder(references_only=mode is UploadMode.NONE)
    literals: dict[str, idl.Literal] = {}
    paths: dict[str, str] = {}
    large: list[Offloaded] = []
    for variable, literal_type in declared.items():
        entry = found.find(variable)
        if entry is not None:
            place = Place(variable, variable, entry.shown, join(target.raw_prefix, variable))
            paths[variable] = entry.shown
            value = large_value(place, literal_type, entry) if entry.fingerprint.size_bytes > max_literal_bytes else None
            if value is None:
                literals[variable] = builder.build(place, literal_type, entry)
            else:
                large.append(Offloaded(variable, _offloaded_uri(target, variable), value))
                literals[variable] = _reference(large[-1], literal_type)
            continue
        nothing = absent(literal_type)
        if nothing is None:
            raise found.missing(variable, type_text(literal_type))
        literals[variable] = nothing
    sends = tuple(PlannedSend(send.entry, send.uri) for send in builder.sends if isinstance(send.entry, LocalEntry))
    offloaded = (*large, *_offload(literals, declared, target, max_literal_bytes))
    _refuse_overlap(sends, target)
    return OutputPlan(target, idl.LiteralMap(literals=literals), sends, offloaded, declared, paths)


def _offload(
    literals: dict[str, idl.Literal], declared: Mapping[str, idl.LiteralType], target: OutputTarget, limit: int
) -> Iterator[Offloaded]:
    sizes = {variable: literal.ByteSize() for variable, literal in literals.items()}
    total = sum(sizes.values())
    for variable in sorted(sizes, key=lambda name: (-sizes[name], name)):
        if total <= limit:
            return
        literal = literals[variable]
        item = Offloaded(variable, _offloaded_uri(target, variable), literal.SerializeToString(deterministic=True))
        reference = _reference(item, declared[variable])
        if literal.HasField("offloaded_metadata") or reference.ByteSize() >= item.size_bytes:
            continue
        literals[variable] = reference
        total += reference.ByteSize() - item.size_bytes
        yield item


def _offloaded_uri(target: OutputTarget, variable: str) -> str:
    return join(target.raw_prefix, OFFLOADED_PREFIX, f"{variable}.pb")


def _reference(item: Offloaded, literal_type: idl.LiteralType) -> idl.Literal:
    metadata = idl.LiteralOffloadedMetadata(uri=item.uri, size_bytes=item.size_bytes, inferred_type=literal_type)
    return idl.Literal(offloaded_metadata=metadata)


def _refuse_reserved(variable: str, target: OutputTarget) -> None:
    uri = _comparable(join(target.raw_prefix, variable))
    collides = variable in {podfiles.SUCCESS_MARKER, podfiles.ERROR_MARKER}
    for reserved in target.reserved_uris():
        place = _comparable(reserved)
        collides = collides or place == uri or place.startswith(f"{uri}/") or uri.startswith(f"{place}/")
    if collides:
        raise ReservedName(
            f"an output called {variable!r} would take the place of a file that copilot itself keeps at {redact(uri)}",
            op="plan",
            subject=variable,
            hint="Rename the output in the task's interface, or give raw outputs a prefix of their own.",
        )


def _refuse_overlap(sends: Iterable[PlannedSend], target: OutputTarget) -> None:
    """Refuses two things with one URI: elements of lists and maps have their own, so only outputs' names can clash."""
    taken = {_comparable(join(target.raw_prefix, OFFLOADED_PREFIX)): OFFLOADED_PREFIX}
    for send in sends:
        uri = _comparable(send.uri)
        if uri in taken:
            raise ReservedName(
                f"outputs {taken[uri]!r} and {send.entry.variable!r} would both be {redact(uri)}",
                op="plan",
                subject=send.entry.variable,
                hint="Rename one of them in the task's interface.",
            )
        taken[uri] = send.entry.variable


def _comparable(uri: str) -> str:
    return uri.rstrip("/")
