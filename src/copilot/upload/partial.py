"""``partial/``: what a task left that is not published, for a person to look at. As much as can be had, never an error."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.core import podfiles
from copilot.core.errors import CopilotError
from copilot.core.uri import join, redact
from copilot.core.values import SendSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from copilot.core.ports import CancelToken, Log
    from copilot.engine.transfer import Transfer

SMALL_BYTES: Final = 1024 * 1024
"""Files up to this size go first: where there is little time, most of what a person wants to see is among them."""


@dataclass(slots=True)
class Kept:
    """What was kept.

    Attributes:
        uri: the prefix.
        objects: how many files arrived.
        size_bytes: of all of them.
        skipped: files that cannot be kept: links, devices, names that are no UTF-8.
        complete: nothing went wrong on the way.
    """

    uri: str
    objects: int = 0
    size_bytes: int = 0
    skipped: int = 0
    complete: bool = True

    @property
    def whole(self) -> bool:
        """Whether all of it is there."""
        return self.complete and not self.skipped

    def fields(self) -> dict[str, object]:
        """As the receipt has it."""
        return {
            "uri": redact(self.uri),
            "objects": self.objects,
            "size_bytes": self.size_bytes,
            "skipped": self.skipped,
            "complete": self.complete,
        }


def keep_partial(directory: Path, prefix: str, *, transfer: Transfer, log: Log, cancel: CancelToken) -> Kept:
    """Sends every file below ``directory`` to ``<prefix>/partial/<relative path>``, small ones first.

    Never raises a ``CopilotError``: what goes wrong is logged as ``partial.failed``, and ``Kept.complete`` is False.
    """
    kept = Kept(join(prefix, podfiles.PARTIAL.rstrip("/")))
    try:
        for receipt in transfer.send(_specs(directory, kept), cancel):
            kept.objects += 1
            kept.size_bytes += receipt.size_bytes
    except CopilotError as error:
        kept.complete = False
        log.event("partial.failed", level="warning", uri=redact(kept.uri), reason=error.reason, error=error.message)
    if kept.objects:
        log.event("partial.kept", uri=redact(kept.uri), objects=kept.objects, size_bytes=kept.size_bytes)
    return kept


def _specs(directory: Path, kept: Kept) -> Iterator[SendSpec]:
    for small in (True, False):
        for path, size_bytes in _files(directory, kept, count=small):
            if (size_bytes <= SMALL_BYTES) == small:
                yield SendSpec(path, join(kept.uri, path.relative_to(directory).as_posix()))


def _files(directory: Path, kept: Kept, *, count: bool) -> Iterator[tuple[Path, int]]:
    """Regular files, lazily. What vanishes meanwhile, or cannot be read, is left out."""
    waiting = [str(directory)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False) and _sayable(entry.name) and os.access(entry.path, os.R_OK):
                    yield Path(entry.path), entry.stat(follow_symlinks=False).st_size
                else:
                    kept.skipped += count


def _sayable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
