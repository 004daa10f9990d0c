"""An error document that no longer holds is taken back. It is the one thing of a store that is ever removed.

``Store`` has no delete, since user data is never destroyed. What a store may have beside it is ``Retracts``: a store without it
keeps the document, and so does one that does not let us.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from copilot.core.errors import Unsupported
from copilot.core.uri import redact

if TYPE_CHECKING:
    from copilot.core.ports import Location
    from copilot.engine.context import Context
    from copilot.engine.crew import Beat, Crew


@runtime_checkable
class Retracts(Protocol):
    """A store that can take back a document of ours."""

    def retract(self, key: str) -> None:
        """Removes the object; one that is gone is no error."""
        ...


class RetractJob:
    """One document goes."""

    __slots__ = ("_context", "_location", "heavy", "patience")

    def __init__(self, context: Context, location: Location) -> None:
        """See the class."""
        self._context = context
        self._location = location
        self.heavy = False
        self.patience = context.retrier.patience()

    @property
    def subject(self) -> str:
        """The object, for messages."""
        return redact(self._location.uri)

    def run(self, crew: Crew[bool], beat: Beat) -> bool:
        """Takes it back; True."""
        return self._context.retrier.call(
            lambda: self._attempt(beat), cancel=crew, op="delete", subject=self._location.uri, patience=self.patience
        )

    def _attempt(self, beat: Beat) -> bool:
        beat.touch()
        store = self._location.store
        if not isinstance(store, Retracts):
            raise Unsupported(f"{self.subject} cannot be removed from this store", op="delete", subject=self.subject)
        store.retract(self._location.key)
        return True
