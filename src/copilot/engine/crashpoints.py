"""Places where a process may be killed on purpose, by name: how it is proven that any moment is survived.

``reach`` does nothing unless the edge has armed one point (``COPILOT_CRASH_AT=NAME`` or ``NAME:N`` for the Nth time it is
reached); then the process kills itself with SIGKILL, which no handler, ``finally`` or buffer survives.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Final

from copilot.core.errors import BadFlag

INIT_POINTS: Final = (
    "inputs.planned",
    "staging.made",
    "values.written",
    "fetch.part-begun",
    "fetch.part-noted",
    "fetch.before-note",
    "fetch.before-rename",
    "fetch.renamed",
    "fetch.small-written",
    "fetch.small-renamed",
    "fetch.small-noted",
    "inputs.fetched",
    "documents.written",
    "staging.entry-moved",
    "staging.published",
    "ready.before-write",
    "ready.written",
)
"""What ``copilot init`` passes, in this order for the first time."""

SIDECAR_POINTS: Final = (
    "outputs.judged",
    "outputs.planned",
    "send.begun",
    "send.put",
    "send.noted",
    "multipart.created",
    "multipart.part-sent",
    "multipart.before-complete",
    "multipart.completed",
    "outputs.sent",
    "manifest.written",
    "outputs.committed",
    "errors.taken-back",
    "receipt.written",
    "published.noted",
)
"""What ``copilot sidecar`` passes."""

POINTS: Final = INIT_POINTS + SIDECAR_POINTS

_lock: Final = threading.Lock()
_armed: dict[str, int] = {}


def arm(text: str) -> None:
    """Kills this process at the named point. Empty text arms nothing.

    Raises:
        BadFlag: there is no such point, or the number is none.
    """
    if not text:
        return
    name, _, times = text.partition(":")
    if name not in POINTS or (times and not times.isdecimal()):
        raise BadFlag(
            f"There is no crash point {text!r}",
            op="flags",
            subject="COPILOT_CRASH_AT",
            hint="See copilot/engine/crashpoints.py.",
        )
    _armed[name] = int(times or 1)


def reach(name: str) -> None:
    """The process is at this point."""
    if not _armed or name not in _armed:
        return
    with _lock:
        _armed[name] -= 1
        if _armed[name] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()
