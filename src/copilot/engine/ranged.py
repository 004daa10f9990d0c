"""One big object as parallel ranges, all of the same content, into one preallocated file.

Every range is pinned with the etag the first response gave. A part that fails goes on at the byte it had reached. When a range
says that the object is another by now, the file is thrown away and the fetch begins again from zero.
"""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from copilot.core.errors import ChecksumMismatch, CopilotError, ObjectChanged, Truncated
from copilot.core.values import Receipt
from copilot.engine import digest
from copilot.engine.atomic import local_error, local_errors, move_into_place, reserve, write_all_at
from copilot.engine.context import AT_ONCE_BYTES, bare_etag, same_object
from copilot.engine.crashpoints import reach
from copilot.engine.journal import NOTE_EVERY_BYTES, Identity

if TYPE_CHECKING:
    from copilot.core.ports import ObjectInfo
    from copilot.engine.context import Context
    from copilot.engine.crew import Beat, Crew, Job
    from copilot.engine.fetch import FetchJob
    from copilot.engine.journal import PartNotes
    from copilot.engine.retry import Patience

_MOST_PARTS: Final = 1024  # what is kept a part must not grow with the object
_READ_BACK_BYTES: Final = 1024 * 1024


def part_bounds(size_bytes: int, part_bytes: int, most: int = _MOST_PARTS) -> list[tuple[int, int]]:
    """``(start, end)`` of parts of about ``part_bytes`` that cover ``size_bytes`` without a gap, at most ``most``. Pure."""
    count = min(most, max(1, -(-size_bytes // part_bytes)))
    step = -(-size_bytes // count) or 1
    return [(start, min(start + step, size_bytes)) for start in range(0, size_bytes, step)]


class RangedFetch:
    """The file that several parts write. Closed by the last one who uses it, wherever that one has been delayed."""

    def __init__(self, context: Context, job: FetchJob, info: ObjectInfo) -> None:
        """``info`` has a size and an etag."""
        self.context = context
        self.job = job
        self.info = info
        self.size_bytes = info.size_bytes or 0
        self.etag = info.etag
        self.fd = -1
        self.abandoned = False
        # What alters the same byte of every response would alter another one in other ranges.
        part_bytes = context.limits.part_bytes * (3 if job.doubtful else 4) // 4
        self._bounds = part_bounds(self.size_bytes, max(1, part_bytes))
        self._temporary = context.temporary()
        self.notes: PartNotes | None = None
        self._lock = threading.Lock()
        # The kernel lets one thread at a time write to a file and the others spin: a lock they sleep on halves the CPU a GiB.
        self.writing = threading.Lock()
        self._users = 1
        self._parts: list[PartFetch] = []
        self._missing = 0

    def begin(self, crew: Crew[Receipt]) -> None:
        """Makes the file, or takes up what an earlier run has left of it, and puts its parts to work. Raises ``LocalError``."""
        self._take_up()
        known = self.notes.known if self.notes is not None else {}
        flags = os.O_RDWR if known else os.O_RDWR | os.O_CREAT | os.O_EXCL
        with local_errors(self.path):
            self.fd = os.open(self._temporary, flags | os.O_CLOEXEC, 0o666)
            try:
                if not known:
                    reserve(self.fd, self.size_bytes)
            except OSError:
                self.abandon()
                raise
        self._parts = [PartFetch(self, start, end, known.get(start)) for start, end in self._bounds]
        self._missing = len(self._parts)
        jobs: list[Job[Receipt]] = list(self._parts)
        crew.urgent(jobs)

    def _take_up(self) -> None:
        if self.context.journal is None:
            return
        step_bytes = self._bounds[0][1]
        identity = Identity(self.job.location.uri, bare_etag(self.etag), self.info.version or "", self.size_bytes, step_bytes)
        self.notes = self.context.journal.parts(self.job.target, identity)
        self._temporary = self.notes.data
        if self.notes.known:
            have = sum(offset - start for start, (offset, _) in self.notes.known.items())
            self.context.log.event("fetch.continued", subject=self.job.subject, had_bytes=have, size_bytes=self.size_bytes)

    @property
    def path(self) -> str:
        """The final name."""
        return f"{self.context.root}/{self.job.target}"

    def enter(self) -> bool:
        """Counts a user of the file; False when it is not wanted any more."""
        with self._lock:
            if self.abandoned or self._users == 0:
                return False
            self._users += 1
            return True

    def leave(self) -> None:
        """The user is done with the file; the last one closes it."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                os.close(self.fd)
                if self.notes is not None:
                    self.notes.close()

    def abandon(self, *, keep: bool = False) -> bool:
        """Gives the file up; True for the one caller who came first. ``keep``: what a later run may go on with stays."""
        with self._lock:
            if self.abandoned:
                return False
            self.abandoned = True
        if self.notes is None:
            with suppress(OSError):
                os.unlink(self._temporary)  # noqa: PTH108 - a string, on the way out
        elif not keep:
            self.notes.forget()
        self.leave()
        return True

    def restart(self, crew: Crew[Receipt], error: ObjectChanged) -> None:
        """From zero, with whatever the object is now. Raises ``error`` when that has been tried too often."""
        if not self.abandon():
            return
        self.context.log.event("object.changed", level="warning", subject=self.job.subject)
        if self.context.retrier.stop(error, self.job.patience):
            raise error
        self.job.begin_again()
        crew.urgent([self.job])

    def part_done(self, crew: Crew[Receipt], beat: Beat) -> Receipt | None:
        """Counts a finished part; the receipt when it was the last."""
        with self._lock:
            self._missing -= 1
            if self._missing or self.abandoned:
                return None
        crc = digest.combine_all((part.crc, part.end - part.start) for part in self._parts)
        try:
            self._check_md5(crc, beat)
        except ChecksumMismatch as error:
            self.restart(crew, ObjectChanged(error.message, op=error.op, subject=error.subject, hint=error.hint))
            return None
        beat.check()
        receipt = Receipt(
            self.job.location.uri,
            self.job.target,
            self.size_bytes,
            digest.text(crc),
            bare_etag(self.etag),
            self.info.version or "",
            self.job.variable,
        )
        reach("fetch.before-note")
        if self.context.journal is not None:
            # Before the rename: a file that is noted and not in place is still here, with its parts.
            self.context.journal.note(receipt)
        reach("fetch.before-rename")
        move_into_place(self._temporary, self.path)
        reach("fetch.renamed")
        if self.notes is not None:
            self.notes.forget()
        self.leave()
        self.context.progress.finished(self.job.subject, self.size_bytes)
        return receipt

    def _check_md5(self, crc: int, beat: Beat) -> None:
        """Where there is an MD5 to compare with, the file is read back: the parts came in no order, and an MD5 has one.

        One that the store states must fit. An etag that looks like one need not be one: two readings in different ranges that
        agree settle it, as for small objects (docs/decisions/0041).
        """
        context, store, stated = self.context, self.job.location.store, self.info.md5_hex
        if stated:
            if self._fits(stated, self.size_bytes, 0, beat):
                return
        elif not store.capabilities.clear_text or self.size_bytes > context.limits.md5_up_to_bytes:
            return
        else:
            wanted = context.trust.digest_of(store, self.info)
            if wanted is None or any(self._fits(wanted[0], step, wanted[1], beat) for step in wanted[2]):
                return
            if self.job.doubtful == (bare_etag(self.etag), crc):
                context.trust.doubt(store)
                context.log.event("etag.is_no_digest", level="debug", subject=self.job.subject)
                return
            self.job.doubtful = (bare_etag(self.etag), crc)
        raise ChecksumMismatch(
            f"{self.job.subject} came with other bytes than its MD5 says",
            op="get",
            subject=self.job.subject,
            hint="Something between this pod and the store alters data: check proxies, and prefer TLS.",
        )

    def _fits(self, wanted: str, step_bytes: int, parts: int, beat: Beat) -> bool:
        """Whether the file has this MD5; with ``parts``, whether that is the MD5 of the MD5s of parts of ``step_bytes``."""
        whole = hashlib.md5(usedforsecurity=False)
        part = hashlib.md5(usedforsecurity=False)
        for start in range(0, self.size_bytes, step_bytes or 1):
            end = min(start + step_bytes, self.size_bytes)
            for offset in range(start, end, _READ_BACK_BYTES):
                with local_errors(self.path, op="read"):
                    chunk = os.pread(self.fd, min(_READ_BACK_BYTES, end - offset), offset)
                (part if parts else whole).update(chunk)
                beat.touch()
            if parts:
                whole.update(part.digest())
                part = hashlib.md5(usedforsecurity=False)
        return whole.hexdigest() == wanted.lower()


class PartFetch:
    """One range. Remembers how far it has come, so that another attempt, or another thread, goes on there."""

    __slots__ = ("_claimed", "_file", "_noted", "crc", "end", "heavy", "offset", "patience", "start")

    def __init__(self, file: RangedFetch, start: int, end: int, claimed: tuple[int, int] | None = None) -> None:
        """Bytes ``start`` to ``end`` (excluded); ``claimed`` is how far an earlier run says it came, and its checksum."""
        self._file = file
        self._claimed = claimed
        self._noted = start
        self.start = start
        self.end = end
        self.offset = start
        self.crc = 0
        self.heavy = False
        self.patience: Patience = file.context.retrier.patience()

    @property
    def subject(self) -> str:
        """The object, for messages."""
        return self._file.job.subject

    def run(self, crew: Crew[Receipt], beat: Beat) -> Receipt | None:
        """Fetches the range; the object's receipt when it was the last one missing."""
        file = self._file
        if not file.enter():
            return None
        try:
            self._take_up(beat)
            changed = file.context.retrier.call(
                lambda: self._attempt(beat), cancel=crew, op="get", subject=file.job.location.uri, patience=self.patience
            )
            if changed is not None:
                file.restart(crew, changed)
                return None
            with beat.lock:
                beat.check()
            return file.part_done(crew, beat) if not file.abandoned else None
        except CopilotError as error:
            file.abandon(keep=error.transient)
            raise
        finally:
            file.leave()

    def _take_up(self, beat: Beat) -> None:
        """Reads what an earlier run has left of this range, and keeps it if it is what was noted."""
        claimed, self._claimed = self._claimed, None
        if claimed is None:
            return
        offset, wanted = claimed
        if not self.start < offset <= self.end:
            return
        crc = 0
        for at in range(self.start, offset, _READ_BACK_BYTES):
            with local_errors(self._file.path, op="read"):
                crc = digest.extend(crc, os.pread(self._file.fd, min(_READ_BACK_BYTES, offset - at), at))
            beat.touch()
        if crc == wanted:
            self.offset = self._noted = offset
            self.crc = crc
            self._file.context.progress.moved(offset - self.start)

    def _note(self) -> None:
        notes = self._file.notes
        if notes is None or self._noted == self.offset:
            return
        if self.offset == self.end or self.offset - self._noted >= NOTE_EVERY_BYTES:
            notes.note(self.start, self.offset, self.crc)
            self._noted = self.offset
            reach("fetch.part-noted")

    def _attempt(self, beat: Beat) -> ObjectChanged | None:
        """Reads on from where it is. A change of the object is returned: it concerns the whole, not this range."""
        before = self.offset
        try:
            self._read(beat)
        except ObjectChanged as error:
            return error
        except CopilotError:
            if self.offset > before:
                self.patience.renew(self._file.context.clock.monotonic_s())
            raise
        return None

    def _read(self, beat: Beat) -> None:
        file = self._file
        location = file.job.location
        beat.touch()
        if self.offset == self.end:
            return
        reach("fetch.part-begun")
        slack_s = file.context.limits.slack_s(min(self.end - self.offset, AT_ONCE_BYTES))
        with (
            beat.waiting(slack_s),
            location.store.get(location.key, start=self.offset, end=self.end, if_match=file.etag) as stream,
        ):
            if not same_object(file.info, stream.info):
                raise ObjectChanged(f"{self.subject} changed while it was read", op="get", subject=self.subject)
            for chunk in stream:
                beat.touch()
                if file.abandoned:
                    return
                self._write(chunk, beat)
                self._note()
                file.context.progress.moved(len(chunk))
        if self.offset != self.end:
            raise Truncated(
                f"A range of {self.subject} ended after {self.offset - self.start} of {self.end - self.start} bytes",
                op="get",
                subject=self.subject,
            )

    def _write(self, chunk: bytes | memoryview, beat: Beat) -> None:
        if self.offset + len(chunk) > self.end:
            raise ObjectChanged(f"A range of {self.subject} is longer than was asked for", op="get", subject=self.subject)
        crc = digest.extend(self.crc, chunk)
        with beat.lock:
            beat.check()
            try:
                with self._file.writing:
                    write_all_at(self._file.fd, chunk, self.offset)
            except OSError as error:
                raise local_error(self._file.path, error) from error
            self.offset += len(chunk)
            self.crc = crc
