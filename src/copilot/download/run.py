"""Inputs from stores into a directory: plan → transfer → verify → publish."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from copilot.core import idl
from copilot.core.errors import BadFlag, BadInputs, StoreError
from copilot.core.literals import Layout
from copilot.core.uri import redact
from copilot.core.values import FetchSpec, Receipt, Totals
from copilot.download.offloaded import read_offloaded
from copilot.download.plan import Format, InputPlan, Mode, plan, refuse_streaming
from copilot.download.ready import Ready
from copilot.download.render import make_directories, write_values
from copilot.download.space import check_space
from copilot.download.staging import Staging
from copilot.engine.budget import memory_limit_bytes
from copilot.engine.crashpoints import reach
from copilot.engine.verify import Manifest, verify

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken, Clock, Log, Stores
    from copilot.engine.journal import FetchJournal

_SHARE_OF_MEMORY: Final = 8
_MIN_LITERALS_BYTES: Final = 16 * 1024 * 1024
_MAX_LITERALS_BYTES: Final = 1024 * 1024 * 1024


def literals_budget(memory_bytes: int | None) -> int:
    """Most bytes of literals to hold: an eighth of the container's memory, from 16 MiB to 1 GiB; 1 GiB where there is no limit.

    While they become files' texts and documents they are there several times over.
    """
    if memory_bytes is None:
        return _MAX_LITERALS_BYTES
    return max(_MIN_LITERALS_BYTES, min(_MAX_LITERALS_BYTES, memory_bytes // _SHARE_OF_MEMORY))


class Fetching(Protocol):
    """What staging needs of the engine (``engine.transfer.Transfer`` has it)."""

    def fetch(
        self, specs: Iterable[FetchSpec], root: Path, cancel: CancelToken, *, journal: FetchJournal | None = None
    ) -> Iterator[Receipt]:
        """Brings everything below ``root``; a receipt an object. ``journal``: what an earlier run has left."""
        ...

    def read(self, uri: str, cancel: CancelToken, *, max_bytes: int | None = None) -> bytes:
        """One object's content."""
        ...


@dataclass(frozen=True, slots=True)
class InputRequest:
    """What is to be staged, and where.

    Attributes:
        directory: the input directory; made with its parents if it is not there.
        source: the URI of ``inputs.pb`` (a ``core.LiteralMap``, or a ``task.Inputs``: the same on the wire).
        literals: the inputs themselves, for callers that have them; ``source`` is then not read.
        interface: the declared inputs, or None when they are not known.
        document: ``inputs.json``, ``inputs.yaml``, or neither.
        layout: how single files are named.
        mode: whether bytes move.
        control_dir: where ``READY`` is kept; None for no marker (every run then stages again).
        max_literals_bytes: most bytes of literals held in memory, of ``inputs.pb`` and again of all offloaded ones together;
            None for ``literals_budget`` of the container's limit.
    """

    directory: Path | str
    source: str = ""
    literals: idl.LiteralMap | None = None
    interface: idl.VariableMap | None = None
    document: Format = Format.JSON
    layout: Layout = Layout.DIRECT
    mode: Mode = Mode.DOWNLOAD_EAGER
    control_dir: Path | None = None
    max_literals_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class InputsManifest:
    """What is in place now.

    Attributes:
        plan: what was decided.
        totals: objects and bytes fetched (not the values written), and the seconds it all took.
        manifest: the proof that everything planned has moved; None when it was in place already.
        already: an earlier run had finished this very plan, nothing was done.
        empty: directory inputs with nothing in them.
    """

    plan: InputPlan
    totals: Totals
    manifest: Manifest | None = None
    already: bool = False
    empty: tuple[str, ...] = ()


def parse_inputs(content: bytes, source: str) -> idl.LiteralMap:
    """The literals of an ``inputs.pb``.

    Raises:
        BadInputs: it is none.
    """
    try:
        return idl.LiteralMap.FromString(content)
    except idl.DecodeError as cause:
        raise BadInputs(
            f"{redact(source)} is no core.LiteralMap ({len(content)} bytes that do not parse)",
            op="read",
            subject=redact(source),
            hint="Check that the URI names the task's inputs.pb, and that it was written whole.",
        ) from cause


def plan_inputs(request: InputRequest, *, transfer: Fetching, cancel: CancelToken) -> InputPlan:
    """Reads the literals, offloaded ones too, and decides what the input directory will hold. Writes nothing.

    Raises:
        BadFlag: no input directory was given.
        NotYet, InputError, StoreError, Interrupted: see ``plan`` and ``Transfer.read``.
    """
    refuse_streaming(request.mode)
    input_dir = os.fspath(request.directory)
    if not input_dir or "\0" in input_dir:
        raise BadFlag("No input directory was given", op="plan", hint="Name the directory that the inputs go to.")
    most = request.max_literals_bytes
    if most is None:
        most = literals_budget(memory_limit_bytes())
    literals = idl.LiteralMap()
    if request.literals is None:
        literals = parse_inputs(transfer.read(request.source, cancel, max_bytes=most), request.source)
    else:
        literals.CopyFrom(request.literals)
    read_offloaded(literals, lambda uri, left: transfer.read(uri, cancel, max_bytes=left), max_bytes=most)
    return plan(
        literals,
        interface=request.interface,
        input_dir=os.path.normpath(input_dir),
        document=request.document,
        layout=request.layout,
        mode=request.mode,
        source=request.source,
    )


