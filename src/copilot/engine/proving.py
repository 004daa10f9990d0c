"""Whether an object that was read whole is what its store says, or at least the same twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot.core.errors import ChecksumMismatch
from copilot.core.uri import redact
from copilot.engine import digest
from copilot.engine.atomic import local_errors
from copilot.engine.claims import TWO_READINGS, Claim, Hashing, asked_for_claim
from copilot.engine.context import AT_ONCE_BYTES

if TYPE_CHECKING:
    from copilot.core.ports import Location, ObjectInfo
    from copilot.engine.context import Context
    from copilot.engine.crew import Beat


class Proving:
    """The readings of one object, over all attempts.

    Attributes:
        readings: how many were in vain.
        doubtful: the etag and the checksum of a reading that its etag, in the form of an MD5, does not fit; None without one.
    """

    __slots__ = ("_context", "_location", "doubtful", "readings")

    def __init__(self, context: Context, location: Location) -> None:
        """Nothing has been read."""
        self._context = context
        self._location = location
        self.doubtful: tuple[str, int] | None = None
        self.readings = 0

    def hashing(self, info: ObjectInfo) -> tuple[Claim, Hashing] | None:
        """What to hash while the bytes pass; None where ``info`` says nothing that is worth it."""
        claim = self._claim(info)
        return (claim, Hashing(claim)) if claim is not None else None

    def prove(self, info: ObjectInfo, crc: int, path: str, beat: Beat) -> str:
        """How the bytes of ``path`` are shown to be right that are not what ``info`` says, or of which it says nothing.

        Returns: as ``Receipt.proof`` spells it.

        Raises:
            ChecksumMismatch: they are other bytes. A second attempt may bring the right ones, or show that they were right.
        """
        context, store = self._context, self._location.store
        claim = self._claim(info)
        if store.capabilities.clear_text and (claim.steps if claim is not None else (info.size_bytes or 0) > AT_ONCE_BYTES):
            asked = asked_for_claim(context.trust, store, info, context.log)
            if asked is not None and _fits(asked, crc, path, beat):
                return asked.proof
            claim = asked or claim
        if claim is None:
            proof = context.proof_without_claim(self._location, info)
            if proof == TWO_READINGS and self._crc_in_two_pieces(info, beat) != crc:
                raise self._other_bytes("when it was read again")
            return proof
        if not claim.sure:
            # An etag in the form of an MD5 need not be one. Three readings that agree settle it, the last in other ranges:
            # what alters the same byte of every response would alter another one there.
            if self.doubtful == (info.etag, crc) and self._crc_in_two_pieces(info, beat) == crc:
                context.trust.doubt(store)
                context.log.event("etag.is_no_digest", level="debug", subject=redact(self._location.uri))
                return TWO_READINGS
            self.doubtful = (info.etag or "", crc)
        raise self._other_bytes(f"than its {claim.proof.upper()} says")

    def _claim(self, info: ObjectInfo) -> Claim | None:
        claim = self._context.trust.claim_of(self._location.store, info)
        if claim is not None and claim.steps and not self._location.store.capabilities.clear_text:
            return None  # an etag over parts: TLS answers for the bytes
        return claim

    def _crc_in_two_pieces(self, info: ObjectInfo, beat: Beat) -> int:
        """The checksum of the object, read once more as its first byte and the rest."""
        crc = 0
        store, key = self._location.store, self._location.key
        for start, end in ((0, 1), (1, info.size_bytes)):
            if info.size_bytes is None or start < info.size_bytes:
                with store.get(key, start=start, end=end, if_match=info.etag) as stream:
                    for chunk in stream:
                        beat.touch()
                        crc = digest.extend(crc, chunk)
        return crc

    def _other_bytes(self, how: str) -> ChecksumMismatch:
        subject = redact(self._location.uri)
        return ChecksumMismatch(
            f"{subject} came with other bytes {how}",
            op="get",
            subject=subject,
            hint="Something between this pod and the store alters data: check proxies, and prefer TLS.",
        )


def _fits(claim: Claim, crc: int, path: str, beat: Beat) -> bool:
    """Whether a file that has just been written is what is claimed."""
    if claim.crc32c is not None:
        return claim.crc32c == crc
    hashing = Hashing(claim)
    with local_errors(path, op="read"), open(path, "rb") as file:  # noqa: PTH123 - a string, as everywhere here
        while chunk := file.read(AT_ONCE_BYTES):
            hashing.update(chunk)
            beat.touch()
    return hashing.fits()
