"""A store in front of another that does what a test tells it: changes, waits, fails. It speaks the port and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from copilot.core.ports import (
    ByteStream,
    Capabilities,
    Checksum,
    Location,
    MultipartUpload,
    ObjectInfo,
    Part,
    Source,
    Store,
    Stores,
)

Hook = Callable[[str, int], None]


def nothing(_key: str, _number: int) -> None:
    """Lets everything pass."""


class ScriptedStream:
    """A body whose chunks a hook sees before they are handed on."""

    def __init__(self, inner: ByteStream, key: str, on_chunk: Hook) -> None:
        """See the class."""
        self._inner = inner
        self._key = key
        self._on_chunk = on_chunk
        self.info = inner.info

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """See the port."""
        for number, chunk in enumerate(self._inner):
            self._on_chunk(self._key, number)
            yield chunk

    def close(self) -> None:
        """See the port."""
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class ScriptedUpload:
    """An upload whose parts a hook sees before they are taken."""

    def __init__(self, inner: MultipartUpload, on_part: Callable[[], None], after_part: Callable[[], None]) -> None:
        """See the class."""
        self._inner = inner
        self._on_part = on_part
        self._after_part = after_part
        self.upload_id = inner.upload_id

    def parts(self) -> Sequence[Part]:
        """See the port."""
        return self._inner.parts()

    def put_part(self, number: int, source: Source, start: int, end: int) -> Part:
        """See the port."""
        self._on_part()
        part = self._inner.put_part(number, source, start, end)
        self._after_part()
        return part

    def complete(self, parts: Sequence[Part], *, if_absent: bool = False) -> ObjectInfo:
        """See the port."""
        return self._inner.complete(parts, if_absent=if_absent)

    def abort(self) -> None:
        """See the port."""
        self._inner.abort()


class ScriptedStore:
    """Delegates to ``inner`` after asking the hooks, each with the key and a number that counts the calls."""

    def __init__(self, inner: Store) -> None:
        """See the class."""
        self.inner = inner
        self.on_get: Hook = nothing
        self.on_chunk: Hook = nothing
        self.on_put: Hook = nothing
        self.after_put: Hook = nothing
        self.on_listed: Hook = nothing
        self.calls: dict[str, int] = {}
        self.ranges: list[tuple[int, int | None]] = []
        self._lock = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        """See the port."""
        return self.inner.capabilities

    def _count(self, what: str) -> int:
        with self._lock:
            self.calls[what] = self.calls.get(what, 0) + 1
            return self.calls[what] - 1

    def head(self, key: str) -> ObjectInfo:
        """See the port."""
        self._count("head")
        return self.inner.head(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See the port."""
        self._count("list")
        for info in self.inner.list(prefix):
            self.on_listed(info.key, self._count("listed"))
            yield info

    def get(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> ScriptedStream:
        """See the port."""
        with self._lock:
            self.ranges.append((start, end))
        self.on_get(key, self._count("get"))
        return ScriptedStream(self.inner.get(key, start=start, end=end, if_match=if_match), key, self.on_chunk)

    def put(self, key: str, source: Source, *, checksum: Checksum | None = None, if_absent: bool = False) -> ObjectInfo:
        """See the port."""
        number = self._count("put")
        self.on_put(key, number)
        info = self.inner.put(key, source, checksum=checksum, if_absent=if_absent)
        self.after_put(key, number)
        return info

    def multipart(self, key: str, upload_id: str | None = None) -> MultipartUpload:
        """See the port. Every part counts as a put."""
        before, after = (lambda: self.on_put(key, self._count("put"))), (lambda: self.after_put(key, self.calls["put"] - 1))
        return ScriptedUpload(self.inner.multipart(key, upload_id), before, after)

    def pending_uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        """See the port."""
        return self.inner.pending_uploads(prefix)


class ScriptedStores:
    """Puts one ``ScriptedStore`` in front of whatever is opened."""

    def __init__(self, inner: Stores, uri: str) -> None:
        """See the class."""
        self._inner = inner
        self.store = ScriptedStore(inner.locate(uri).store)

    def locate(self, uri: str) -> Location:
        """See the port; always the scripted store."""
        found = self._inner.locate(uri)
        return Location(found.uri, self.store, found.key)