def stage_inputs(
    request: InputRequest,
    *,
    transfer: Fetching,
    clock: Clock,
    log: Log,
    cancel: CancelToken,
    stores: Stores | None = None,
) -> InputsManifest:
    """Puts the inputs in place, all of them or none. A second run of a finished plan does nothing and succeeds.

    Args:
        request: what, and where.
        transfer: the engine.
        clock: for durations and the marker's time.
        log: hears ``inputs.planned``, ``.undeclared``, ``.empty_directory``, ``.ready``, ``.already_there``.
        cancel: when to stop.
        stores: asked for sizes beforehand, so that what cannot fit is refused before a byte moves; None to not ask.

    Raises:
        InputError: the inputs cannot be used, or the directory holds those of another plan.
        NotEnoughSpace, DiskFull, ReadOnlyPath, LocalIOError: this machine.
        StoreError, Interrupted: from the engine.
    """
    started_s = clock.monotonic_s()
    todo = plan_inputs(request, transfer=transfer, cancel=cancel)
    log.event("inputs.planned", fetches=len(todo.fetches), files=len(todo.files), digest=todo.digest, source=todo.source)
    if todo.undeclared:
        log.event("inputs.undeclared", level="warning", inputs=list(todo.undeclared))
    directory = Path(todo.input_dir)
    ready = Ready(request.control_dir) if request.control_dir is not None else None
    if ready is not None:
        if ready.already(todo, directory, log=log):
            log.event("inputs.already_there", directory=str(directory), digest=todo.digest)
            return InputsManifest(todo, Totals(seconds=clock.monotonic_s() - started_s), already=True)
        ready.withdraw()
    reach("inputs.planned")
    with Staging(directory, log=log, plan_digest=todo.digest) as staging:
        if stores is not None:
            more_bytes = todo.known_bytes - staging.held_bytes
            check_space(todo.fetches, stores, known_bytes=more_bytes, root=staging.root, cancel=cancel)
        manifest = _gather(todo, staging, transfer, directory, cancel)
        empty = _empty_trees(todo, staging.root)
        if stores is not None:
            _no_object_for_a_directory(todo, empty, stores)
        cancel.check()
        staging.publish([file.path for file in todo.documents])
    for path in empty:
        log.event("inputs.empty_directory", level="warning", path=path, hint="Nothing is stored below its URI.")
    totals = Totals(manifest.objects, manifest.size_bytes, clock.monotonic_s() - started_s)
    reach("ready.before-write")
    if ready is not None:
        ready.write(todo, totals, now_s=clock.now_s())
    reach("ready.written")
    log.event(
        "inputs.ready", directory=str(directory), objects=totals.objects, size_bytes=totals.size_bytes, seconds=totals.seconds
    )
    return InputsManifest(todo, totals, manifest, empty=empty)


def _gather(todo: InputPlan, staging: Staging, transfer: Fetching, directory: Path, cancel: CancelToken) -> Manifest:
    """Everything of the plan into the staging: what is known is written, what is not is fetched, and all of it is verified."""
    root = staging.root
    write_values(todo.files, root, final=directory, cancel=cancel)
    make_directories((*todo.directories, *(spec.target for spec in todo.fetches if spec.tree)), root)
    reach("values.written")
    with staging.journal() as journal:
        receipts = transfer.fetch(todo.fetches, root, cancel, journal=journal) if todo.fetches else iter(())
        try:
            manifest = verify(todo.fetches, receipts, root=root)
        finally:
            # Whatever ended it, no thread writes into the staging directory any more when it is removed.
            if isinstance(receipts, Generator):
                receipts.close()
    reach("inputs.fetched")
    # The documents come last: they say that the rest is there.
    write_values(todo.documents, root, final=directory, cancel=cancel)
    reach("documents.written")
    return manifest


def _no_object_for_a_directory(todo: InputPlan, empty: Iterable[str], stores: Stores) -> None:
    """A directory input with nothing below its URI is empty; one whose URI is an object with content is a mistake."""
    for spec in todo.fetches:
        if not spec.tree or spec.target not in empty:
            continue
        location = stores.locate(spec.uri)
        try:
            size_bytes = location.store.head(location.key).size_bytes
        except StoreError:
            continue
        # An object of no bytes may be some tool's marker of a directory.
        if size_bytes:
            raise BadInputs(
                f"Input '{spec.variable}' is a directory and {redact(spec.uri)} is an object of {size_bytes} bytes",
                op="verify",
                subject=redact(spec.uri),
                hint="Declare the input as a file, or give it the prefix of a directory.",
            )


def _empty_trees(todo: InputPlan, root: Path) -> tuple[str, ...]:
    empty = []
    for spec in todo.fetches:
        if spec.tree:
            with os.scandir(root / spec.target) as entries:
                if next(entries, None) is None:
                    empty.append(spec.target)
    return tuple(empty)
