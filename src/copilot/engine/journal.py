"""What a fetch leaves beside its files so that another process can go on with it.

The journal is believed in nothing. It says how far each range of a file had come and what its CRC-32C was, and which objects
were whole; whoever takes it up reads the bytes and compares. So nothing has to be synced in any order: a machine that loses its
last pages loses bytes whose checksum will not fit, and those are fetched again. A line that was cut off is no line.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from copilot.core.values import Receipt
from copilot.engine.atomic import local_errors, remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST_REPEATED_BYTES: Final = 16 * 1024 * 1024  # of one file, whenever a process is killed
_NOTE_EVERY_BYTES: Final = 1024 * 1024
_FORMAT: Final = "copilot-parts/1"
_MOST_REMEMBERED: Final = 200_000
_SCRATCH: Final = "scratch-"


class Lines:
    """A file that only grows, one JSON document a line. Safe from many threads: a line is one ``write``."""

    def __init__(self, path: str) -> None:
        """Opens it, and makes it if it is not there. Raises ``LocalError``."""
        self._path = path
        with local_errors(path):
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def add(self, document: object) -> None:
        """One line more. Raises ``LocalError``: also when only a piece of it fitted, which is no line."""
        line = f"{json.dumps(document, separators=(',', ':'))}\n".encode()
        with local_errors(self._path):
            if os.write(self._fd, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Frees the file."""
        os.close(self._fd)


def read_lines(path: str) -> Iterator[Any]:
    """The documents of such a file, as far as they are whole; nothing if there is no file."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - strings all the way, as everywhere in the engine
            for line in file:
                try:
                    yield json.loads(line)
                except ValueError:
                    continue
    except OSError:
        return


@dataclass(frozen=True, slots=True)
class Identity:
    """Of what content the ranges of a file are: anything else begins again."""

    uri: str
    etag: str
    version: str
    size_bytes: int
    step_bytes: int


@dataclass(frozen=True, slots=True)
class PartNote:
    """How far one range has come.

    Attributes:
        offset: the bytes before it are in the file.
        crc: their CRC-32C.
        again: how far its second reading has come, where it has one.
        again_crc: the CRC-32C of that.
    """

    offset: int
    crc: int
    again: int = 0
    again_crc: int = 0


def note_every_bytes(open_ranges: int) -> int:
    """How much of a range may come without a note, so that all that are open together lose no more than one part. Pure.

    Half of a part: the other half is for what has come to this machine and not yet into the file.
    """
    return max(1, min(_NOTE_EVERY_BYTES, MOST_REPEATED_BYTES // 2 // open_ranges))


class PartNotes:
    """How far the ranges of one file have come.

    Attributes:
        data: the unfinished file.
        known: for each range, by its start, the last note; empty where nothing is left.
    """

    def __init__(self, base: str, identity: Identity) -> None:
        """``base`` is a path; the files are it with two endings. Raises ``LocalError``."""
        self.data = f"{base}.data"
        self._notes = f"{base}.parts"
        self.known = self._read(identity)
        if not self.known:
            self.forget()
        self._lines = Lines(self._notes)
        if not self.known:
            self._lines.add({"format": _FORMAT, **asdict(identity)})

    def note(self, start: int, note: PartNote) -> None:
        """The range that begins at ``start`` has come this far. Raises ``LocalError``."""
        again = [note.again, note.again_crc] if note.again > start else []
        self._lines.add([start, note.offset, note.crc, *again])

    def close(self) -> None:
        """Frees the file of notes."""
        self._lines.close()

    def forget(self) -> None:
        """Both files are gone."""
        for path in (self.data, self._notes):
            _unlink(path)

    def _read(self, identity: Identity) -> dict[int, PartNote]:
        lines = read_lines(self._notes)
        try:
            if next(lines, None) != {"format": _FORMAT, **asdict(identity)}:
                return {}
            if os.stat(self.data).st_size != identity.size_bytes:  # noqa: PTH116 - as above
                return {}
            return {int(start): PartNote(*map(int, (offset, crc, *again))) for start, offset, crc, *again in lines}
        except (OSError, ValueError, TypeError):
            return {}


class FetchJournal:
    """The journal of one staging directory.

    Args:
        directory: where it is kept, on the file system of what is fetched; made if it is not there.
        before: roots of earlier runs, in which objects may stand whole.

    Raises:
        LocalError: it cannot be written.
    """

    def __init__(self, directory: Path, before: Iterable[Path] = ()) -> None:
        """See the class."""
        with local_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
        self._directory = str(directory)
        self._before = [str(path) for path in before]
        done = f"{directory}/done"
        self._done = dict(_receipts(done)) if self._before else {}
        self._lines = Lines(done)
        for left in directory.glob(f"{_SCRATCH}*"):
            remove_tree(left)

    def scratch(self) -> str:
        """A name for this run's small unfinished files."""
        return f"{self._directory}/{_SCRATCH}{os.urandom(6).hex()}"

    def parts(self, target: str, identity: Identity) -> PartNotes:
        """The ranges of one object. Raises ``LocalError``."""
        name = hashlib.sha256(f"{identity.uri}\0{target}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return PartNotes(f"{self._directory}/{name}", identity)

    def note(self, receipt: Receipt) -> None:
        """The object is whole, in the file its receipt names. Raises ``LocalError``."""
        self._lines.add(asdict(receipt))

    def done(self, uri: str, target: str) -> tuple[Receipt, list[str]] | None:
        """What an earlier run noted of this object, and where its file may be."""
        receipt = self._done.get(target)
        if receipt is None or receipt.uri != uri:
            return None
        return receipt, [f"{root}/{target}" for root in self._before]

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Frees the file of receipts; all files stay."""
        self._lines.close()


def _receipts(path: str) -> Iterator[tuple[str, Receipt]]:
    for number, fields in enumerate(read_lines(path)):
        if number >= _MOST_REMEMBERED:
            return
        try:
            receipt = Receipt(**fields)
        except TypeError:
            continue
        yield receipt.path, receipt


def _unlink(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108 - as above
    except OSError:
        return
