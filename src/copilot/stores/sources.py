"""What is uploaded: bytes in memory as a source, and a source held to its promises (length, checksum)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from copilot.core.errors import ChecksumMismatch, LocalIOError

if TYPE_CHECKING:
    from copilot.core.ports import Checksum, Source


class BytesSource:
    """Bytes that are in memory already."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    @property
    def size_bytes(self) -> int:
        """How many there are."""
        return len(self._data)

    def read(self, start: int, end: int) -> Iterator[memoryview]:
        """The asked slice, without a copy."""
        if start < end:
            yield self._data[start:end]


class _Digest(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc32c:
    """google_crc32c takes bytes alone, where hashlib takes any buffer."""

    def __init__(self) -> None:
        import google_crc32c  # noqa: PLC0415 - only where it is asked for: 5 ms

        self._sum: _Digest = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # the library ships no types

    def update(self, data: bytes | memoryview, /) -> None:
        self._sum.update(bytes(data))

    def digest(self) -> bytes:
        return self._sum.digest()


def new_digest(algorithm: str) -> _Digest:
    """A running digest by the port's name for it: ``md5``, ``sha256`` or ``crc32c``.

    Raises:
        ValueError: another name.
    """
    if algorithm == "crc32c":
        return _Crc32c()
    if algorithm in {"md5", "sha256"}:
        return hashlib.new(algorithm, usedforsecurity=False)
    msg = f"no digest is called {algorithm!r}"
    raise ValueError(msg)


def promised(source: Source, checksum: Checksum | None, subject: str) -> Iterator[bytes | memoryview]:
    """The source's chunks; the iteration raises at its end unless length and checksum are as promised.

    Raises:
        LocalIOError: there were fewer or more bytes than ``source.size_bytes`` (the file changed while it was read).
        ChecksumMismatch: the bytes do not have ``checksum``.
    """
    digest = new_digest(checksum.algorithm) if checksum is not None else None
    seen, size = 0, source.size_bytes
    for chunk in source.read(0, size):
        if not chunk:
            continue
        seen += len(chunk)
        if seen > size:
            break
        if digest is not None:
            digest.update(chunk)
        yield chunk
    if seen != size:
        raise LocalIOError(
            f"{subject} was not written, its source changed while it was read: {size} bytes were promised, "
            f"{'more' if seen > size else seen} came",
            op="put",
            subject=subject,
            hint="Write outputs to the end before the task says it is done.",
        )
    if digest is not None and checksum is not None and digest.digest() != checksum.value:
        raise ChecksumMismatch(
            f"What is uploaded to {subject} does not have its {checksum.algorithm}", op="put", subject=subject
        )


def collected(source: Source, start: int, end: int) -> bytearray:
    """A part of a source in memory, once."""
    data = bytearray(end - start)
    at = 0
    for chunk in source.read(start, end):
        data[at : at + len(chunk)] = chunk
        at += len(chunk)
    return data


def read_whole(source: Source, checksum: Checksum | None, subject: str) -> bytes | memoryview:
    """A small source in memory, held to its promises; without a copy where it comes in one chunk."""
    chunks = list(promised(source, checksum, subject))
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
