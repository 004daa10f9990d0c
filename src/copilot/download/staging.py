"""Where inputs are gathered, and the act that makes them visible.

A directory that does not exist yet is gathered beside its place and appears in one rename. One that exists may be a mount
point: it is filled from a hidden directory inside it, whose entries are renamed into place one by one, ``inputs.pb`` last.
Nothing is synced to the disk: a machine that dies takes the pod and its volumes with it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from copilot.core.errors import LocalIOError
from copilot.download.plan import STAGING_NAME
from copilot.engine.atomic import local_errors, make_directory, remove_tree

if TYPE_CHECKING:
    from copilot.core.ports import Log

_MOST_NAME_BYTES: Final = 200


class Staging:
    """A context: made on entry, gone at its end, however it ends.

    Args:
        directory: the final input directory.
        log: hears of what a crashed run left behind.

    Raises:
        ReadOnlyPath: the directory, or the place it would be made in, cannot be written.
        LocalIOError: something that is no directory has its name.
    """

    def __init__(self, directory: Path, *, log: Log) -> None:
        """See the class."""
        self._final = directory
        self._log = log
        self._whole = not os.path.lexists(directory)
        name = f"{STAGING_NAME}-{_short(directory.name)}" if self._whole else STAGING_NAME
        self._base = (directory.parent if self._whole else directory) / name

    @property
    def root(self) -> Path:
        """What is written here appears under its own name in the final directory."""
        return self._base / "new"

    def __enter__(self) -> Self:
        """Makes an empty staging directory; what a crashed run left of its own is removed."""
        if not self._whole and not self._final.is_dir():
            raise LocalIOError(
                f"{self._final} is no directory", op="write", subject=str(self._final), hint="Name a directory for the inputs."
            )
        with local_errors(self._final):
            if self._whole:
                make_directory(str(self._final.parent))
            if os.path.lexists(self._base):
                self._log.event("inputs.left_over_removed", path=str(self._base))
                remove_tree(self._base)
            self._base.mkdir()
            self.root.mkdir()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Removes what is left."""
        remove_tree(self._base)

    def publish(self, last: Sequence[str]) -> None:
        """Everything in ``root`` gets its final name; ``last`` in that order after all others.

        What had one of these names before makes way; everything else in the directory stays.

        Raises:
            LocalError: as the file system says.
        """
        with local_errors(self._final):
            if self._whole:
                self.root.rename(self._final)
                return
            names = sorted({entry.name for entry in self.root.iterdir()} - set(last))
            old = self._base / "old"
            old.mkdir()
            # An inputs.pb of before must not vouch for what comes now.
            for name in reversed(last):
                self._make_way(name, old)
            for name in (*names, *last):
                self._make_way(name, old)
                (self.root / name).rename(self._final / name)

    def _make_way(self, name: str, old: Path) -> None:
        if os.path.lexists(self._final / name):
            (self._final / name).rename(old / name)


def _short(name: str) -> str:
    """The name itself, or of one that leaves no room for more, its digest."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _MOST_NAME_BYTES else hashlib.sha256(encoded).hexdigest()
