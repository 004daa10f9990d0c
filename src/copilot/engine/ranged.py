"""One big object as parallel ranges, all of the same content, into one preallocated file.

Every range is pinned with the etag the first response gave. A part that fails goes on at the byte it had reached. When a range
says that the object is another by now, the file is thrown away and the fetch begins again from zero.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from copilot.core.errors import ChecksumMismatch, ObjectChanged
from copilot.core.values import Receipt
from copilot.engine import digest
from copilot.engine.atomic import local_errors, move_into_place, reserve
from copilot.engine.behind import Behind
from copilot.engine.claims import TWO_READINGS, asked_for_claim, bare_etag
from copilot.engine.crashpoints import reach
from copilot.engine.journal import Identity
from copilot.engine.part_fetch import PartFetch

if TYPE_CHECKING:
    from copilot.core.ports import ObjectInfo
    from copilot.engine.claims import Claim
    from copilot.engine.context import Context
    from copilot.engine.crew import Beat, Crew, Job
    from copilot.engine.fetch import FetchJob
    from copilot.engine.journal import PartNotes

_MOST_PARTS: Final = 1024  # what is kept a part must not grow with the object


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
        # What alters the same byte of every response alters another one in other ranges: no two readings in a row are alike.
        part_bytes = context.limits.part_bytes * (3 if job.proving.readings % 2 else 4) // 4
        self._bounds = part_bounds(self.size_bytes, max(1, part_bytes))
        self._temporary = context.temporary()
        self.notes: PartNotes | None = None
        self._lock = threading.Lock()
        # The kernel lets one thread at a time write to a file and the others spin: a lock they sleep on halves the CPU a GiB.
        self.writing = threading.Lock()
        self._unclaimed = ""
        self._users = 1
        self._parts: list[PartFetch] = []
        self._missing = 0
        self._claim: Claim | None = None
        self._behind: Behind | None = None

    def begin(self, crew: Crew[Receipt], beat: Beat) -> None:
        """Makes the file, or takes up what an earlier run has left of it, and puts its parts to work. Raises ``LocalError``."""
        self._claim = self._find_claim()
        beat.touch()
        self._unclaimed = "" if self._claim is not None else self.context.proof_without_claim(self.job.location, self.info)
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
        if self._claim is not None and self._claim.md5_hex:
            self._hash_behind(self._claim, crew)
        jobs: list[Job[Receipt]] = list(self._parts)
        crew.urgent(jobs)

    def _find_claim(self) -> Claim | None:
        """What the bytes are compared with. Where TLS answers for them, only with a digest that the store states at once."""
        context, store = self.context, self.job.location.store
        told = context.trust.claim_of(store, self.info)
        if told is not None and told.sure:
            return told
        if not store.capabilities.clear_text:
            return None
        if told is not None and not told.steps:
            return told
        # The length of an etag's parts need not be guessed where the store can say it.
        return asked_for_claim(context.trust, store, self.info, context.log) or told

    def _hash_behind(self, claim: Claim, crew: Crew[Receipt]) -> None:
        self.enter()
        self._behind = Behind(
            claim,
            self.fd,
            self.path,
            self._parts,
            wanted=lambda: not (self.abandoned or crew.stopping),
            left=self.leave,
        )
        self._behind.start()

    def _take_up(self) -> None:
        if self.context.journal is None:
            return
        step_bytes = self._bounds[0][1]
        identity = Identity(self.job.location.uri, bare_etag(self.etag), self.info.version or "", self.size_bytes, step_bytes)
        self.notes = self.context.journal.parts(self.job.target, identity)
        self._temporary = self.notes.data
        if self.notes.known:
            have = sum(note.offset - start for start, note in self.notes.known.items())
            self.context.log.event("fetch.continued", subject=self.job.subject, had_bytes=have, size_bytes=self.size_bytes)

    @property
    def twice(self) -> bool:
        """Whether each range is read again, since nothing else says what its bytes are."""
        return self._unclaimed == TWO_READINGS

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

    def restart(self, crew: Crew[Receipt], error: ObjectChanged | ChecksumMismatch) -> None:
        """From zero, with whatever the object is now. Raises ``error`` when that has been tried too often."""
        if not self.abandon():
            return
        event = "object.changed" if isinstance(error, ObjectChanged) else "content.differs"
        self.context.log.event(event, level="warning", subject=self.job.subject)
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
            proof = self._prove(crc, beat)
        except ChecksumMismatch as error:
            self.restart(crew, error)
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
            proof,
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

    def landed(self) -> None:
        """A range has ended: who follows the ranges may go on."""
        if self._behind is not None:
            self._behind.nudge()

    def _prove(self, crc: int, beat: Beat) -> str:
        """Compares with what the store says; how, as ``Receipt.proof`` spells it.

        What the store states must fit. An etag in the form of an MD5 need not be one: two readings in different ranges that
        agree settle it, as for small objects (docs/decisions/0041).
        """
        context, claim = self.context, self._claim
        if claim is None:
            return self._unclaimed
        if self._behind.fits(beat) if self._behind is not None else claim.crc32c == crc:
            return claim.proof
        if not claim.sure:
            if self.job.proving.doubtful == (bare_etag(self.etag), crc):
                context.trust.doubt(self.job.location.store)
                context.log.event("etag.is_no_digest", level="debug", subject=self.job.subject)
                return TWO_READINGS
            self.job.proving.doubtful = (bare_etag(self.etag), crc)
        self.job.proving.readings += 1
        raise ChecksumMismatch(
            f"{self.job.subject} came with other bytes than its {claim.proof.upper()} says",
            op="get",
            subject=self.job.subject,
            hint="Something between this pod and the store alters data: check proxies, and prefer TLS.",
        )
