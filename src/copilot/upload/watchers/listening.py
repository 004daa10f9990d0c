"""Being told when something appears in a directory: through inotify, or not at all where it cannot be had."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from watchdog.observers.api import BaseObserver

    from copilot.core.ports import Log


@contextmanager
def listening(directory: Path, names: Collection[str], woken: threading.Event, log: Log) -> Iterator[None]:
    """While in it, ``woken`` is set when something happens to one of ``names`` in ``directory``.

    An event may be lost, or never come (NFS, FUSE, a directory that is made later): who listens also looks from time to time.
    """
    observer = None
    if directory.is_dir():
        from watchdog.events import FileSystemEvent, FileSystemEventHandler  # noqa: PLC0415 — paid for by who watches
        from watchdog.observers import Observer  # noqa: PLC0415 — as above

        # What it says while it is taken down would stand on stderr between our own lines.
        logging.getLogger("watchdog").addHandler(logging.NullHandler())

        class Waker(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                if Path(str(event.src_path)).name in names or Path(str(event.dest_path)).name in names:
                    woken.set()

        try:
            observer = Observer()
            observer.schedule(Waker(), str(directory), recursive=False)
            observer.start()
        except OSError as no:  # inotify's limits (watches, instances) are the machine's: looking still works
            log.event("watch.polling", level="warning", directory=str(directory), reason=no.strerror or "")
            observer = None
    try:
        yield
    finally:
        if observer is not None:
            # Taking it down can last half a second, and whoever was waiting has something better to do.
            threading.Thread(target=_end, args=(observer,), name="watch-end", daemon=True).start()


def _end(observer: BaseObserver) -> None:
    observer.stop()
    observer.join()
