"""A listing that goes on after a fault, without remembering what it has seen.

Nothing promises an order, so "go on after the last key" would be a guess. What is kept is how many keys came and a running
checksum over them: after a fault the listing starts again, and when its beginning is the same, what follows is the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot.core.errors import CopilotError, ObjectChanged
from copilot.engine import digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from copilot.core.ports import CancelToken, ObjectInfo, Store
    from copilot.engine.retry import Retrier


def listed(store: Store, prefix: str, *, subject: str, retrier: Retrier, cancel: CancelToken) -> Iterator[ObjectInfo]:
    """``store.list(prefix)``, lazily, tried again after transient faults.

    Raises:
        ObjectChanged: what was listed before a fault is not what is listed after it.
        StoreError: as the store says, when patience is over.
    """
    position = _Position(store, prefix, subject)
    patience = retrier.patience()
    while True:
        try:
            info = position.next()
        except CopilotError as error:
            if not error.transient:
                raise
            info = retrier.call(position.again, cancel=cancel, op="list", subject=subject, patience=patience)
        if info is None:
            return
        patience.attempts = 0
        yield info


class _Position:
    def __init__(self, store: Store, prefix: str, subject: str) -> None:
        self._store = store
        self._prefix = prefix
        self._subject = subject
        self._count = 0
        self._checksum = 0
        self._entries: Iterator[ObjectInfo] | None = None

    def next(self) -> ObjectInfo | None:
        if self._entries is None:
            self._entries = iter(self._store.list(self._prefix))
        info = next(self._entries, None)
        if info is not None:
            self._count += 1
            self._checksum = _over(self._checksum, info)
        return info

    def again(self) -> ObjectInfo | None:
        entries = iter(self._store.list(self._prefix))
        checksum = 0
        for _ in range(self._count):
            info = next(entries, None)
            checksum = _over(checksum, info) if info is not None else ~checksum
        if checksum != self._checksum:
            raise ObjectChanged(
                f"What is below {self._subject} changed while it was listed",
                op="list",
                subject=self._subject,
                hint="Stage inputs from a prefix that nobody writes to any more.",
            )
        self._entries = entries
        return self.next()


def _over(checksum: int, info: ObjectInfo) -> int:
    return digest.extend(checksum, info.key.encode("utf-8", "surrogatepass") + b"\0")
