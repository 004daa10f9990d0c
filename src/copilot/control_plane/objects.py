"""Whole small objects of the store, off the event loop: inputs, outputs, error documents, reports, archived logs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from copilot.control_plane.errors import TooLarge
from copilot.core.errors import ObjectNotFound

if TYPE_CHECKING:
    from copilot.core.ports import Stores

T = TypeVar("T")

_THREADS = 16
_CHUNK_BYTES = 1024 * 1024


class Bytes:
    """A ``Source`` of bytes that are in memory already."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    @property
    def size_bytes(self) -> int:
        """How many there are."""
        return len(self._data)

    def read(self, start: int, end: int) -> Iterator[memoryview]:
        """Bytes ``start`` to ``end`` (excluded), a mebibyte at a time."""
        for here in range(start, end, _CHUNK_BYTES):
            yield self._data[here : min(here + _CHUNK_BYTES, end)]


class Objects:
    """Reads and writes whole objects on bounded threads.

    Args:
        stores: opens URIs.
        max_bytes: the largest object that is read into memory.
    """

    def __init__(self, stores: Stores, *, max_bytes: int) -> None:
        self.stores = stores
        self.max_bytes = max_bytes
        self._threads = ThreadPoolExecutor(_THREADS, "objects")

    async def run(self, work: Callable[[], T]) -> T:
        """Any other blocking work of the store, on the same threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def read(self, uri: str) -> bytes | None:
        """The object's bytes, or None where there is none. Raises ``TooLarge``, and what stores raise."""
        return await self.run(lambda: self.read_now(uri))

    def read_now(self, uri: str) -> bytes | None:
        """As ``read``, blocking."""
        location = self.stores.locate(uri)
        try:
            with location.store.get(location.key) as stream:
                data = bytearray()
                for chunk in stream:
                    data += chunk
                    if len(data) > self.max_bytes:
                        raise TooLarge(f"the object is larger than {self.max_bytes} bytes", op="read", subject=uri)
        except ObjectNotFound:
            return None
        return bytes(data)

    async def write(self, uri: str, data: bytes) -> None:
        """Puts the object, whole or not at all."""
        await self.run(lambda: self.write_now(uri, data))

    def write_now(self, uri: str, data: bytes) -> None:
        """As ``write``, blocking."""
        location = self.stores.locate(uri)
        location.store.put(location.key, Bytes(data))

    async def size(self, uri: str) -> int | None:
        """The object's size in bytes, or None where there is no such object."""

        def head() -> int | None:
            location = self.stores.locate(uri)
            try:
                return location.store.head(location.key).size_bytes or 0
            except ObjectNotFound:
                return None

        return await self.run(head)

    def close(self) -> None:
        """Waits for what is at work."""
        self._threads.shutdown()
