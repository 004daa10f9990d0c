"""Jobs of a request or two about one name: read it into memory, take it back, end its unfinished uploads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from copilot.core.errors import AccessDenied, BadInputs, MissingExtra, Truncated, Unsupported
from copilot.core.ports import Retracts
from copilot.core.uri import redact

if TYPE_CHECKING:
    from copilot.core.ports import Location
    from copilot.engine.context import Context
    from copilot.engine.crew import Beat, Crew

_R = TypeVar("_R")


class _Job(ABC, Generic[_R]):
    """An attempt that is made again while that is worth it."""

    op: ClassVar[str]
    heavy = False

    def __init__(self, context: Context, location: Location) -> None:
        self._context = context
        self._location = location
        self.patience = context.retrier.patience()

    @property
    def subject(self) -> str:
        """The object, for messages."""
        return redact(self._location.uri)

    def run(self, crew: Crew[_R], beat: Beat) -> _R:
        """Does it."""
        return self._context.retrier.call(
            lambda: self._attempt(beat), cancel=crew, op=self.op, subject=self._location.uri, patience=self.patience
        )

    @abstractmethod
    def _attempt(self, beat: Beat) -> _R: ...


class AbortJob(_Job[int]):
    """The unfinished uploads of one object, and of those below it."""

    op = "put"

    def _attempt(self, beat: Beat) -> int:
        store, key = self._location.store, self._location.key.rstrip("/")
        ended = 0
        try:
            for found, upload_id in store.pending_uploads(key.rpartition("/")[0]):
                beat.touch()
                if found == key or found.startswith(f"{key}/"):
                    store.multipart(found, upload_id).abort()
                    ended += 1
        except (AccessDenied, Unsupported, MissingExtra) as error:
            self._context.log.event("resume.unlisted", level="warning", reason=error.reason, error=error.message)
        return ended


class RetractJob(_Job[bool]):
    """One document of ours goes."""

    op = "delete"

    def _attempt(self, beat: Beat) -> bool:
        beat.touch()
        store = self._location.store
        if not isinstance(store, Retracts):
            raise Unsupported(f"{self.subject} cannot be removed from this store", op="delete", subject=self.subject)
        store.retract(self._location.key)
        return True


class ReadJob(_Job[bytes]):
    """An object into memory, if it has at most ``limit`` bytes."""

    op = "get"

    def __init__(self, context: Context, location: Location, limit: int) -> None:
        """See the class."""
        super().__init__(context, location)
        self._limit = limit

    def _attempt(self, beat: Beat) -> bytes:
        beat.touch()
        held = bytearray()
        with self._location.store.get(self._location.key) as stream:
            size_bytes = stream.info.size_bytes
            if size_bytes is not None and size_bytes > self._limit:
                raise self._too_large(f"has {size_bytes} bytes")
            for chunk in stream:
                beat.touch()
                held += chunk
                if len(held) > self._limit:
                    raise self._too_large("goes on")
        if size_bytes is not None and len(held) != size_bytes:
            raise Truncated(f"{self.subject} has {size_bytes} bytes and {len(held)} came", op="get", subject=self.subject)
        self._context.progress.moved(len(held))
        return bytes(held)

    def _too_large(self, what: str) -> BadInputs:
        return BadInputs(
            f"{self.subject} {what} and {self._limit} is the most that is read into memory", op="get", subject=self.subject
        )
