"""One range of a big object: how it is read, noted, gone on with, and where need be read again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from copilot.core.errors import ChecksumMismatch, CopilotError, ObjectChanged, Truncated
from copilot.engine import digest
from copilot.engine.atomic import local_error, local_errors, write_all_at
from copilot.engine.context import AT_ONCE_BYTES, same_object
from copilot.engine.crashpoints import reach
from copilot.engine.journal import PartNote, note_every_bytes

if TYPE_CHECKING:
    from copilot.core.values import Receipt
    from copilot.engine.crew import Beat, Crew
    from copilot.engine.ranged import RangedFetch
    from copilot.engine.retry import Patience

_READ_BACK_BYTES: Final = 1024 * 1024


class PartFetch:
    """One range. Remembers how far it has come, so that another attempt, or another thread, goes on there."""

    __slots__ = (
        "_again",
        "_again_crc",
        "_claimed",
        "_file",
        "_note_every_bytes",
        "_noted",
        "crc",
        "end",
        "heavy",
        "offset",
        "patience",
        "start",
    )

    def __init__(self, file: RangedFetch, start: int, end: int, claimed: PartNote | None = None) -> None:
        """Bytes ``start`` to ``end`` (excluded); ``claimed`` is how far an earlier run says it came."""
        self._file = file
        self._claimed = claimed
        self._noted = start
        self._again = start
        self._again_crc = 0
        self._note_every_bytes = note_every_bytes(file.context.limits.max_workers)
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
        offset, wanted = claimed.offset, claimed.crc
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
            if offset == self.end and self.start < claimed.again <= self.end:
                # Nothing to compare these with: if they are wrong, the two readings will differ.
                self._again = self._noted = claimed.again
                self._again_crc = claimed.again_crc
            self._file.context.progress.moved(offset - self.start)

    def _note(self, at: int, coming_bytes: int = 0) -> None:
        """Notes that this reading has come to ``at``, if that is the end or ``coming_bytes`` more could not be lost."""
        notes = self._file.notes
        if notes is None or self._noted == at:
            return
        if at == self.end or at - self._noted + coming_bytes > self._note_every_bytes:
            notes.note(self.start, PartNote(self.offset, self.crc, self._again, self._again_crc))
            self._noted = at
            reach("fetch.part-noted")

    def _attempt(self, beat: Beat) -> ObjectChanged | None:
        """Reads on from where it is. A change of the object is returned: it concerns the whole, not this range."""
        before = self.offset
        try:
            self._read(beat)
            if self._file.twice:
                self._read_again(beat)
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
                self._note(self.offset, len(chunk))
                self._write(chunk, beat)
                file.context.progress.moved(len(chunk))
        self._note(self.offset)
        if self.offset != self.end:
            raise self._truncated(self.offset)
        file.landed()

    def _read_again(self, beat: Beat) -> None:
        """Nothing says what the content is: it is read once more, and both readings must agree.

        In other ranges, the first byte alone: what alters the same byte of every response alters another one this time.
        """
        file = self._file
        store, key = file.job.location.store, file.job.location.key
        if self._again == self.start:
            self._noted = self.start
        while self._again < self.end:
            until = self.start + 1 if self._again == self.start else self.end
            slack_s = file.context.limits.slack_s(min(until - self._again, AT_ONCE_BYTES))
            with beat.waiting(slack_s), store.get(key, start=self._again, end=until, if_match=file.etag) as stream:
                for chunk in stream:
                    beat.touch()
                    if file.abandoned:
                        return
                    if self._again + len(chunk) > until:
                        raise self._too_long()
                    self._note(self._again, len(chunk))
                    with beat.lock:
                        beat.check()
                        self._again_crc = digest.extend(self._again_crc, chunk)
                        self._again += len(chunk)
            self._note(self._again)
            if self._again < until:
                raise self._truncated(self._again)
        if self._again_crc != self.crc:
            self.offset = self._again = self._noted = self.start
            self.crc = self._again_crc = 0
            if file.notes is not None:
                file.notes.note(self.start, PartNote(self.start, 0, self.start, 0))
            raise ChecksumMismatch(
                f"{self.subject} came with other bytes when it was read again",
                op="get",
                subject=self.subject,
                hint="Something between this pod and the store alters data: check proxies, and prefer TLS.",
            )

    def _truncated(self, at: int) -> Truncated:
        return Truncated(
            f"A range of {self.subject} ended after {at - self.start} of {self.end - self.start} bytes",
            op="get",
            subject=self.subject,
        )

    def _too_long(self) -> ObjectChanged:
        return ObjectChanged(f"A range of {self.subject} is longer than was asked for", op="get", subject=self.subject)

    def _write(self, chunk: bytes | memoryview, beat: Beat) -> None:
        if self.offset + len(chunk) > self.end:
            raise self._too_long()
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
