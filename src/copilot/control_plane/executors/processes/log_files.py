"""Containers' logs on disk, in the container runtimes' own format: ``<time> <stdout|stderr> <F|P> <text>``, a file a run."""

from __future__ import annotations

import contextlib
import os
import time
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LONGEST_PIECE_BYTES: Final = 16 * 1024
TAIL_BYTES: Final = 2048
TAIL_LINES: Final = 80
_BLOCK_BYTES: Final = 64 * 1024
_HEADER: Final = len("2026-11-22T07:21:23.123456789Z stdout F ")


def stamp(wall_ns: int) -> str:
    """RFC 3339 with nanoseconds, UTC."""
    seconds, nanos = divmod(wall_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanos:09d}Z"


class LogWriter:
    """Writes one run's log; a line is written when it is whole, or in pieces when it is very long."""

    def __init__(self, path: Path) -> None:
        """Creates the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._rest = {"stdout": b"", "stderr": b""}
        self._lost_bytes = 0

    def feed(self, stream: str, data: bytes) -> None:
        """Bytes as they came from ``stdout`` or ``stderr``."""
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        now = time.time_ns()
        header = f"{stamp(now + len(lines))} {stream} ".encode()
        out = [f"{stamp(now + place)} {stream} F ".encode() + line + b"\n" for place, line in enumerate(lines)]
        while len(rest) >= LONGEST_PIECE_BYTES:
            out.append(header + b"P " + rest[:LONGEST_PIECE_BYTES] + b"\n")
            rest = rest[LONGEST_PIECE_BYTES:]
        self._rest[stream] = rest
        if out:
            self._write(b"".join(out))

    def close(self) -> None:
        """What is left without a newline at its end is written as a last line."""
        for stream, rest in self._rest.items():
            if rest:
                self._write(f"{stamp(time.time_ns())} {stream} P ".encode() + rest + b"\n")
        self._rest = {"stdout": b"", "stderr": b""}
        self._file.close()

    def _write(self, data: bytes) -> None:
        """A disk without room costs lines, not the task; the log says so as soon as it can."""
        said = ""
        if self._lost_bytes:
            said = f"{stamp(time.time_ns())} stderr F copilot: {self._lost_bytes} bytes of this log could not be written\n"
        whole, written = said.encode() + data, 0
        with contextlib.suppress(OSError):
            written = self._file.write(whole) or 0
        if written == len(whole):
            self._lost_bytes = 0
            return
        self._lost_bytes += len(data)
        with contextlib.suppress(OSError):  # no half lines
            self._file.truncate(self._file.seek(0, os.SEEK_END) - written)


def read_log(path: Path, *, timestamps: bool, more: Callable[[], bool]) -> Iterator[bytes]:
    """The log's text, in pieces of whole lines as they are written, as the API gives it.

    The file stays open once it is there: what was written to it is read whole, even if it is removed meanwhile.

    Args:
        path: the file; it may not be there yet.
        timestamps: each line begins with its time and a blank.
        more: asked at the end of what there is: False ends the log (it has waited a little, or the container is over).

    Raises:
        FileNotFoundError: it was not there to the end.
    """
    with contextlib.ExitStack() as opened:
        file: IO[bytes] | None = None
        pieces = _Pieces(timestamps=timestamps)
        ended = False
        while not ended:
            # Opened before the question and read after the answer: nothing falls between a task's last word and its end.
            file = file or _open_if_there(path, opened)
            ended = not more()
            file = file or _open_if_there(path, opened)
            while file is not None and (block := file.read(_BLOCK_BYTES)):
                if text := pieces.feed(block):
                    yield text
        if file is None:
            raise FileNotFoundError(path)


def _open_if_there(path: Path, opened: contextlib.ExitStack) -> IO[bytes] | None:
    with contextlib.suppress(FileNotFoundError):
        return opened.enter_context(path.open("rb"))
    return None


class _Pieces:
    """Blocks of a log file → the text of its whole entries."""

    def __init__(self, *, timestamps: bool) -> None:
        self._timestamps = timestamps
        self._rest, self._fresh = b"", True

    def feed(self, block: bytes) -> bytes:
        *lines, self._rest = (self._rest + block).split(b"\n")
        text = b""
        for line in lines:
            whole = line[_HEADER - 2 : _HEADER - 1] == b"F"
            if self._timestamps and self._fresh:
                text += line[: _HEADER - len("stdout F ")]
            text += line[_HEADER:] + (b"\n" if whole else b"")
            self._fresh = whole
        return text


def log_tail(path: Path) -> str:
    """The last 2048 bytes or 80 lines, whichever is less: what ``FallbackToLogsOnError`` shows."""
    read = b""
    with contextlib.suppress(FileNotFoundError):
        read = b"".join(read_log(path, timestamps=False, more=lambda: False))
    text = read[-TAIL_BYTES:].decode(errors="replace")
    return "\n".join(text.splitlines()[-TAIL_LINES:])
