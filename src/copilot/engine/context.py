"""What all jobs of one transfer share."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from copilot.engine.uploads import Uploads

if TYPE_CHECKING:
    from copilot.core.ports import Clock, Log, ObjectInfo, Progress, Store
    from copilot.engine.budget import Limits
    from copilot.engine.journal import FetchJournal
    from copilot.engine.retry import Retrier
    from copilot.engine.sent import SentFiles

AT_ONCE_BYTES: Final = 1024 * 1024
"""Most that a store collects before it hands a chunk on: nothing is heard of it in the meantime."""

_MD5: Final = re.compile(r"[0-9a-fA-F]{32}")
_COMPOSITE: Final = re.compile(r"([0-9a-fA-F]{32})-([0-9]{1,5})")
_USUAL_PARTS: Final = tuple(size * 1024 * 1024 for size in (5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512))


class EtagTrust:
    """Which stores have been seen to use etags that look like MD5s and are none (S3 with KMS keys does)."""

    def __init__(self) -> None:
        """Trusts everybody."""
        self._doubted: set[int] = set()

    def md5_of(self, store: Store, info: ObjectInfo) -> str | None:
        """The MD5 that ``info`` gives away, as lower-case hex: stated, or by an etag of that form. None if there is none."""
        if info.md5_hex:
            return info.md5_hex.lower()
        if info.etag is None or id(store) in self._doubted:
            return None
        bare = bare_etag(info.etag)
        return bare.lower() if _MD5.fullmatch(bare) else None

    def digest_of(self, store: Store, info: ObjectInfo) -> tuple[str, int, list[int]] | None:
        """What an etag of S3's says of a big object: an MD5, the number of parts it is over (0: the whole), and their length.

        The lengths are those in use that make just this number of parts; none, and nothing can be compared.
        """
        size_bytes = info.size_bytes or 0
        whole = self.md5_of(store, info)
        if whole is not None:
            return whole, 0, [size_bytes]
        found = _COMPOSITE.fullmatch(bare_etag(info.etag))
        if found is None or id(store) in self._doubted:
            return None
        parts = int(found[2])
        steps = [step for step in _USUAL_PARTS if -(-size_bytes // step) == parts]
        return (found[1].lower(), parts, steps) if steps else None

    def doubt(self, store: Store) -> None:
        """This store's etags are not digests of the content."""
        self._doubted.add(id(store))


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
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

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


def bare_etag(etag: str | None) -> str:
    """An etag without its quotes and weakness mark: listings and responses spell one differently."""
    return (etag or "").removeprefix("W/").strip('"')


def same_object(known: ObjectInfo, seen: ObjectInfo) -> bool:
    """Whether two descriptions can be of the same content: what both say, they say alike."""
    if known.size_bytes is not None and seen.size_bytes is not None and known.size_bytes != seen.size_bytes:
        return False
    return not (known.etag and seen.etag) or bare_etag(known.etag) == bare_etag(seen.etag)
