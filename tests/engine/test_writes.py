"""Whose turn it is to write an object."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

import pytest

from copilot.core.ports import Location
from copilot.engine.clock import SystemClock
from copilot.engine.crew import Beat, Disowned
from copilot.engine.writes import Writes
from copilot.stores.memory import MemoryStore

if TYPE_CHECKING:
    from typing import Any

    from copilot.engine.crew import Crew

PLACE = Location("memory://b/k", MemoryStore(), "k")


class Stops:
    """All of a crew that counts here."""

    stopping = False


def beat_of(crew: Stops) -> Beat:
    return Beat(cast("Crew[Any]", crew), SystemClock())


def test_attempts_of_one_crew_do_not_wait_for_each_other_and_those_of_another_do() -> None:
    writes, one, other, entered = Writes(), Stops(), Stops(), threading.Event()

    def second() -> None:
        with writes.turn(PLACE, beat_of(other), 30) as alone:
            assert alone
            entered.set()

    with writes.turn(PLACE, beat_of(one), 30) as alone, writes.turn(PLACE, beat_of(one), 30) as again:
        assert (alone, again) == (True, True)
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.3)
    assert entered.wait(30)
    thread.join(30)


def test_a_write_that_does_not_end_is_not_waited_for_for_ever() -> None:
    writes = Writes()
    with writes.turn(PLACE, beat_of(Stops()), 30), writes.turn(PLACE, beat_of(Stops()), 0.2) as alone:
        assert not alone


def test_who_was_stopped_begins_nothing() -> None:
    writes, crew = Writes(), Stops()
    beat = beat_of(crew)
    crew.stopping = True
    with pytest.raises(Disowned), writes.turn(PLACE, beat, 30):
        pass
    with writes.turn(PLACE, beat_of(Stops()), 30) as alone:
        assert alone
