"""What all jobs of one transfer share."""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from copilot.core.uri import redact
from copilot.engine.claims import NOTHING, TWO_READINGS, EtagTrust, bare_etag
from copilot.engine.uploads import Uploads
from copilot.engine.writes import Writes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from copilot.core.ports import Clock, Location, Log, ObjectInfo, Progress
    from copilot.engine.budget import Limits
    from copilot.engine.crew import Beat
    from copilot.engine.journal import FetchJournal
    from copilot.engine.retry import Retrier
    from copilot.engine.sent import SentFiles

AT_ONCE_BYTES: Final = 1024 * 1024
"""Most that a store collects before it hands a chunk on: nothing is heard of it in the meantime."""


@dataclass(slots=True)
class Context:
    """The world as jobs see it.

    Attributes:
        limits: what may be used.
        clock: for beats and patience.
        log: for what a person may have to know.
        progress: for what a person wants to see.
        retrier: the one retry loop.
        trust: what is known of etags.
        root: the directory that is written below; empty for sends.
        scratch: where unfinished files are, on the same file system as ``root``.
        uploads: what is known of unfinished uploads.
        writes: which objects are being written.
        sent: which files have been uploaded already; None asks nobody and notes nothing.
        journal: what earlier runs have left and later ones may need; None keeps nothing.
    """

    limits: Limits
    clock: Clock
    log: Log
    progress: Progress
    retrier: Retrier
    trust: EtagTrust = field(default_factory=EtagTrust)
    root: str = ""
    scratch: str = ""
    journal: FetchJournal | None = None
    uploads: Uploads = field(default_factory=Uploads)
    sent: SentFiles | None = None
    writes: Writes = field(default_factory=Writes)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    @contextmanager
    def writing(self, location: Location, beat: Beat) -> Iterator[None]:
        """Around every call that writes an object, or a part of it: see ``engine.writes``."""
        with self.writes.turn(location, beat, self.limits.stall_s) as alone:
            if not alone:
                self.log.event("write.not_alone", level="warning", subject=redact(location.uri))
            yield

    def temporary(self) -> str:
        """A new name in ``scratch``."""
        return f"{self.scratch}/{next(self._numbers)}"

    def below(self, root: str, journal: FetchJournal | None = None) -> Context:
        """The same for one fetch into ``root``."""
        scratch = journal.scratch() if journal is not None else os.path.join(root, f".copilot-{os.urandom(6).hex()}")  # noqa: PTH118 - strings all the way, for speed
        return replace(self, root=root, scratch=scratch, journal=journal, _numbers=itertools.count())

    def noting(self, sent: SentFiles | None) -> Context:
        """The same for one send that notes what arrives; unfinished uploads are asked for anew."""
        return replace(self, sent=sent, uploads=Uploads())

    def proof_without_claim(self, location: Location, info: ObjectInfo) -> str:
        """How bytes are shown to be right that nothing can be compared with, as ``Receipt.proof`` spells it.

        TLS answers for them; without it they are read twice, if the store can say that both readings are of one content. The
        first time for each store a warning says so.
        """
        if not location.store.capabilities.clear_text:
            return ""
        proof = TWO_READINGS if info.etag and self.limits.read_twice else NOTHING
        if self.trust.first_time(location.store):
            self.log.event("content.unproven", level="warning", subject=redact(location.uri), proof=proof)
        return proof


def same_object(known: ObjectInfo, seen: ObjectInfo) -> bool:
    """Whether two descriptions can be of the same content: what both say, they say alike."""
    if known.size_bytes is not None and seen.size_bytes is not None and known.size_bytes != seen.size_bytes:
        return False
    return not (known.etag and seen.etag) or bare_etag(known.etag) == bare_etag(seen.etag)
