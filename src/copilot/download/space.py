"""Whether what is to come fits, as far as that can be known before it comes."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.core.errors import CopilotError, NotEnoughSpace
from copilot.engine.atomic import local_errors

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken, Stores
    from copilot.core.values import FetchSpec

_MOST_ASKED: Final = 64
_THREADS: Final = 8
_PATIENCE_S: Final = 5.0


def check_space(fetches: Sequence[FetchSpec], stores: Stores, *, known_bytes: int, root: Path, cancel: CancelToken) -> None:
    """Asks the stores for the sizes of single objects (64 at most, eight at a time, five seconds) and compares with the disk.

    What cannot be learnt is left out: the sum is the least that will be needed. A store's refusal is no concern here; the
    transfer meets it again, with its retries, and says so.

    Args:
        fetches: what is to come.
        stores: opens URIs.
        known_bytes: what is written besides.
        root: a directory on the file system it goes to.
        cancel: when to stop.

    Raises:
        NotEnoughSpace: it is known not to fit.
    """
    with local_errors(root, op="read"):
        status = os.statvfs(root)
    free = status.f_bavail * status.f_frsize
    needed = known_bytes + _sizes([spec for spec in fetches if not spec.tree][:_MOST_ASKED], stores, cancel)
    if needed > free:
        raise NotEnoughSpace(
            f"The inputs need {needed} bytes at least and {root} has {free} left",
            op="plan",
            subject=str(root),
            hint="Give the volume more space (for an emptyDir: its sizeLimit and the node's ephemeral storage).",
        )


def _sizes(fetches: Sequence[FetchSpec], stores: Stores, cancel: CancelToken) -> int:
    if not fetches:
        return 0
    todo: queue.SimpleQueue[FetchSpec] = queue.SimpleQueue()
    answers: queue.SimpleQueue[int] = queue.SimpleQueue()
    for spec in fetches:
        todo.put(spec)

    def ask() -> None:
        while True:
            try:
                spec = todo.get_nowait()
            except queue.Empty:
                return
            answers.put(_size(spec, stores))

    for _ in range(min(_THREADS, len(fetches))):
        threading.Thread(target=ask, name="copilot-sizes", daemon=True).start()
    total = 0
    for _ in fetches:
        cancel.check()
        try:
            total += answers.get(timeout=_PATIENCE_S)
        except queue.Empty:
            return total
    return total


def _size(spec: FetchSpec, stores: Stores) -> int:
    try:
        location = stores.locate(spec.uri)
        return location.store.head(location.key).size_bytes or 0
    except CopilotError:
        return 0
