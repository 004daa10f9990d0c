"""What staging the inputs will do, decided before anything is done, and printable."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from copilot.core import idl
from copilot.core.errors import BadFlag, BadInputs, NotYet, UnsafePath
from copilot.core.json_text import to_json
from copilot.core.literals import Layout, Rendering, ValueFile, render
from copilot.core.paths import PathTree
from copilot.core.podfiles import INPUTS_JSON, INPUTS_PB, INPUTS_YAML
from copilot.core.uri import redact

if TYPE_CHECKING:
    from copilot.core.values import FetchSpec

_Choice = TypeVar("_Choice", bound=Enum)

STAGING_NAME = ".copilot-staging"
"""The hidden directory everything is gathered in; it is gone when the inputs are in place."""


class Format(Enum):
    """Which document stands beside ``inputs.pb``: ``inputs.json``, ``inputs.yaml``, or none."""

    JSON = "JSON"
    YAML = "YAML"
    PROTO = "PROTO"


class Mode(Enum):
    """When bytes move: before the task, while it runs, or not at all (the values are then the remote URIs)."""

    DOWNLOAD_EAGER = "DOWNLOAD_EAGER"
    DOWNLOAD_STREAM = "DOWNLOAD_STREAM"
    DO_NOT_DOWNLOAD = "DO_NOT_DOWNLOAD"


def choice(kind: type[_Choice], text: str, flag: str) -> _Choice:
    """The member of ``kind`` called ``text``.

    Raises:
        BadFlag: there is none; names ``flag`` and those there are.
    """
    try:
        return kind[text]
    except KeyError as cause:
        names = ", ".join(kind.__members__)
        raise BadFlag(f"{flag} cannot be {text!r}", op="plan", subject=flag, hint=f"Use one of {names}.") from cause


@dataclass(frozen=True, slots=True)
class InputPlan:
    """Everything staging will do.

    Attributes:
        source: where the literals came from, redacted, or empty.
        input_dir: the final directory, as the task sees it.
        fetches: objects and trees to bring.
        files: values to write.
        directories: directories that must be there whatever comes.
        documents: ``inputs.json`` or ``inputs.yaml``, then ``inputs.pb``: published in this order, after everything else.
        undeclared: inputs the interface does not know; they are staged all the same.
        digest: ``sha256:…`` of everything that decides the result: equal digests, equal inputs directories.
    """

    source: str
    input_dir: str
    fetches: tuple[FetchSpec, ...]
    files: tuple[ValueFile, ...]
    directories: tuple[str, ...]
    documents: tuple[ValueFile, ...]
    undeclared: tuple[str, ...]
    digest: str

    @property
    def known_bytes(self) -> int:
        """Size of what is written without being fetched."""
        return sum(len(file.content) for file in (*self.files, *self.documents))

    def as_dict(self) -> dict[str, object]:
        """For ``--dry-run`` and ``copilot plan``: no contents, no secrets in URIs."""
        return {
            "source": self.source,
            "input_dir": self.input_dir,
            "digest": self.digest,
            "fetch": [
                {"uri": redact(spec.uri), "to": spec.target, "tree": spec.tree, "input": spec.variable} for spec in self.fetches
            ],
            "write": [{"path": file.path, "size_bytes": len(file.content), "input": file.variable} for file in self.files],
            "directories": list(self.directories),
            "publish_last": [file.path for file in self.documents],
            "undeclared": list(self.undeclared),
        }


def plan(
    literals: idl.LiteralMap,
    *,
    interface: idl.VariableMap | None,
    input_dir: str,
    document: Format,
    layout: Layout,
    mode: Mode,
    source: str = "",
) -> InputPlan:
    """Decides what the input directory will hold.

    Args:
        literals: the inputs, offloaded literals read.
        interface: the declared inputs, or None when they are not known.
        input_dir: the final directory as the task sees it, cleaned (no ``//``, no ``/`` at its end).
        document: JSON, YAML or neither.
        layout: how single files are named.
        mode: whether bytes move.
        source: where ``literals`` came from, for people.

    Raises:
        NotYet: ``DOWNLOAD_STREAM``.
        BadInputs: a declared input is not there; a value that the document cannot hold.
        UnknownLiteral, UnsafePath: see ``core.literals.render``.
    """
    refuse_streaming(mode)
    undeclared = _compare(literals, interface)
    names = {Format.JSON: [INPUTS_JSON], Format.YAML: [INPUTS_YAML], Format.PROTO: []}[document]
    rendering = render(
        literals,
        input_dir=input_dir,
        layout=layout,
        references=mode is Mode.DO_NOT_DOWNLOAD,
        taken=_reserved([*names, INPUTS_PB]),
    )
    documents = tuple(_documents(rendering, document))
    digest = hashlib.sha256()
    for part in (*(file.content for file in documents), *_decisions(rendering, input_dir)):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return InputPlan(
        source=redact(source),
        input_dir=input_dir,
        fetches=tuple(rendering.fetches),
        files=tuple(rendering.files),
        directories=tuple(rendering.directories),
        documents=documents,
        undeclared=undeclared,
        digest=f"sha256:{digest.hexdigest()}",
    )


def refuse_streaming(mode: Mode) -> None:
    """Raises ``NotYet`` for the one mode this version does not have."""
    if mode is Mode.DOWNLOAD_STREAM:
        raise NotYet(
            "Inputs cannot be streamed to the task yet (DOWNLOAD_STREAM)",
            op="plan",
            subject="--download-mode",
            hint="Use DOWNLOAD_EAGER, or DO_NOT_DOWNLOAD to get the URIs alone.",
        )


def _compare(literals: idl.LiteralMap, interface: idl.VariableMap | None) -> tuple[str, ...]:
    if interface is None:
        return ()
    declared = {entry.key: entry.value.type for entry in interface.variables}
    missing = [name for name, kind in declared.items() if name not in literals.literals and not _may_be_absent(kind)]
    if missing:
        there = ", ".join(f"'{name}'" for name in sorted(literals.literals)) or "none"
        raise BadInputs(
            f"Input '{missing[0]}' is declared and no value was given for it (there: {there})",
            op="plan",
            subject=missing[0],
            hint="Give the task a value for it, or declare it optional.",
        )
    return tuple(sorted(set(literals.literals) - set(declared)))


def _may_be_absent(kind: idl.LiteralType) -> bool:
    which = kind.WhichOneof("type")
    if which == "union_type":
        return any(_may_be_absent(variant) for variant in kind.union_type.variants)
    return bool(which == "simple" and kind.simple == idl.SimpleType.NONE)


def _reserved(names: list[str]) -> PathTree:
    taken = PathTree()
    for name in names:
        taken.add_file(name, "copilot itself")
    taken.add_tree(STAGING_NAME, "copilot itself")
    return taken


def _documents(rendering: Rendering, document: Format) -> list[ValueFile]:
    documents = []
    if document is not Format.PROTO:
        if rendering.unprintable:
            raise BadInputs(
                f"Input '{rendering.unprintable}' is NaN or infinite, which neither JSON nor YAML made from it can hold",
                op="plan",
                subject=rendering.unprintable,
                hint="Use the format PROTO: the file of the input and inputs.pb hold any float.",
            )
        if document is Format.JSON:
            documents.append(ValueFile(INPUTS_JSON, _text(to_json(rendering.values)), ""))
        else:
            from copilot.core.yaml_text import to_yaml  # noqa: PLC0415 — 25 ms that no other format has to pay

            documents.append(ValueFile(INPUTS_YAML, _text(to_yaml(rendering.values)), ""))
    documents.append(ValueFile(INPUTS_PB, rendering.literals.SerializeToString(deterministic=True), ""))
    return documents


def _text(document: str) -> bytes:
    try:
        return document.encode("utf-8")
    except UnicodeEncodeError as cause:
        raise UnsafePath(
            "The path of the input directory is no valid UTF-8", op="plan", hint="Give the directory a name that is text."
        ) from cause


def _decisions(rendering: Rendering, input_dir: str) -> list[bytes]:
    """What the documents do not say: where bytes come from, and where they go."""
    fetches = sorted(f"{spec.uri}\0{spec.target}\0{spec.tree}" for spec in rendering.fetches)
    return [text.encode("utf-8", "surrogatepass") for text in (input_dir, *fetches)]
