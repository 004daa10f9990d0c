"""Where inputs are gathered, and the act that makes them visible.

A directory that does not exist yet is gathered beside its place and appears in one rename. One that exists may be a mount
point: it is filled from a hidden directory inside it, whose entries are renamed into place one by one, ``inputs.pb`` last.
Nothing is synced to the disk: a machine that dies takes the pod and its volumes with it.

A run that was killed, or gave up on a store that did not answer, leaves its staging directory behind. The next run of the same
plan goes on with it (``engine.journal``): what had been gathered is in ``before-N``, and moves to ``new`` once it is proven.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from copilot.core.errors import CopilotError, LocalIOError
from copilot.download.plan import STAGING_NAME
from copilot.engine.atomic import local_errors, make_directory, remove_tree
from copilot.engine.crashpoints import reach
from copilot.engine.journal import FetchJournal

if TYPE_CHECKING:
    from copilot.core.ports import Log

_MOST_NAME_BYTES: Final = 200
_PLAN: Final = "plan"
_OLD: Final = "old"
_BEFORE: Final = "before-"


class Staging:
    """A context: made on entry, gone at its end, however it ends.

    Args:
        directory: the final input directory.
        log: hears of what a crashed run left behind.
        plan_digest: what is staged. Leftovers of the same are gone on with; empty for none, which always begins afresh.

    Raises:
        ReadOnlyPath: the directory, or the place it would be made in, cannot be written.
        LocalIOError: something that is no directory has its name.
    """

    def __init__(self, directory: Path, *, log: Log, plan_digest: str = "") -> None:
        """See the class."""
        self._plan_digest = plan_digest
        self._held_bytes = 0
        self._final = directory
        self._log = log
        self._whole = not os.path.lexists(directory)
        self._beside = directory.parent / f"{STAGING_NAME}-{_short(directory.name)}"
        self._base = self._beside if self._whole else directory / STAGING_NAME

    @property
    def root(self) -> Path:
        """What is written here appears under its own name in the final directory."""
        return self._base / "new"

    @property
    def held_bytes(self) -> int:
        """What earlier runs of this plan have on the disk already, in bytes."""
        return self._held_bytes

    def journal(self) -> FetchJournal:
        """What the engine needs to go on where an earlier run was killed. Raises ``LocalError``."""
        return FetchJournal(self._base / "journal", self._earlier())

    def __enter__(self) -> Self:
        """Makes an empty staging directory; what a killed run of this very plan left is kept, all else is removed."""
        if not self._whole and not self._final.is_dir():
            raise LocalIOError(
                f"{self._final} is no directory", op="write", subject=str(self._final), hint="Name a directory for the inputs."
            )
        with local_errors(self._final):
            if self._whole:
                make_directory(str(self._final.parent))
            elif os.path.lexists(self._beside):
                # Its content was published, and then its run was killed.
                self._log.event("inputs.left_over_removed", path=str(self._beside))
                remove_tree(self._beside)
            if os.path.lexists(self._base):
                self._take_over()
            self._base.mkdir(exist_ok=True)
            (self._base / _PLAN).write_text(self._plan_digest)
            self.root.mkdir()
        reach("staging.made")
        return self

    def _take_over(self) -> None:
        try:
            known = self._plan_digest and (self._base / _PLAN).read_text() == self._plan_digest
        except OSError:
            known = False
        if not known:
            self._log.event("inputs.left_over_removed", path=str(self._base))
            remove_tree(self._base)
            return
        self._log.event("inputs.continued", path=str(self._base))
        # A rename that was cut off has put things aside that belong where they were: they are not ours to keep or to lose.
        old = self._base / _OLD
        if old.is_dir():
            for entry in old.iterdir():
                if not os.path.lexists(self._final / entry.name):
                    entry.rename(self._final / entry.name)
            remove_tree(old)
        if os.path.lexists(self.root):
            self.root.rename(self._base / f"{_BEFORE}{len(self._earlier())}")
        self._held_bytes = _on_disk_bytes(self._base)

    def _earlier(self) -> list[Path]:
        return sorted(self._base.glob(f"{_BEFORE}*"))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Removes what is left, but for what another run may go on with: a store that did not answer may do so then."""
        if self._plan_digest and isinstance(error, CopilotError) and error.transient:
            return
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
                reach("staging.published")
                return
            names = sorted({entry.name for entry in self.root.iterdir()} - set(last))
            old = self._base / _OLD
            old.mkdir()
            # An inputs.pb of before must not vouch for what comes now.
            for name in reversed(last):
                self._make_way(name, old)
            for name in (*names, *last):
                self._make_way(name, old)
                (self.root / name).rename(self._final / name)
                reach("staging.entry-moved")
            reach("staging.published")

    def _make_way(self, name: str, old: Path) -> None:
        if os.path.lexists(self._final / name):
            (self._final / name).rename(old / name)


def _on_disk_bytes(top: Path) -> int:
    total = 0
    for path, _, names in os.walk(top):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_blocks * 512  # noqa: PTH118 - names of any tree
    return total


def _short(name: str) -> str:
    """The name itself, or of one that leaves no room for more, its digest."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _MOST_NAME_BYTES else hashlib.sha256(encoded).hexdigest()
