"""What a store says of an object's content, and whether the bytes that came are that content.

Three things can say it: an MD5 or a CRC-32C that the store states as such, and an etag in the form of an MD5. S3's etag of an
object that was put in one piece is its MD5; of a multipart upload it is the MD5 of the parts' MD5s, a ``-`` and their number
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html). An etag in that form need not be
a digest, though: with keys of KMS it is none (docs/decisions/0041).
"""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from copilot.core.errors import CopilotError, Interrupted

if TYPE_CHECKING:
    from copilot.core.ports import ContentFacts, Log, ObjectInfo, StatesContent, Store

TWO_READINGS: Final = "two readings"
NOTHING: Final = "none"
_MD5: Final = re.compile(r"[0-9a-fA-F]{32}")
_COMPOSITE: Final = re.compile(r"([0-9a-fA-F]{32})-([0-9]{1,5})")
_USUAL_PARTS: Final = tuple(size * 1024 * 1024 for size in (5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512))


@dataclass(frozen=True, slots=True)
class Claim:
    """A digest to compare with.

    Attributes:
        md5_hex: the MD5 of the content or, with ``steps``, of its parts' MD5s; empty where ``crc32c`` is known.
        steps: the lengths its parts may have; the digest must be right for one of them. Empty: it is over the whole.
        crc32c: the content's CRC-32C.
        sure: the store states it as a digest; else it is an etag in the form of one.
    """

    md5_hex: str = ""
    steps: tuple[int, ...] = ()
    crc32c: int | None = None
    sure: bool = False

    @property
    def proof(self) -> str:
        """As ``Receipt.proof`` spells it."""
        return "crc32c" if self.crc32c is not None else "md5"


class Hashing:
    """The digest of a claim over bytes that come in order."""

    __slots__ = ("_claim", "_overs")

    def __init__(self, claim: Claim) -> None:
        """``claim`` has an MD5."""
        self._claim = claim
        self._overs = [_Over(step) for step in claim.steps or (0,)]

    def update(self, chunk: bytes | memoryview) -> None:
        """The next bytes. The GIL is released for chunks of more than 2 KiB."""
        for over in self._overs:
            over.update(chunk)

    def fits(self) -> bool:
        """Whether these were the bytes that are claimed; ends the hashing."""
        return any(over.hexdigest() == self._claim.md5_hex for over in self._overs)


class _Over:
    """An MD5 of the whole, or of the MD5s of parts of one length."""

    __slots__ = ("_left", "_part", "_parts", "_step", "_whole")

    def __init__(self, step: int) -> None:
        self._step = self._left = step
        self._whole = hashlib.md5(usedforsecurity=False)
        self._part = hashlib.md5(usedforsecurity=False)
        self._parts = 0

    def update(self, chunk: bytes | memoryview) -> None:
        if not self._step:
            self._whole.update(chunk)
            return
        view = memoryview(chunk)
        while view:
            piece = view[: self._left]
            self._part.update(piece)
            self._left -= len(piece)
            view = view[len(piece) :]
            if not self._left:
                self._end_part()

    def hexdigest(self) -> str:
        if self._step and (self._left < self._step or not self._parts):
            self._end_part()
        return self._whole.hexdigest()

    def _end_part(self) -> None:
        self._whole.update(self._part.digest())
        self._part = hashlib.md5(usedforsecurity=False)
        self._left = self._step
        self._parts += 1


class EtagTrust:
    """What etags are worth: which stores' look like MD5s and are none, and which stores a person has been warned of."""

    def __init__(self) -> None:
        """Trusts everybody."""
        self._doubted: set[int] = set()
        self._warned: set[int] = set()
        self._lock = threading.Lock()

    def md5_of(self, store: Store, info: ObjectInfo) -> str | None:
        """The MD5 that ``info`` gives away, as lower-case hex: stated, or by an etag of that form. None if there is none."""
        if info.md5_hex:
            return info.md5_hex.lower()
        if info.etag is None or id(store) in self._doubted:
            return None
        bare = bare_etag(info.etag)
        return bare.lower() if _MD5.fullmatch(bare) else None

    def claim_of(self, store: Store, info: ObjectInfo) -> Claim | None:
        """What ``info`` alone says; for an etag over parts, with the lengths in use that make just this number of them."""
        whole = self.md5_of(store, info)
        if whole is not None:
            return Claim(whole, sure=bool(info.md5_hex))
        composite = self._composite(store, info)
        if composite is None:
            return None
        md5_hex, parts = composite
        steps = tuple(step for step in _USUAL_PARTS if even_parts(info.size_bytes or 0, step) == parts)
        if parts == 1:
            steps = (max(1, info.size_bytes or 0),)
        return Claim(md5_hex, steps) if steps else None

    def claim_by(self, store: Store, info: ObjectInfo, facts: ContentFacts) -> Claim | None:
        """What the store says beyond ``info`` when it is asked; None when that is nothing that can be compared."""
        if facts.crc32c is not None:
            return Claim(crc32c=facts.crc32c, sure=True)
        if facts.md5_hex:
            return Claim(facts.md5_hex.lower(), sure=True)
        composite = self._composite(store, info)
        if composite is None or not facts.part_bytes or even_parts(info.size_bytes or 0, facts.part_bytes) != composite[1]:
            return None
        return Claim(composite[0], (facts.part_bytes,))

    def doubt(self, store: Store) -> None:
        """This store's etags are not digests of the content."""
        self._doubted.add(id(store))

    def first_time(self, store: Store) -> bool:
        """True for the first who asks of this store."""
        with self._lock:
            known = id(store) in self._warned
            self._warned.add(id(store))
        return not known

    def _composite(self, store: Store, info: ObjectInfo) -> tuple[str, int] | None:
        found = _COMPOSITE.fullmatch(bare_etag(info.etag))
        return None if found is None or id(store) in self._doubted else (found[1].lower(), int(found[2]))


def even_parts(size_bytes: int, step_bytes: int) -> int:
    """How many parts an object has whose parts are all of this length, but the last. Pure."""
    return max(1, -(-size_bytes // step_bytes))


def asked_for_claim(trust: EtagTrust, store: Store, info: ObjectInfo, log: Log) -> Claim | None:
    """One request more, where the store has more to say. That it does not answer is no reason to fail what is moving well."""
    if not store.capabilities.states_content:
        return None
    try:
        facts = cast("StatesContent", store).content_facts(info.key)
    except Interrupted:
        raise
    except CopilotError as error:
        log.event("content.not_stated", level="debug", subject=info.key, reason=error.reason)
        return None
    return trust.claim_by(store, info, facts)


def bare_etag(etag: str | None) -> str:
    """An etag without its quotes and weakness mark: listings and responses spell one differently."""
    return (etag or "").removeprefix("W/").strip('"')
