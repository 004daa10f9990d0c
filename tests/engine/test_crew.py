"""The crew of threads: jobs that stall are given to somebody else, and the end comes once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from copilot.core.errors import DeadlineExceeded, Unreachable
from copilot.engine.budget import Limits
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.engine.crew import Crew
from copilot.engine.retry import Retrier, RetryPolicy
from copilot.testing.clock import HastyClock
from copilot.testing.recording import RecordingLog

if TYPE_CHECKING:
    from copilot.engine.crew import Beat


class Work:
    """A job that does as it is told, and gives its number."""

    subject = "s3://b/k"

    def __init__(self, number: int, do: Callable[[int], None], retrier: Retrier, *, heavy: bool = False) -> None:
        self.number = number
        self.heavy = heavy
        self.patience = retrier.patience()
        self._do = do
        self._runs = 0

    def run(self, crew: Crew[int], beat: Beat) -> int:
        del crew, beat
        self._runs += 1
        self._do(self._runs)
        return self.number


class Polite(threading.Condition):
    """Whenever the watchman lets go of the lock, everybody else goes first."""

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)  # type: ignore[arg-type] # as the class has it
        if threading.current_thread() is threading.main_thread():
            time.sleep(0.2)


def crew_of(job: Work, retrier: Retrier, cancel: Token, clock: SystemClock, log: RecordingLog, *, stall_s: float) -> Crew[int]:
    limits = Limits(stall_s=stall_s)
    return Crew(iter([job]), limits=limits, heavy_slots=1, retrier=retrier, clock=clock, cancel=cancel, log=log)


@pytest.mark.parametrize("heavy", [False, True])
def test_a_job_that_is_done_as_soon_as_another_has_it_is_the_end_all_the_same(*, heavy: bool) -> None:
    clock, log, release = SystemClock(), RecordingLog(), threading.Event()
    retrier = Retrier(RetryPolicy(), clock=clock, log=log)

    def hang_once(run: int) -> None:
        if run == 1:
            release.wait(60)

    cancel = Token(clock, timeout_s=30, budget="the test")
    crew = crew_of(Work(1, hang_once, retrier, heavy=heavy), retrier, cancel, clock, log, stall_s=0.2)
    crew._state = Polite(crew._room._lock)  # type: ignore[attr-defined] # the one lock of both
    try:
        assert list(crew.results()) == [1]
    finally:
        release.set()
    assert log.named("stalled")
    assert crew._heavy_free == 1


def test_when_the_time_is_over_what_kept_failing_is_the_reason() -> None:
    clock, log, release = HastyClock(), RecordingLog(), threading.Event()
    retrier = Retrier(RetryPolicy(attempts=2), clock=clock, log=log)

    def fails() -> int:
        raise Unreachable("no route to the store")

    class Hangs(Work):
        def run(self, crew: Crew[int], beat: Beat) -> int:
            with suppress(Unreachable):
                retrier.call(fails, cancel=Token(clock), op="get", subject="k", patience=self.patience)
            release.wait(60)
            return super().run(crew, beat)

    cancel = Token(clock, timeout_s=100, budget="the grace period")
    crew = crew_of(Hangs(1, lambda _: None, retrier), retrier, cancel, clock, log, stall_s=6000)
    try:
        with pytest.raises(Unreachable, match="no route to the store"):
            list(crew.results())
    finally:
        release.set()


@pytest.mark.parametrize("silent", [True, False])
def test_time_that_went_by_in_silence_is_told_as_such(*, silent: bool) -> None:
    clock, log, release = HastyClock(), RecordingLog(), threading.Event()
    retrier = Retrier(RetryPolicy(), clock=clock, log=log)

    class Lives(Work):
        def run(self, crew: Crew[int], beat: Beat) -> int:
            while not release.wait(0.005):
                if not silent:
                    beat.touch()
            return super().run(crew, beat)

    cancel = Token(clock, timeout_s=20, budget="the grace period")
    crew = crew_of(Lives(1, lambda _: None, retrier), retrier, cancel, clock, log, stall_s=600)
    try:
        with pytest.raises(DeadlineExceeded, match=r"the grace period \(20 s\) is over") as caught:
            list(crew.results())
    finally:
        release.set()
    assert ("nothing was heard of s3://b/k for" in caught.value.message, "network" in caught.value.hint) == (silent, silent)
