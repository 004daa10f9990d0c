"""Two transfers of one process that write the same object: the later waits for what the earlier one still has in hand.

A store call cannot be interrupted. A transfer that was stopped may have handed over a body that lands when the next one has
long put a newer one in its place, and then the object is the old one again.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from copilot.core.ports import Location
    from copilot.engine.crew import Beat, Crew

_LOOK_S: Final = 0.1


class Writes:
    """Which objects are being written, and by which crew: attempts of one crew are about the same content, and do not wait."""

    def __init__(self) -> None:
        """None is."""
        self._state = threading.Condition()
        self._open: dict[tuple[int, str], list[Crew[Any]]] = {}

    @contextmanager
    def turn(self, location: Location, beat: Beat, most_s: float) -> Iterator[bool]:
        """Inside, no other crew writes the object. Whether that is so: after ``most_s`` it is not waited for any longer.

        Raises:
            Disowned: this thread's work is not wanted any more.
        """
        key = (id(location.store), location.key)
        left = int(most_s / _LOOK_S)
        with self._state:
            while (others := any(crew is not beat.crew for crew in self._open.get(key, ()))) and left > 0:
                left -= 1
                self._state.wait(_LOOK_S)
                beat.touch()
            beat.check()  # who was stopped meanwhile begins nothing any more
            self._open.setdefault(key, []).append(beat.crew)
        try:
            yield not others
        finally:
            with self._state:
                crews = self._open[key]
                crews.remove(beat.crew)
                if not crews:
                    del self._open[key]
                self._state.notify_all()
