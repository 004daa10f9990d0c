"""Which files have been uploaded already, while they were what they still are.

A note is made for each file that arrived: its size, its time of modification, its digest, and the object's etag. It counts
again only if the file has that size and time, its bytes still have that digest, and the object still has that etag. In a file,
when there is a place for one, the notes outlive the process.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from copilot.core.errors import LocalError
from copilot.engine.journal import Lines, read_lines

if TYPE_CHECKING:
    from pathlib import Path

    from copilot.core.values import Receipt

_MOST_REMEMBERED: Final = 200_000


@dataclass(frozen=True, slots=True)
class SentFile:
    """One note.

    Attributes:
        size_bytes: of the file.
        modified_ns: its time of modification, in nanoseconds since the epoch.
        digest: as in ``Receipt``.
        etag: as in ``Receipt``.
        version: as in ``Receipt``.
    """

    size_bytes: int
    modified_ns: int
    digest: str
    etag: str
    version: str


class SentFiles:
    """The notes of one sidecar.

    Args:
        path: the file they are kept in; None for this process's memory alone.

    Raises:
        LocalError: the file cannot be written.
    """

    def __init__(self, path: Path | None = None) -> None:
        """See the class."""
        self._lock = threading.Lock()
        self._notes: dict[str, SentFile] = {}
        self._lines: Lines | None = None
        self._failed = False
        if path is None:
            return
        for entry in read_lines(str(path)):
            try:
                uri, *fields = entry
                self._remember(str(uri), SentFile(*fields))
            except (TypeError, ValueError):
                continue
        self._lines = Lines(str(path))

    def __len__(self) -> int:
        """How many files are known."""
        return len(self._notes)

    def note(self, receipt: Receipt, modified_ns: int) -> None:
        """The file has arrived.

        Raises:
            LocalError: it could not be written down. From then on notes are kept in memory alone, this one too, so this is
                raised once.
        """
        known = SentFile(receipt.size_bytes, modified_ns, receipt.digest, receipt.etag, receipt.version)
        with self._lock:
            self._remember(receipt.uri, known)
        if self._lines is not None and not self._failed:
            line = [receipt.uri, known.size_bytes, known.modified_ns, known.digest, known.etag, known.version]
            try:
                self._lines.add(line)
            except LocalError:
                with self._lock:
                    told, self._failed = self._failed, True
                if not told:
                    raise

    def find(self, uri: str, size_bytes: int, modified_ns: int) -> SentFile | None:
        """The note of this object, if its file had this size and time."""
        with self._lock:
            known = self._notes.get(uri)
        return known if known is not None and (known.size_bytes, known.modified_ns) == (size_bytes, modified_ns) else None

    def close(self) -> None:
        """Frees the file."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Frees the file."""
        self.close()

    def _remember(self, uri: str, known: SentFile) -> None:
        if len(self._notes) < _MOST_REMEMBERED or uri in self._notes:
            self._notes[uri] = known
