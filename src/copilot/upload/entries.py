"""The output directory, read safely: links are followed only inside it, devices and sockets are refused."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.core.errors import UnreadableOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_VALUE_BYTES: Final = 1024 * 1024 * 1024
"""The most that is read as one value. Protobuf itself ends at 2 GiB; what is larger has to be an output of type file."""

_KINDS: Final[tuple[tuple[Callable[[int], bool], str], ...]] = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISCHR, "a character device"),
)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What changes when a file is written to: its inode, size in bytes and modification time in nanoseconds."""

    inode: int
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class LocalEntry:
    """A file or directory below the output directory, as ``core.outputs.Entry``.

    Attributes:
        path: its path as the task wrote it (links not resolved).
        root: the output directory, resolved.
        base: the output directory, as it was given.
        variable: the output it belongs to, for messages.
        is_directory: whether it is one, links followed.
        fingerprint: of the file when it was looked at.
    """

    path: Path
    root: str
    base: Path
    variable: str
    is_directory: bool
    fingerprint: Fingerprint

    @property
    def name(self) -> str:
        """Its own name."""
        return self.path.name

    @property
    def shown(self) -> str:
        """Its path, for messages; bytes that are no text are escaped."""
        return printable(self.path)

    def read(self) -> bytes:
        """The whole file, read once more if it changed meanwhile.

        Raises:
            UnreadableOutput: it cannot be read, keeps changing, or is larger than ``MAX_VALUE_BYTES``.
        """
        if self.fingerprint.size_bytes > MAX_VALUE_BYTES:
            raise UnreadableOutput(
                f"output {self.variable!r}: {self.shown} has {self.fingerprint.size_bytes:,} bytes, too many for a value",
                op="plan",
                subject=self.variable,
                hint="Declare the output as a file.",
            )
        for _ in range(2):
            try:
                with self.path.open("rb") as file:
                    before = _fingerprint(os.fstat(file.fileno()))
                    content = file.read(MAX_VALUE_BYTES + 1)
                    if before == _fingerprint(os.fstat(file.fileno())) and len(content) == before.size_bytes:
                        return content
            except OSError as cause:
                raise unreadable(self.variable, self.path, cause) from cause
        raise still_written(self.variable, self.path)

    def entries(self) -> list[LocalEntry]:
        """What the directory holds, by name.

        Raises:
            UnreadableOutput: it cannot be listed, or holds something that is no file and no directory.
        """
        return [self._child(name) for name in names(self.variable, self.path)]

    def beside(self, path: str) -> LocalEntry | None:
        """What ``path`` means to the task: a path below the output directory; None if nothing is there."""
        if not path or "\0" in path:
            return None
        wanted = Path(os.path.normpath(self.base / path))
        if wanted == self.base or not wanted.is_relative_to(self.base):
            return None
        try:
            _refuse_escape(wanted, self.root, self.variable)
        except FileNotFoundError:
            return None
        return look(wanted, self.root, self.base, self.variable)

    def _child(self, name: str) -> LocalEntry:
        found = look(self.path / name, self.root, self.base, self.variable)
        if found is None:
            raise UnreadableOutput(
                f"output {self.variable!r}: {printable(self.path / name)} is a link to nothing, or vanished while it was read",
                op="plan",
                subject=self.variable,
                hint="Write the file itself, and leave it alone once the task has ended.",
            )
        return found


def look(path: Path, root: str, base: Path, variable: str) -> LocalEntry | None:
    """The entry at ``path``, or None if nothing is there.

    Args:
        path: below ``base``.
        root: the output directory, resolved.
        base: the output directory, as it was given.
        variable: the output it belongs to.

    Raises:
        UnreadableOutput: a link that leaves the output directory, a device, a pipe, a socket, or no right to look.
    """
    try:
        facts = path.lstat()
        if stat.S_ISLNK(facts.st_mode):
            _refuse_escape(path, root, variable)
        facts = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as cause:
        raise unreadable(variable, path, cause) from cause
    for is_kind, word in _KINDS:
        if is_kind(facts.st_mode):
            raise UnreadableOutput(
                f"output {variable!r}: {printable(path)} is {word}, not a file or a directory",
                op="plan",
                subject=variable,
                hint="Write an ordinary file.",
            )
    return LocalEntry(path, root, base, variable, stat.S_ISDIR(facts.st_mode), _fingerprint(facts))


def names(variable: str, directory: Path) -> list[str]:
    """The names in a directory, sorted.

    Raises:
        UnreadableOutput: it cannot be listed, or a name is not UTF-8 (no store could hold it).
    """
    try:
        found = sorted(os.listdir(directory))  # noqa: PTH208 — names are what is needed
    except OSError as cause:
        raise unreadable(variable, directory, cause) from cause
    for name in found:
        if not _is_text(name):
            raise UnreadableOutput(
                f"output {variable!r}: the name {os.fsencode(name)!r} in {printable(directory)} is not UTF-8",
                op="plan",
                subject=variable,
                hint="Stores know names in UTF-8 only: rename the file.",
            )
    return found


def unchanged(path: Path, fingerprint: Fingerprint) -> bool:
    """Whether the file is still what it was."""
    try:
        return _fingerprint(path.stat()) == fingerprint
    except OSError:
        return False


def still_written(variable: str, path: Path) -> UnreadableOutput:
    """The error for a file that changes while it is read, twice."""
    return UnreadableOutput(
        f"output {variable!r}: {printable(path)} changed while it was read, and again when it was read once more",
        op="transfer",
        subject=variable,
        hint="Write outputs completely before the task ends (or before it writes _SUCCESS).",
    )


def unreadable(variable: str, path: Path, cause: OSError) -> UnreadableOutput:
    """The error for what the operating system did not let us read."""
    return UnreadableOutput(
        f"output {variable!r}: {printable(path)} cannot be read ({(cause.strerror or type(cause).__name__).lower()})",
        op="plan",
        subject=variable,
        hint="Let everybody read what the task writes (umask 022), or run both containers as one user.",
    )


def printable(path: Path | str) -> str:
    """A path for messages."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def some_names(found: Iterable[str], most: int = 8) -> str:
    """A few names for a message, quoted."""
    listed = sorted(found)
    text = ", ".join(repr(printable(name)) for name in listed[:most])
    return f"{text} and {len(listed) - most} more" if len(listed) > most else text


def _refuse_escape(path: Path, root: str, variable: str) -> None:
    try:
        target = os.path.realpath(path, strict=True)
    except FileNotFoundError:
        raise
    except OSError as cause:  # ELOOP
        raise unreadable(variable, path, cause) from cause
    if target != root and not target.startswith(root.rstrip("/") + "/"):
        raise UnreadableOutput(
            f"output {variable!r}: {printable(path)} is a link to {printable(target)}, outside the output directory",
            op="plan",
            subject=variable,
            hint="Copy the file into the output directory: only what is inside it is published.",
        )


def _fingerprint(facts: os.stat_result) -> Fingerprint:
    return Fingerprint(facts.st_ino, facts.st_size, facts.st_mtime_ns)


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
