"""Bytes to be uploaded, in whatever pieces a store wants, with their checksum and proof that they stood still."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING, Final

from copilot.core.errors import ObjectChanged, UnreadableOutput
from copilot.engine import digest
from copilot.engine.atomic import local_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK_BYTES: Final = 256 * 1024


class BytesSource:
    """A value in memory."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        """``data`` is the whole object."""
        self.data = data

    @property
    def size_bytes(self) -> int:
        """Its length."""
        return len(self.data)

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        """The bytes asked for, as one chunk."""
        if start < end:
            yield self.data if (start, end) == (0, len(self.data)) else self.data[start:end]


class FileSource:
    """A file that is open and has a size. Every reading is checked against what the file was when it was opened.

    Args:
        path: for messages and for ``open``.
        moved: called with the length of every chunk that was handed out.

    Raises:
        UnreadableOutput: it is no regular file.
        LocalIOError: it cannot be opened.
    """

    def __init__(self, path: str, moved: Callable[[int], None]) -> None:
        """See the class."""
        self._path = path
        self._moved = moved
        self._lock = threading.Lock()
        self._pieces: dict[tuple[int, int], int] = {}
        with local_errors(path, op="read"):
            # Not blocking: opening a FIFO that nobody writes to would wait for ever.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            with local_errors(path, op="read"):
                self._began = os.fstat(self._fd)
            if not stat.S_ISREG(self._began.st_mode):
                raise UnreadableOutput(  # noqa: TRY301 - what closes the file is right below
                    f"{path} is no regular file",
                    op="read",
                    subject=path,
                    hint="Write outputs as ordinary files and directories.",
                )
        except BaseException:
            os.close(self._fd)
            raise

    @property
    def size_bytes(self) -> int:
        """Its length when it was opened."""
        return self._began.st_size

    @property
    def modified_ns(self) -> int:
        """Its time of modification when it was opened, in nanoseconds since the epoch."""
        return self._began.st_mtime_ns

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        """Bytes ``start`` to ``end`` in chunks of 256 KiB. Raises ``ObjectChanged`` when the file has become shorter."""
        crc = 0
        offset = start
        while offset < end:
            with local_errors(self._path, op="read"):
                chunk = os.pread(self._fd, min(_CHUNK_BYTES, end - offset), offset)
            if not chunk:
                raise self._changed()
            crc = digest.extend(crc, chunk)
            offset += len(chunk)
            yield chunk
            self._moved(len(chunk))
        with self._lock:
            self._pieces[start, end] = crc

    def read_all(self) -> bytes:
        """The whole content at once, for files that are known to be small."""
        with local_errors(self._path, op="read"):
            data = os.pread(self._fd, self.size_bytes, 0) if self.size_bytes else b""
        if len(data) != self.size_bytes:
            raise self._changed()
        return data

    def check(self) -> None:
        """Raises ``ObjectChanged`` when the file is not what it was: another size, another time of modification."""
        with local_errors(self._path, op="read"):
            now = os.fstat(self._fd)
        if (now.st_size, now.st_mtime_ns) != (self._began.st_size, self._began.st_mtime_ns):
            raise self._changed()

    def crc(self) -> int:
        """The checksum of the whole, from the pieces that were read; what nobody read in one go is read again."""
        offset = whole = 0
        while offset < self.size_bytes:
            piece = max((key for key in self._pieces if key[0] == offset), default=None)
            if piece is None or piece[1] == offset:
                self._pieces.clear()
                for _ in self.read(0, self.size_bytes):
                    pass
                return self._pieces[0, self.size_bytes]
            whole = digest.combine(whole, self._pieces[piece], piece[1] - offset)
            offset = piece[1]
        return whole

    def close(self) -> None:
        """Frees the file."""
        os.close(self._fd)

    def _changed(self) -> ObjectChanged:
        return ObjectChanged(
            f"{self._path} changed while it was uploaded",
            op="put",
            subject=self._path,
            hint="The task must have finished writing its outputs when it ends, with no process left behind.",
        )
