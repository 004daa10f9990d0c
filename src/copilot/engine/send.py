"""Files into objects: small ones as one request from memory, big ones streamed by the store."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

from copilot.core.errors import (
    AlreadyExists,
    ChecksumMismatch,
    CopilotError,
    Interrupted,
    LocalError,
    MissingExtra,
    ObjectNotFound,
    Truncated,
    Unsupported,
)
from copilot.core.uri import join, redact
from copilot.core.values import Receipt
from copilot.engine import digest
from copilot.engine.atomic import local_errors
from copilot.engine.claims import bare_etag
from copilot.engine.crashpoints import reach
from copilot.engine.resumable import ResumableSend, upload_part_bytes
from copilot.engine.source import BytesSource, FileSource
from copilot.engine.walk import walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from copilot.core.ports import Location, ObjectInfo, Source, Stores
    from copilot.core.values import SendSpec
    from copilot.engine.context import Context
    from copilot.engine.crew import Beat, Crew, Job

SMALL_BYTES: Final = 1024 * 1024
LEAST_PARTS: Final = 2  # a file of fewer is sent again whole: that costs no more than a part or two
_MOST_IN_FLIGHT: Final = 32 * 1024 * 1024  # what a store holds of one body that it has read and not yet sent


def send_jobs(specs: Iterable[SendSpec], stores: Stores, context: Context) -> Iterator[Job[Receipt]]:
    """One job an object, lazily."""
    for spec in specs:
        name = spec.path.name
        if not spec.tree:
            yield SendJob(context, stores.locate(spec.uri), str(spec.path), name, spec.variable)
            continue
        for path, relative in walk(str(spec.path)):
            uri = join(spec.uri, relative) if relative != "/" else f"{spec.uri.rstrip('/')}/"
            shown = f"{name}/{relative.lstrip('/')}"
            if relative.endswith("/"):
                yield WriteJob(context, stores.locate(uri), b"", shown, spec.variable)
            else:
                yield SendJob(context, stores.locate(uri), path, shown, spec.variable)


class _Put:
    """What both kinds of upload have in common: one put, tried again, and its result compared with what was meant."""

    __slots__ = ("_context", "_location", "_shown", "_tried", "_variable", "heavy", "patience")

    def __init__(self, context: Context, location: Location, shown: str, variable: str) -> None:
        self._context = context
        self._location = location
        self._shown = shown
        self._variable = variable
        self._tried = False
        self.heavy = False
        self.patience = context.retrier.patience()

    @property
    def subject(self) -> str:
        """The object, for messages."""
        return redact(self._location.uri)

    def _put(self, source: Source, beat: Beat, *, if_absent: bool = False) -> ObjectInfo:
        beat.touch()
        slack_s = self._context.limits.slack_s(min(source.size_bytes, _MOST_IN_FLIGHT))
        with self._context.writing(self._location, beat), beat.waiting(slack_s):
            info = self._location.store.put(self._location.key, source, if_absent=if_absent)
        beat.touch()
        if info.size_bytes is not None and info.size_bytes != source.size_bytes:
            raise Truncated(
                f"{self.subject} was sent with {source.size_bytes} bytes and has {info.size_bytes}",
                op="put",
                subject=self.subject,
            )
        return info

    def _check_content(self, data: bytes, info: ObjectInfo, beat: Beat) -> None:
        """Compares with the MD5 the store gives away; where that says no, with the object itself."""
        context, store = self._context, self._location.store
        stated = context.trust.md5_of(store, info)
        if stated is None or stated == hashlib.md5(data, usedforsecurity=False).hexdigest():
            return
        if self._read_back(data, beat):
            context.trust.doubt(store)
            context.log.event("etag.is_no_digest", level="debug", subject=self.subject)
            return
        raise ChecksumMismatch(
            f"{self.subject} arrived with other bytes than were sent",
            op="put",
            subject=self.subject,
            hint="Something between this pod and the store alters data: check proxies, and prefer TLS.",
        )

    def _read_back(self, data: bytes, beat: Beat) -> bool:
        """Whether the object's content is ``data``."""
        at = 0
        with self._location.store.get(self._location.key) as stream:
            for chunk in stream:
                beat.touch()
                if data[at : at + len(chunk)] != chunk:
                    return False
                at += len(chunk)
        return at == len(data)

    def _receipt(self, size_bytes: int, crc: int, info: ObjectInfo) -> Receipt:
        self._context.progress.finished(self.subject, size_bytes)
        return Receipt(
            self._location.uri,
            self._shown,
            size_bytes,
            digest.text(crc),
            bare_etag(info.etag),
            info.version or "",
            self._variable,
        )


