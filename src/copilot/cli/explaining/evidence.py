"""What a run left behind: in its output prefix, in its control directory, in its output directory. Read, never judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, cast

from copilot.core import idl, podfiles
from copilot.core.errors import AccessDenied, BadInputs, ObjectNotFound, Unsupported
from copilot.core.uri import join, parse, relative_key
from copilot.upload.watchers.wrapper import WrapperWatcher

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.core.ports import CancelToken

_MAX_DOCUMENT_BYTES: Final = 16 * 1024 * 1024
_MANIFEST_TAIL_BYTES: Final = 64 * 1024
_MOST_LISTED: Final = 1000
_OF_A_PREFIX: Final = (
    podfiles.OUTPUTS_PB,
    podfiles.MANIFEST,
    podfiles.RECEIPT,
    podfiles.ERROR_PB,
    podfiles.ERRORS_PB,
)
_OF_A_CONTROL_DIRECTORY: Final = (podfiles.ARMED, podfiles.READY, podfiles.RUNNING, podfiles.EXITCODE, podfiles.PROGRESS)
_OF_AN_OUTPUT_DIRECTORY: Final = (podfiles.SUCCESS_MARKER, podfiles.ERROR_MARKER)

T = TypeVar("T")
Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Listed:
    """Objects below a prefix: how many, of which size, some names. ``more`` when there are more than were counted."""

    objects: int
    size_bytes: int
    names: tuple[str, ...]
    more: bool


@dataclass(slots=True)
class Evidence:
    """What was found.

    Attributes:
        uri: where it was looked for.
        found: the names that are there, in the order of the protocol.
        receipt: ``_receipt.json``; empty where there is none.
        manifest: the end of ``_manifest.json``: totals and digest.
        error: the error document's code and message, or None.
        partial: what lies below ``partial/``, or None for nothing.
        exitcode: the wrapper's word.
        progress: the numbers of the transfer that runs, or ran.
        wrapper_lives: whether the task still runs, on this machine.
        denied: the first refusal: a store answers so for what is not there to those who may not list.
        written_at_s: when each document there was written, where the store says so.
    """

    uri: str
    found: list[str] = field(default_factory=list)
    receipt: Fields = field(default_factory=dict)
    manifest: Fields = field(default_factory=dict)
    error: tuple[str, str] | None = None
    partial: Listed | None = None
    exitcode: Fields = field(default_factory=dict)
    progress: Fields = field(default_factory=dict)
    wrapper_lives: bool = False
    denied: AccessDenied | None = None
    written_at_s: dict[str, float] = field(default_factory=dict)

    @property
    def committed_since(self) -> bool:
        """Whether outputs.pb is younger than the receipt: its sidecar was ended before it could write its own."""
        committed_s, told_s = self.written_at_s.get(podfiles.OUTPUTS_PB), self.written_at_s.get(podfiles.RECEIPT)
        return committed_s is not None and told_s is not None and committed_s > told_s

    def there(self, ask: Callable[[], T]) -> T | None:
        """What ``ask`` finds; None where there is nothing, or nothing for us."""
        try:
            return ask()
        except ObjectNotFound:
            return None
        except AccessDenied as error:
            self.denied = self.denied or error
            return None


def gather(uri: str, *, session: Session, cancel: CancelToken) -> Evidence:
    """Looks at ``uri``: an output prefix, one of the files in it, or a directory of a pod.

    Raises:
        ObjectNotFound: there is nothing of ours.
        StoreError: the store does not answer, or does not let us look.
    """
    evidence = Evidence(_prefix(uri))
    _prefix_evidence(evidence, session, cancel)
    if parse(evidence.uri).scheme == "file":
        _local_evidence(evidence, Path(parse(evidence.uri).key), session)
    if session.configuration.control_dir is not None:
        _local_evidence(evidence, session.configuration.control_dir, session)
    if not evidence.found and evidence.partial is None:
        if evidence.denied is not None:
            raise evidence.denied
        raise ObjectNotFound(
            f"{parse(evidence.uri).redacted()} holds nothing that copilot writes",
            op="explain",
            subject=parse(evidence.uri).redacted(),
            hint="If it is a run's output prefix, the run goes on, or its pod was ended before it could tell: neither "
            "outputs.pb nor an error document means that it is not finished. Else give the output prefix of a run, the "
            "directory of its outputs, or its control directory.",
        )
    return evidence


def _prefix(uri: str) -> str:
    """The prefix that ``uri`` means; local paths as absolute ones."""
    base, _, name = uri.rstrip("/").rpartition("/")
    known = (*_OF_A_PREFIX, *_OF_A_CONTROL_DIRECTORY, *_OF_AN_OUTPUT_DIRECTORY, podfiles.PARTIAL.rstrip("/"))
    uri = (base or ("/" if uri.startswith("/") else ".")) if name in known else uri.rstrip("/") or "/"
    return uri if parse(uri).scheme != "file" else str(Path(parse(uri).key).absolute())


def _prefix_evidence(evidence: Evidence, session: Session, cancel: CancelToken) -> None:
    place = session.stores.locate(evidence.uri)

    def key(name: str) -> str:
        return join(place.key, name) if place.key else name

    for name in _OF_A_PREFIX:
        info = evidence.there(lambda name=name: place.store.head(key(name)))  # type: ignore[misc] # a default makes it of this turn
        if info is None:
            continue
        evidence.found.append(name)
        if info.modified_at_s is not None:
            evidence.written_at_s[name] = info.modified_at_s
        if name == podfiles.MANIFEST:
            start = max(0, (info.size_bytes or 0) - _MANIFEST_TAIL_BYTES)
            with place.store.get(key(name), start=start) as stream:
                evidence.manifest = _manifest_tail(b"".join(stream))
        elif name != podfiles.OUTPUTS_PB:
            data = evidence.there(lambda name=name: _read(session, join(evidence.uri, name), cancel))  # type: ignore[misc] # as above
            _document(evidence, name, data or b"")
    evidence.partial = evidence.there(lambda: _list(session, join(evidence.uri, podfiles.PARTIAL)))


def _read(session: Session, uri: str, cancel: CancelToken) -> bytes:
    try:
        return session.transfer.read(uri, cancel, max_bytes=_MAX_DOCUMENT_BYTES)
    except BadInputs:  # larger than anything that we write: nothing of ours
        return b""


def _document(evidence: Evidence, name: str, data: bytes) -> None:
    if name == podfiles.RECEIPT:
        evidence.receipt = _fields(data)
        return
    try:
        error = idl.ErrorDocument.FromString(data).error
    except idl.DecodeError:
        return
    evidence.error = evidence.error or (error.code, error.message)


def _local_evidence(evidence: Evidence, directory: Path, session: Session) -> None:
    for name in (*_OF_A_CONTROL_DIRECTORY, *_OF_AN_OUTPUT_DIRECTORY):
        path = directory / name
        if name in evidence.found or not path.is_file():
            continue
        evidence.found.append(name)
        if name == podfiles.EXITCODE:
            evidence.exitcode = _fields(path.read_bytes())
        elif name == podfiles.PROGRESS:
            evidence.progress = _fields(path.read_bytes())
        elif name == podfiles.RUNNING:
            evidence.wrapper_lives = WrapperWatcher(directory, session.clock, session.log).running()
        elif name == podfiles.ERROR_MARKER:
            text = path.read_bytes()[: podfiles.MAX_ERROR_MARKER_BYTES].decode("utf-8", "replace").strip()
            evidence.error = evidence.error or ("TaskFailed", f"TaskFailed: {text}")


def _list(session: Session, uri: str) -> Listed | None:
    place = session.stores.locate(uri)
    objects = size_bytes = 0
    names: list[str] = []
    more = False
    try:
        for info in islice(place.store.list(place.key), _MOST_LISTED + 1):
            name = relative_key(place.key, info.key)
            if name in {"", podfiles.RECEIPT}:
                continue
            if objects == _MOST_LISTED:
                more = True
                break
            objects, size_bytes = objects + 1, size_bytes + (info.size_bytes or 0)
            names.append(name)
    except Unsupported:
        return None
    return Listed(objects, size_bytes, tuple(sorted(names)[:3]), more) if objects else None


def _fields(data: bytes) -> Fields:
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return cast("Fields", document) if isinstance(document, dict) else {}


def _manifest_tail(data: bytes) -> Fields:
    """The fields after the list of objects; the list itself may have a million."""
    _, _, tail = data.rpartition(b"\n ],\n ")
    return _fields(b"{" + tail)
