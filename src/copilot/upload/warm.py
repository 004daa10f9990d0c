"""While the task runs, the store is reached once.

Then the time from the task's end to ``outputs.pb`` is that of the requests alone: no credentials to fetch, no name to resolve,
no connection to open.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from copilot.core.errors import CopilotError

if TYPE_CHECKING:
    from copilot.core.ports import Log, Stores


def warm_up(stores: Stores, uri: str, *, log: Log) -> threading.Thread:
    """Begins it on a thread of its own, and does not wait: a task may end at once. Nothing that goes wrong here matters.

    Args:
        stores: opens the store of ``uri``.
        uri: an object there; that it is not there is expected.
        log: hears ``store.not_warm`` at debug level.
    """

    def reach() -> None:
        try:
            location = stores.locate(uri)
            location.store.head(location.key)
        except CopilotError as error:
            log.event("store.not_warm", level="debug", reason=error.reason)

    thread = threading.Thread(target=reach, name="warm-up", daemon=True)
    thread.start()
    return thread
