"""Planned outputs → one ``SendSpec`` an object, lazily; and receipts checked against the files they are receipts of.

The tree is walked here and not in the engine, because an output directory has rules of its own: a link must not lead out of it,
and a file must not change between the moment it was looked at and the moment its last byte left.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from copilot.core.errors import InternalError, UnreadableOutput
from copilot.core.uri import join
from copilot.core.values import SendSpec
from copilot.upload.entries import Fingerprint, LocalEntry, look, printable, still_written, unchanged, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from copilot.core.values import Receipt


@dataclass(frozen=True, slots=True)
class PlannedSend:
    """One file or directory that a literal names, and the URI it gets there."""

    entry: LocalEntry
    uri: str

    @property
    def spec(self) -> SendSpec:
        """As it is verified: one object, or everything below one prefix."""
        return SendSpec(self.entry.path, self.uri, tree=self.entry.is_directory, variable=self.entry.variable)


@dataclass(frozen=True, slots=True)
class _Flight:
    spec: SendSpec
    relative: str
    fingerprint: Fingerprint | None


@dataclass(slots=True)
class Walk:
    """What is under way. Memory follows the number of objects in flight, not their number in all."""

    base: Path
    _flights: dict[str, _Flight] = field(default_factory=dict)
    _again: deque[SendSpec] = field(default_factory=deque)
    _repeated: set[str] = field(default_factory=set)

    def specs(self, planned: Iterable[PlannedSend]) -> Iterator[SendSpec]:
        """One spec an object; an empty directory is a tree of its own, which becomes a marker object.

        Raises:
            UnreadableOutput: from the iteration, for a link out of the output directory, a device, a directory inside itself.
        """
        for send in planned:
            if send.entry.is_directory:
                yield from self._tree(send.entry, send.uri)
            else:
                yield self._file(send.entry, send.uri)

    def landed(self, receipts: Iterable[Receipt]) -> Iterator[Receipt]:
        """The receipts of files that did not change while they moved, with their paths in the output directory.

        A file that changed is kept for ``again``; the second time it is an error.

        Raises:
            UnreadableOutput: a file changed twice.
        """
        for receipt in receipts:
            flight = self._flights.pop(receipt.uri, None) or self._flights.pop(receipt.uri.rstrip("/"), None)
            if flight is None:
                raise InternalError("An object moved that nobody had asked for", op="transfer", subject=receipt.uri)
            if flight.fingerprint is None or self._whole(flight, receipt):
                yield replace(receipt, path=flight.relative, variable=flight.spec.variable)
            elif flight.spec.uri in self._repeated:
                raise still_written(flight.spec.variable, flight.spec.path)
            else:
                self._repeated.add(flight.spec.uri)
                self._again.append(flight.spec)

    def again(self) -> Iterator[SendSpec]:
        """The files that changed while they moved, once more."""
        while self._again:
            spec = self._again.popleft()
            entry = look(spec.path, os.path.realpath(self.base), self.base, spec.variable)
            if entry is None or entry.is_directory:
                raise still_written(spec.variable, spec.path)
            yield self._file(entry, spec.uri)

    @property
    def finished(self) -> bool:
        """Whether everything that was handed out has come back."""
        return not self._flights and not self._again

    def _whole(self, flight: _Flight, receipt: Receipt) -> bool:
        fingerprint = flight.fingerprint
        return (
            fingerprint is not None
            and fingerprint.size_bytes == receipt.size_bytes
            and unchanged(flight.spec.path, fingerprint)
        )

    def _file(self, entry: LocalEntry, uri: str) -> SendSpec:
        spec = SendSpec(entry.path, uri, variable=entry.variable)
        self._flights[uri] = _Flight(spec, printable(entry.path.relative_to(self.base)), entry.fingerprint)
        return spec

    def _tree(self, top: LocalEntry, uri: str) -> Iterator[SendSpec]:
        waiting: list[tuple[LocalEntry, str, tuple[int, ...]]] = [(top, uri, ())]
        while waiting:
            directory, prefix, above = waiting.pop()
            if directory.fingerprint.inode in above:
                raise _circle(directory)
            empty = True
            inside = (*above, directory.fingerprint.inode)
            for child in _children(directory):
                empty = False
                if child.is_directory:
                    waiting.append((child, join(prefix, child.name), inside))
                else:
                    yield self._file(child, join(prefix, child.name))
            if empty:
                yield self._empty(directory, prefix)

    def _empty(self, directory: LocalEntry, uri: str) -> SendSpec:
        spec = SendSpec(directory.path, uri, tree=True, variable=directory.variable)
        self._flights[uri] = _Flight(spec, printable(directory.path.relative_to(self.base)) + "/", None)
        return spec


def _children(directory: LocalEntry) -> Iterator[LocalEntry]:
    try:
        with os.scandir(directory.path) as found:
            for item in found:
                yield _child(directory, item)
    except OSError as cause:
        raise unreadable(directory.variable, directory.path, cause) from cause


def _circle(directory: LocalEntry) -> UnreadableOutput:
    return UnreadableOutput(
        f"output {directory.variable!r}: {directory.shown} is a link to a directory that holds it",
        op="plan",
        subject=directory.variable,
        hint="Remove the link.",
    )


def _child(directory: LocalEntry, item: os.DirEntry[str]) -> LocalEntry:
    try:
        item.name.encode("utf-8")
    except UnicodeEncodeError as cause:
        raise UnreadableOutput(
            f"output {directory.variable!r}: the name {os.fsencode(item.name)!r} in {directory.shown} is not UTF-8",
            op="plan",
            subject=directory.variable,
            hint="Stores know names in UTF-8 only: rename the file.",
        ) from cause
    path = directory.path / item.name
    try:
        facts = item.stat(follow_symlinks=False)
    except OSError as cause:
        raise unreadable(directory.variable, path, cause) from cause
    if stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode):
        fingerprint = Fingerprint(facts.st_ino, facts.st_size, facts.st_mtime_ns)
        is_directory = stat.S_ISDIR(facts.st_mode)
        return LocalEntry(path, directory.root, directory.base, directory.variable, is_directory, fingerprint)
    entry = look(path, directory.root, directory.base, directory.variable)
    if entry is None:
        raise UnreadableOutput(
            f"output {directory.variable!r}: {printable(path)} is a link to nothing",
            op="plan",
            subject=directory.variable,
            hint="Remove the link, or write the file itself.",
        )
    return entry
