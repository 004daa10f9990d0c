"""While the task runs, the store is reached once.

Then the time from the task's end to ``outputs.pb`` is that of the requests alone: no credentials to fetch, no name to resolve,
no connection to open. What is asked is worth knowing too: whether ``outputs.pb`` was there before us.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from copilot.core.errors import BadCredentials, BucketNotFound, CopilotError, ObjectNotFound

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken, Log, Stores

_PATIENCE_S: Final = 5.0


class FirstLook:
    """One ``head``, on a thread of its own.

    Args:
        stores: opens the store of ``uri``.
        uri: an object there; that it is not there is expected.
        log: hears ``store.not_warm``; as a warning where the end will meet the same: the task may run for hours until then.
    """

    def __init__(self, stores: Stores, uri: str, *, log: Log) -> None:
        """See the class."""
        self._stores = stores
        self._uri = uri
        self._log = log
        self._there: bool | None = None
        self._looked = threading.Event()

    def begin(self) -> None:
        """Does not wait: a task may end at once. Nothing that goes wrong here matters."""
        threading.Thread(target=self._look, name="warm-up", daemon=True).start()

    def absent(self, cancel: CancelToken) -> bool:
        """Whether it is known that nothing was there; waits a little for an answer that is still to come."""
        waited_s = 0.0
        while not self._looked.wait(0.05) and waited_s < _PATIENCE_S and not cancel.cancelled:
            waited_s += 0.05
        return self._there is False

    def _look(self) -> None:
        try:
            location = self._stores.locate(self._uri)
            location.store.head(location.key)
            self._there = True
        except ObjectNotFound:
            self._there = False
        except CopilotError as error:
            level = "warning" if isinstance(error, BadCredentials | BucketNotFound) else "debug"
            self._log.event("store.not_warm", level=level, reason=error.reason, error=error.message)
        finally:
            self._looked.set()