class SendJob(_Put):
    """One file. Heavy when it is too big to be held in memory: the store streams it, and few do so at once."""

    __slots__ = ("_path", "_planned", "_resumable")

    def __init__(self, context: Context, location: Location, path: str, shown: str, variable: str) -> None:
        """``shown`` is the receipt's path."""
        super().__init__(context, location, shown, variable)
        self._path = path
        self._planned = False
        self._resumable = True
        with local_errors(path, op="read"):
            self.heavy = os.stat(path).st_size > SMALL_BYTES  # noqa: PTH116 - for every file of a tree

    def run(self, crew: Crew[Receipt], beat: Beat) -> Receipt:
        """Uploads it."""
        reach("send.begun")
        return self._context.retrier.call(
            lambda: self._attempt(crew, beat), cancel=crew, op="put", subject=self._location.uri, patience=self.patience
        )

    def _attempt(self, crew: Crew[Receipt], beat: Beat) -> Receipt:
        def moved(size_bytes: int) -> None:
            beat.touch()
            self._context.progress.moved(size_bytes)

        source = FileSource(self._path, moved)
        resumable = None
        try:
            size_bytes = source.size_bytes
            part_bytes = upload_part_bytes(self._context.limits, self._location.store, size_bytes) if self._resumable else None
            if not self._planned:
                self._planned = True
                self._context.progress.planned(1, size_bytes)
            receipt = self._sent_before(source, beat)
            if receipt is None and part_bytes is not None and size_bytes > LEAST_PARTS * part_bytes:
                resumable = ResumableSend(self._context, self._location, source, part_bytes)
                receipt = self._in_parts(resumable, crew, beat)
            if receipt is None:
                receipt = self._small(source, beat) if size_bytes <= SMALL_BYTES else self._streamed(source, beat)
            reach("send.put")
            self._note(receipt, source)
        finally:
            if resumable is not None:
                resumable.leave()
            else:
                source.close()
        return receipt

    def _note(self, receipt: Receipt, source: FileSource) -> None:
        """A note saves work and nothing else: a full disk is no reason to fail what has arrived."""
        if self._context.sent is None:
            return
        try:
            self._context.sent.note(receipt, source.modified_ns)
        except LocalError as error:
            self._context.log.event("sent.in_memory", level="warning", reason=error.reason, error=error.message)
        reach("send.noted")

    def _streamed(self, source: FileSource, beat: Beat) -> Receipt:
        info = self._put(source, beat)
        source.check()
        return self._receipt(source.size_bytes, source.crc(), info)

    def _in_parts(self, resumable: ResumableSend, crew: Crew[Receipt], beat: Beat) -> Receipt | None:
        """By a multipart upload another process can go on with; None where it turns out that there is none to be had."""
        try:
            info = resumable.send(crew, beat)
        except (Unsupported, MissingExtra) as error:
            self._resumable = False
            self._context.log.event("resume.off", level="warning", subject=self.subject, reason=error.reason, why=error.message)
            return None
        except Interrupted:
            raise
        except CopilotError as error:
            if not error.transient:
                resumable.abort()
            raise
        return self._receipt(resumable.source.size_bytes, resumable.source.crc(), info)

    def _sent_before(self, source: FileSource, beat: Beat) -> Receipt | None:
        """Nothing has to move when these very bytes are there already, by our own note and by the store's word."""
        sent = self._context.sent
        note = sent.find(self._location.uri, source.size_bytes, source.modified_ns) if sent is not None else None
        if note is None or not note.etag:
            return None
        try:
            info = self._location.store.head(self._location.key)
        except ObjectNotFound:
            return None
        beat.touch()
        if bare_etag(info.etag) != note.etag or info.size_bytes != note.size_bytes:
            return None
        if digest.text(source.crc()) != note.digest:
            return None
        source.check()
        return self._receipt(source.size_bytes, source.crc(), info)

    def _small(self, source: FileSource, beat: Beat) -> Receipt:
        data = source.read_all()
        source.check()
        info = self._put(BytesSource(data), beat)
        self._check_content(data, info, beat)
        self._context.progress.moved(len(data))
        return self._receipt(len(data), digest.extend(0, data), info)


class WriteJob(_Put):
    """A value in memory: a marker object, a document."""

    __slots__ = ("_data", "_if_absent")

    def __init__(
        self, context: Context, location: Location, data: bytes, shown: str, variable: str = "", *, if_absent: bool = False
    ) -> None:
        """``if_absent``: only when nothing is there."""
        super().__init__(context, location, shown, variable)
        self._data = data
        self._if_absent = if_absent

    def run(self, crew: Crew[Receipt], beat: Beat) -> Receipt:
        """Writes it."""
        self._context.progress.planned(1, len(self._data))
        return self._context.retrier.call(
            lambda: self._attempt(beat), cancel=crew, op="put", subject=self._location.uri, patience=self.patience
        )

    def _attempt(self, beat: Beat) -> Receipt:
        data = self._data
        again, self._tried = self._tried, True
        try:
            info = self._put(BytesSource(data), beat, if_absent=self._if_absent)
        except AlreadyExists:
            # The answer to an earlier attempt may have been lost: then the object that is there is ours.
            if not again or not self._read_back(data, beat):
                raise
            info = self._location.store.head(self._location.key)
        else:
            self._check_content(data, info, beat)
        self._context.progress.moved(len(data))
        return self._receipt(len(data), digest.extend(0, data), info)
