"""A container's log outlives its pod: it is copied to the store before the pod goes.

The archive is text, a line a line, each with its RFC 3339 time and a blank in front, as executors give them. The task's
secrets are masked in it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import IO, TYPE_CHECKING

from copilot.control_plane.executors.bridge import Executor, StopFlag
from copilot.core.errors import PodNotFound
from copilot.core.secret_mask import StreamMask

if TYPE_CHECKING:
    from copilot.control_plane.objects import Objects

MAX_LOG_BYTES = 256 * 1024 * 1024
_MEMORY_BYTES = 1024 * 1024
_CHUNK_BYTES = 256 * 1024


class _Spooled:
    """A ``Source`` over a spooled file: a small log never touches the disk."""

    def __init__(self, file: IO[bytes], size_bytes: int) -> None:
        self._file = file
        self.size_bytes = size_bytes

    def read(self, start: int, end: int) -> Iterator[bytes]:
        self._file.seek(start)
        left = end - start
        while left > 0:
            chunk = self._file.read(min(left, _CHUNK_BYTES))
            left -= len(chunk)
            yield chunk


async def archive_log(
    executor: Executor, objects: Objects, pod: str, container: str, uri: str, *, known: Sequence[bytes] = ()
) -> bool:
    """Copies a finished container's log; False when there is none to be had. A log above 256 MiB keeps its beginning.

    Args:
        executor: runs the pod.
        objects: where to.
        pod: whose.
        container: which of its containers.
        uri: where to.
        known: the values that are masked.
    """
    mask = StreamMask(known)

    def copy() -> bool:
        with tempfile.SpooledTemporaryFile(_MEMORY_BYTES) as file:
            size = 0
            try:
                chunks = executor.log_chunks(pod, container, follow=False, stop=StopFlag())
                for chunk in chain(map(mask.feed, chunks), iter(mask.finish, b"")):
                    file.write(chunk[: MAX_LOG_BYTES - size])
                    size += len(chunk)
                    if size >= MAX_LOG_BYTES:
                        break
            except PodNotFound:
                return False
            location = objects.stores.locate(uri)
            location.store.put(location.key, _Spooled(file, min(size, MAX_LOG_BYTES)))
        return True

    return await objects.run(copy)
