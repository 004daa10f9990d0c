"""``_SUCCESS`` and ``_ERROR``, seen as they appear: through inotify, and by looking where inotify cannot be had."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.core import podfiles
from copilot.core.completion import Saw, Witness
from copilot.upload.markers import look_for_marker
from copilot.upload.watchers.listening import listening

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken, Clock, Completion, Log
    from copilot.upload.watchers.context import WatcherContext

LOOK_EVERY_S: Final = 0.25
"""How often it looks even if nothing was heard: a file system may not tell (NFS, FUSE), and an event can be lost."""

SETTLED_AFTER_S: Final = 0.1
"""``_ERROR`` carries a text, and its writer may still be at it: it counts when it stood still for so long."""


class MarkerWatcher:
    """Waits for one of the markers.

    Args:
        directory: the output directory; it may appear later.
        clock: for the time of the observation.
        log: hears ``watch.polling`` when there is no inotify.
    """

    witness: Final = Witness.MARKER

    def __init__(self, directory: Path, clock: Clock, log: Log) -> None:
        """See the class."""
        self._directory = directory
        self._clock = clock
        self._log = log

    def wait(self, cancel: CancelToken) -> Completion | None:
        """Blocks until a marker is there; after ``cancel``, one last look decides."""
        woken = threading.Event()
        with listening(self._directory, _MARKERS, woken, self._log):
            while not cancel.cancelled:
                seen = look_for_marker(self._directory, self._clock)
                if seen is not None and (seen.reason != Saw.ERROR_MARKER or self._settled(cancel)):
                    return seen
                woken.wait(LOOK_EVERY_S)
                woken.clear()
        return look_for_marker(self._directory, self._clock)

    def _settled(self, cancel: CancelToken) -> bool:
        path = self._directory / podfiles.ERROR_MARKER
        before = _shape(path)
        cancel.wait(SETTLED_AFTER_S)
        return before is not None and _shape(path) == before


def open_watcher(context: WatcherContext) -> MarkerWatcher:
    """For the registry."""
    return MarkerWatcher(context.directory, context.clock, context.log)


def _shape(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.lstat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


_MARKERS: Final = frozenset({podfiles.SUCCESS_MARKER, podfiles.ERROR_MARKER})
