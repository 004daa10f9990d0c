"""Objects from a store into files: small ones whole, big ones handed on to ``ranged``."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from copilot.core.errors import ObjectChanged, Truncated
from copilot.core.paths import safe_relative
from copilot.core.uri import as_prefix, join, redact
from copilot.core.values import Receipt
from copilot.engine import digest
from copilot.engine.atomic import local_error, local_errors, make_directory, move_into_place, write_all
from copilot.engine.claims import bare_etag
from copilot.engine.context import AT_ONCE_BYTES, same_object
from copilot.engine.crashpoints import reach
from copilot.engine.listing import listed
from copilot.engine.proving import Proving

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from copilot.core.ports import ByteStream, CancelToken, Location, ObjectInfo, Stores
    from copilot.core.values import FetchSpec
    from copilot.engine.context import Context
    from copilot.engine.crew import Beat, Crew, Job


def fetch_jobs(specs: Iterable[FetchSpec], stores: Stores, context: Context, cancel: CancelToken) -> Iterator[Job[Receipt]]:
    """One job an object, lazily: a tree is listed while its first objects are already moving."""
    for spec in specs:
        location = stores.locate(spec.uri)
        if spec.tree:
            yield from _tree_jobs(spec, location, context, cancel)
        else:
            yield FetchJob(context, location, safe_relative(spec.target), spec.variable)


def _tree_jobs(spec: FetchSpec, location: Location, context: Context, cancel: CancelToken) -> Iterator[Job[Receipt]]:
    prefix = as_prefix(location.key)
    top = safe_relative(spec.target) if spec.target else ""
    make_directory(f"{context.root}/{top}" if top else context.root)
    entries = listed(location.store, prefix, subject=redact(spec.uri), retrier=context.retrier, cancel=cancel)
    for info in entries:
        tail = info.key.removeprefix(prefix)
        if not tail:
            continue  # the marker of the tree itself: its directory is there already
        uri = join(spec.uri, tail)
        path = safe_relative(tail.removesuffix("/"))
        target = f"{top}/{path}" if top else path
        if tail.endswith("/"):
            yield DirectoryJob(context, uri, target, spec.variable, info)
        else:
            yield FetchJob(context, _below(location, uri, info.key), target, spec.variable, info)


def _below(location: Location, uri: str, key: str) -> Location:
    return type(location)(uri, location.store, key)


class DirectoryJob:
    """A marker object ``x/``: an empty directory."""

    __slots__ = ("_context", "_info", "_target", "_uri", "_variable", "heavy", "patience")

    def __init__(self, context: Context, uri: str, target: str, variable: str, info: ObjectInfo) -> None:
        """``target`` is without the ``/``."""
        self._context = context
        self._uri = uri
        self._target = target
        self._variable = variable
        self._info = info
        self.heavy = False
        self.patience = context.retrier.patience()

    @property
    def subject(self) -> str:
        """The object, for messages."""
        return redact(self._uri)

    def run(self, crew: Crew[Receipt], beat: Beat) -> Receipt:  # noqa: ARG002 - the protocol of jobs
        """Makes the directory."""
        if self._info.size_bytes:
            self._context.log.event(
                "marker.has_content", level="warning", subject=self.subject, size_bytes=self._info.size_bytes
            )
        make_directory(f"{self._context.root}/{self._target}")
        self._context.progress.planned(1, 0)
        self._context.progress.finished(self.subject, 0)
        return Receipt(self._uri, f"{self._target}/", 0, digest.text(0), bare_etag(self._info.etag), "", self._variable)


class FetchJob:
    """One object into one file. What the response says decides whether it comes whole or in ranges."""

    __slots__ = ("_context", "_known", "_planned", "heavy", "location", "patience", "proving", "target", "variable")

    def __init__(
        self, context: Context, location: Location, target: str, variable: str, known: ObjectInfo | None = None
    ) -> None:
        """``known`` is what a listing said: the first attempt holds the object to it."""
        self._context = context
        self._known = known
        self.proving = Proving(context, location)
        self._planned = False
        self.location = location
        self.target = target
        self.variable = variable
        self.heavy = False
        self.patience = context.retrier.patience()

    @property
    def subject(self) -> str:
        """The object, for messages."""
        return redact(self.location.uri)

    def run(self, crew: Crew[Receipt], beat: Beat) -> Receipt | None:
        """Fetches it; None when it was handed on as ranges."""
        if self._context.journal is not None and (receipt := self._from_before(beat)) is not None:
            return receipt
        known = self._known
        if known is not None and self._in_ranges(known):
            self._hand_on(crew, beat, known)
            return None
        return self._context.retrier.call(
            lambda: self._attempt(crew, beat), cancel=crew, op="get", subject=self.location.uri, patience=self.patience
        )

    def _from_before(self, beat: Beat) -> Receipt | None:
        """The file of an earlier run, if it is whole and the object is still the same."""
        journal = self._context.journal
        noted = journal.done(self.location.uri, self.target) if journal is not None else None
        if journal is None or noted is None or not noted[0].etag:
            return None
        receipt, places = noted
        path = next((place for place in places if _digest_of(place, receipt.size_bytes, beat) == receipt.digest), None)
        if path is None:
            return None
        known = self._known or self._context.retrier.call(
            lambda: self.location.store.head(self.location.key), cancel=beat.crew, op="head", subject=self.location.uri
        )
        if bare_etag(known.etag) != receipt.etag or known.size_bytes != receipt.size_bytes:
            return None
        self._plan(known)
        with beat.lock:
            beat.check()
            move_into_place(path, f"{self._context.root}/{self.target}")
        self._context.progress.moved(receipt.size_bytes)
        self._context.progress.finished(self.subject, receipt.size_bytes)
        return replace(receipt, variable=self.variable)

    def _in_ranges(self, info: ObjectInfo) -> bool:
        able = self.location.store.capabilities
        floor = max(able.min_ranged_bytes, self._context.limits.part_bytes)
        # Ranges of an object that nothing pins could be ranges of two objects.
        return bool(
            info.size_bytes is not None
            and info.size_bytes > floor
            and able.ranged
            and able.pinned
            and info.etag
            and not able.local
        )

    def _hand_on(self, crew: Crew[Receipt], beat: Beat, info: ObjectInfo) -> None:
        from copilot.engine.ranged import RangedFetch  # noqa: PLC0415 - the two know each other

        self._plan(info)
        RangedFetch(self._context, self, info).begin(crew, beat)

    def begin_again(self) -> None:
        """The object is another than the one that was listed: take what is there now."""
        self._known = None

    def _plan(self, info: ObjectInfo) -> None:
        if not self._planned:
            self._planned = True
            self._context.progress.planned(1, info.size_bytes or 0)

    def _attempt(self, crew: Crew[Receipt], beat: Beat) -> Receipt | None:
        beat.touch()
        expected_bytes = AT_ONCE_BYTES if self._known is None else min(self._known.size_bytes or 0, AT_ONCE_BYTES)
        with beat.waiting(self._context.limits.slack_s(expected_bytes)):
            return self._receive(crew, beat)

    def _receive(self, crew: Crew[Receipt], beat: Beat) -> Receipt | None:
        with self.location.store.get(self.location.key) as stream:
            info = stream.info
            if info.size_bytes is not None:
                beat.slack_s = self._context.limits.slack_s(min(info.size_bytes, AT_ONCE_BYTES))
            self._hold_to_what_is_known(info)
            if self._known is None and self._in_ranges(info):
                stream.close()
                self._hand_on(crew, beat, info)
                return None
            self._plan(info)
            temporary = self._context.temporary()
            try:
                size_bytes, crc, proof = self._save(stream, temporary, beat)
                self._check_size(info, size_bytes)
                proof = proof or self.proving.prove(replace(info, size_bytes=size_bytes), crc, temporary, beat)
                beat.check()
                reach("fetch.small-written")
                move_into_place(temporary, f"{self._context.root}/{self.target}")
            except BaseException:
                _remove(temporary)
                raise
        reach("fetch.small-renamed")
        self._context.progress.finished(self.subject, size_bytes)
        receipt = Receipt(
            self.location.uri,
            self.target,
            size_bytes,
            digest.text(crc),
            bare_etag(info.etag),
            info.version or "",
            self.variable,
            proof,
        )
        if self._context.journal is not None:
            self._context.journal.note(receipt)
            reach("fetch.small-noted")
        return receipt

    def _hold_to_what_is_known(self, info: ObjectInfo) -> None:
        if self._known is not None and not same_object(self._known, info):
            self._known = None
            raise ObjectChanged(f"{self.subject} changed after it was listed", op="get", subject=self.subject)

    def _check_size(self, info: ObjectInfo, size_bytes: int) -> None:
        if info.size_bytes is not None and size_bytes != info.size_bytes:
            raise Truncated(f"{self.subject} has {info.size_bytes} bytes and {size_bytes} came", op="get", subject=self.subject)

    def _save(self, stream: ByteStream, temporary: str, beat: Beat) -> tuple[int, int, str]:
        """The stream into a new file: its length, its checksum, and its proof if it is what its store says at once."""
        hashed = self.proving.hashing(stream.info)
        crc = size_bytes = 0
        with local_errors(f"{self._context.root}/{self.target}"):
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            for chunk in stream:
                beat.touch()
                crc = digest.extend(crc, chunk)
                if hashed is not None:
                    hashed[1].update(chunk)
                try:
                    size_bytes += write_all(fd, chunk)
                except OSError as error:
                    raise local_error(f"{self._context.root}/{self.target}", error) from error
                self._context.progress.moved(len(chunk))
        finally:
            os.close(fd)
        return size_bytes, crc, hashed[0].proof if hashed is not None and hashed[1].fits() else ""


def _digest_of(path: str, size_bytes: int, beat: Beat) -> str:
    """The checksum of a file that has that size; empty for any other."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a string, as everywhere here
            if os.fstat(file.fileno()).st_size != size_bytes:
                return ""
            crc = 0
            while chunk := file.read(AT_ONCE_BYTES):
                crc = digest.extend(crc, chunk)
                beat.touch()
    except OSError:
        return ""
    return digest.text(crc)


def _remove(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108 - a string, on the way out
    except OSError:
        return
