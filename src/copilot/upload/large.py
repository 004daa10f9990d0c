"""Texts and bytes too large for ``outputs.pb``: checked and sent as literals of their own in chunks, never whole in memory."""

from __future__ import annotations

import codecs
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from copilot.core import idl
from copilot.core.errors import BadOutput
from copilot.core.literal_frame import MAX_LITERAL_BYTES, Frame, binary_frame, text_frame
from copilot.core.output_place import Place, misfit
from copilot.core.output_scalars import TRIMMED
from copilot.core.types_text import type_text
from copilot.engine.atomic import local_errors
from copilot.upload.entries import LocalEntry, still_written, unchanged, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK_BYTES: Final = 256 * 1024
_BLANKS: Final = TRIMMED.encode()


@dataclass(frozen=True, slots=True)
class LargeValue:
    """A part of a file that is a literal's value.

    Attributes:
        entry: the file.
        start: first byte of the value.
        end: the byte after its last.
        frame: what makes it a literal.
    """

    entry: LocalEntry
    start: int
    end: int
    frame: Frame

    @property
    def size_bytes(self) -> int:
        """Of the serialized literal."""
        return len(self.frame.head) + self.end - self.start + len(self.frame.tail)

    @contextmanager
    def spooled(self, directory: Path | None) -> Iterator[Path]:
        """The serialized literal as a file, gone afterwards.

        Raises:
            UnreadableOutput: the file changed since it was checked.
            LocalError: there is no room for it.
        """
        with local_errors(directory or Path(tempfile.gettempdir())):
            held = tempfile.TemporaryDirectory(prefix="copilot-literal-", dir=directory)
        with held as name:
            path = Path(name) / "literal.pb"
            with local_errors(path), path.open("wb") as file:
                file.write(self.frame.head)
                for chunk in _chunks(self.entry, self.start, self.end):
                    file.write(chunk)
                file.write(self.frame.tail)
            if path.stat().st_size != self.size_bytes or not unchanged(self.entry.path, self.entry.fingerprint):
                raise still_written(self.entry.variable, self.entry.path)
            yield path


def large_value(place: Place, literal_type: idl.LiteralType, entry: LocalEntry) -> LargeValue | None:
    """The file as a large text or bytes; None for every other type, whose values have to be parsed.

    Raises:
        BadOutput: a text that is not UTF-8, or a value of 2 GiB or more.
        UnreadableOutput: the file cannot be read.
    """
    if literal_type.WhichOneof("type") != "simple" or entry.is_directory:
        return None
    size_bytes = entry.fingerprint.size_bytes
    if literal_type.simple == idl.SimpleType.STRING:
        start, end = _trimmed(entry)
        _check_text(place, literal_type, entry, start, end)
        value = LargeValue(entry, start, end, text_frame(end - start))
    elif literal_type.simple == idl.SimpleType.BINARY:
        value = LargeValue(entry, 0, size_bytes, binary_frame(size_bytes))
    else:
        return None
    if value.size_bytes > MAX_LITERAL_BYTES:
        raise BadOutput(
            f"output {place.label!r} ({type_text(literal_type)}): {place.path} has {size_bytes:,} bytes, "
            f"and no literal can have more than {MAX_LITERAL_BYTES:,}",
            op="plan",
            subject=place.variable,
            hint="Declare the output as a file.",
        )
    return value


def _trimmed(entry: LocalEntry) -> tuple[int, int]:
    """Where the text begins and ends without blanks around it."""
    start, end = 0, entry.fingerprint.size_bytes
    for chunk in _chunks(entry, 0, end):
        kept = chunk.lstrip(_BLANKS)
        start += len(chunk) - len(kept)
        if kept:
            break
    while end > start:
        first = max(start, end - _CHUNK_BYTES)
        tail = b"".join(_chunks(entry, first, end))
        kept = tail.rstrip(_BLANKS)
        if not tail or kept:
            return start, first + len(kept)
        end = first
    return start, end


def _check_text(place: Place, literal_type: idl.LiteralType, entry: LocalEntry, start: int, end: int) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    at = start
    try:
        for chunk in _chunks(entry, start, end):
            decoder.decode(chunk)
            at += len(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as cause:
        hint = "Write the text as UTF-8, or declare the output as a file."
        raise misfit(
            place, literal_type, f"the bytes near number {at + cause.start + 1:,} are not UTF-8 text", hint=hint
        ) from cause


def _chunks(entry: LocalEntry, start: int, end: int) -> Iterator[bytes]:
    try:
        with entry.path.open("rb") as file:
            file.seek(start, os.SEEK_SET)
            yield from _read(file, end - start)
    except OSError as cause:
        raise unreadable(entry.variable, entry.path, cause) from cause


def _read(file: IO[bytes], left: int) -> Iterator[bytes]:
    while left > 0:
        chunk = file.read(min(left, _CHUNK_BYTES))
        if not chunk:
            return
        left -= len(chunk)
        yield chunk
