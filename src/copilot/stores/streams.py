"""One response's body, held to its promised length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Self

from copilot.core.errors import BadStoreRequest, Truncated

if TYPE_CHECKING:
    from copilot.core.ports import ObjectInfo


class ChunkStream:
    """A body as an iterator of chunks.

    Args:
        info: the whole object as this response saw it.
        chunks: the body, chunk by chunk.
        expected: how many bytes there must be; None where nobody says.
        subject: for messages.
        on_close: frees the connection; called once.
    """

    def __init__(
        self,
        info: ObjectInfo,
        chunks: Iterator[bytes | memoryview],
        *,
        expected: int | None,
        subject: str,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.info = info
        self._chunks = chunks
        self._expected = expected
        self._subject = subject
        self._on_close = on_close

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """The chunks, once. Raises ``Truncated`` at the end if there were too few bytes."""
        seen = 0
        for chunk in self._chunks:
            if chunk:
                seen += len(chunk)
                yield chunk
        if self._expected is not None and seen != self._expected:
            raise Truncated(f"{self._subject} ended after {seen} of {self._expected} bytes", op="get", subject=self._subject)

    def close(self) -> None:
        """Frees the connection; the iteration may be unfinished."""
        self._chunks = iter(())
        if self._on_close is not None:
            self._on_close()
            self._on_close = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def check_range(size: int, start: int, end: int | None, subject: str) -> int:
    """Where a range of an object of ``size`` bytes really ends.

    Raises:
        BadStoreRequest: it starts behind the object's end, or ends before it starts: what a web server answers with 416.
    """
    if start > size or (start == size and size > 0) or (end is not None and end < start):
        raise BadStoreRequest(
            f"{subject} has {size} bytes, none at {start} to {'its end' if end is None else end}", op="get", subject=subject
        )
    return size if end is None else min(end, size)
