"""What is known of multipart uploads that somebody began and nobody finished."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from copilot.core.errors import StoreError

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken, Location, Log
    from copilot.engine.retry import Retrier


class Uploads:
    """Unfinished uploads: those the stores list, asked for once a directory, and those this process has left itself."""

    def __init__(self) -> None:
        """Knows of none."""
        self._lock = threading.Lock()
        self._asked: set[tuple[int, str]] = set()
        self._known: dict[tuple[int, str], list[str]] = {}

    def claim(self, location: Location, retrier: Retrier, log: Log, cancel: CancelToken) -> list[str]:
        """The ids of unfinished uploads of this object; nobody else gets them."""
        store, prefix = location.store, location.key.rpartition("/")[0]
        with self._lock:
            if (id(store), prefix) not in self._asked:
                self._asked.add((id(store), prefix))
                try:
                    found = retrier.call(
                        lambda: list(store.pending_uploads(prefix)), cancel=cancel, op="list", subject=location.uri
                    )
                except StoreError as error:
                    if error.transient:
                        raise
                    log.event("resume.unlisted", level="warning", reason=error.reason, error=error.message)
                    found = []
                for key, upload_id in found:
                    self._known.setdefault((id(store), key), []).append(upload_id)
            return self._known.pop((id(store), location.key), [])

    def leave(self, location: Location, upload_id: str) -> None:
        """Somebody may go on with it."""
        with self._lock:
            self._known.setdefault((id(location.store), location.key), []).append(upload_id)
