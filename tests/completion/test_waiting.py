"""Who is waited for, and for how long: on a clock that the test owns."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.core.completion import TABLE, Saw, Witness, judge, may_change
from copilot.core.errors import InternalError, PodRefused, Unreachable
from copilot.core.ports import Completion
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.testing.clock import FakeClock
from copilot.testing.recording import RecordingLog
from copilot.upload.waiting import await_completion

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken, CompletionWatcher

PATIENCE_S = 30.0
"""On a clock that stands still, whoever is waited for is waited for until then; and then nobody was heard."""


class Told:
    """A watcher that says what the test tells it, when the test tells it."""

    def __init__(self, witness: Witness, *, said: Completion | None = None, hopeful: bool = True) -> None:
        self.witness = witness
        self.hurried, self.stopped = threading.Event(), threading.Event()
        self._hopeful = hopeful
        self._ready = threading.Event()
        self._said: Completion | None = None
        if said is not None:
            self.say(said)

    def say(self, completion: Completion) -> None:
        self._said = completion
        self._ready.set()

    def wait(self, cancel: CancelToken) -> Completion | None:
        while not self._ready.wait(0.005):
            if cancel.cancelled:
                self.stopped.set()
                return None
        return self._said

    def may_speak(self) -> bool:
        return self._hopeful

    def hurry(self) -> None:
        self.hurried.set()


class Runs(Told):
    """A wrapper, which knows whether the task runs."""

    def __init__(self) -> None:
        super().__init__(Witness.WRAPPER)
        self.alive = True

    def running(self) -> bool:
        return self.alive


class Hearing:
    """``await_completion`` on a thread, so that the test can act meanwhile."""

    def __init__(self, *watchers: CompletionWatcher, clock: SystemClock | FakeClock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.said: list[Completion] = []
        self._thread = threading.Thread(target=self._run, args=(watchers,), daemon=True)
        self._thread.start()

    def _run(self, watchers: tuple[CompletionWatcher, ...]) -> None:
        cancel = Token(SystemClock(), timeout_s=PATIENCE_S)
        self.said += await_completion(watchers, clock=self.clock, log=RecordingLog(), cancel=cancel).completions

    def over(self, within_s: float) -> bool:
        self._thread.join(within_s)
        return not self._thread.is_alive()


SIGTERM = Completion(Witness.SIGNAL, Saw.SIGTERM)
TOLD = Completion(Witness.NOOP, Saw.TOLD)


def test_a_proof_waits_for_nobody() -> None:
    pod = Told(Witness.POD)
    hearing = Hearing(pod, Told(Witness.WRAPPER, said=Completion(Witness.WRAPPER, Saw.EXITED, 0)), clock=FakeClock())
    assert hearing.over(PATIENCE_S)
    assert [one.witness for one in hearing.said] == ["wrapper"]
    assert pod.stopped.wait(PATIENCE_S)


def test_a_signal_waits_for_the_pod_and_hurries_it() -> None:
    pod = Told(Witness.POD)
    hearing = Hearing(Told(Witness.SIGNAL, said=SIGTERM), pod)
    assert pod.hurried.wait(PATIENCE_S)
    pod.say(Completion(Witness.POD, Saw.EVICTED, 0))
    assert hearing.over(PATIENCE_S)
    assert [one.reason for one in hearing.said] == [Saw.SIGTERM, Saw.EVICTED]


def test_a_pod_that_says_nothing_is_waited_for_a_little() -> None:
    clock = SystemClock()
    began_s = clock.monotonic_s()
    hearing = Hearing(Told(Witness.SIGNAL, said=SIGTERM), Told(Witness.POD))
    assert hearing.over(PATIENCE_S)
    assert 1.0 <= clock.monotonic_s() - began_s < 10
    assert hearing.said == [SIGTERM]


def test_who_cannot_change_the_verdict_is_not_waited_for() -> None:
    failed = Completion(Witness.WRAPPER, Saw.EXITED, 3)
    hearing = Hearing(Told(Witness.WRAPPER, said=failed), Told(Witness.SIGNAL), clock=FakeClock())
    assert hearing.over(PATIENCE_S)
    assert hearing.said == [failed]


def test_a_witness_without_hope_is_not_waited_for() -> None:
    hearing = Hearing(Told(Witness.SIGNAL, said=SIGTERM), Told(Witness.WRAPPER, hopeful=False), clock=FakeClock())
    assert hearing.over(PATIENCE_S)
    assert hearing.said == [SIGTERM]


def test_a_wrapper_that_lives_is_waited_for_as_long_as_it_takes() -> None:
    wrapper = Runs()
    hearing = Hearing(Told(Witness.SIGNAL, said=SIGTERM), wrapper)
    assert not hearing.over(2.0)
    wrapper.say(Completion(Witness.WRAPPER, Saw.EXITED, 0))
    assert hearing.over(PATIENCE_S)
    assert judge(hearing.said, trust_signal=False).publishes


def test_clock_jumps_change_nothing() -> None:
    clock = FakeClock()
    pod = Told(Witness.POD)
    hearing = Hearing(Told(Witness.SIGNAL, said=SIGTERM), pod, clock=clock)
    assert pod.hurried.wait(PATIENCE_S)
    for jump_s in (86_400.0, -172_800.0):
        clock.jump(jump_s)
        assert not hearing.over(0.3)
    clock.advance(1.1)
    clock.advance(1.3)
    assert hearing.over(PATIENCE_S)


def test_all_witnesses_fail() -> None:
    class Fails:
        def wait(self, cancel: CancelToken) -> Completion | None:
            del cancel
            raise Unreachable("nobody is there")

    with pytest.raises(Unreachable):
        await_completion([Fails(), Fails()], clock=SystemClock(), log=RecordingLog(), cancel=Token(SystemClock()))


def test_a_watcher_that_breaks_is_told_of_and_no_longer_asked() -> None:
    class Breaks:
        def wait(self, cancel: CancelToken) -> Completion | None:
            del cancel
            raise ZeroDivisionError

    clock, log = SystemClock(), RecordingLog()
    cancel = Token(clock, timeout_s=PATIENCE_S)
    with pytest.raises(InternalError, match="broke on ZeroDivisionError"):
        await_completion([Breaks()], clock=clock, log=log, cancel=cancel)
    heard = await_completion([Told(Witness.NOOP, said=TOLD), Breaks()], clock=clock, log=log, cancel=cancel)
    assert heard.completions == [TOLD]
    assert {event.fields["reason"] for event in log.named("watch.failed")} == {"Internal"}


def test_without_the_one_who_was_asked_for_the_end_nobody_is_waited_for() -> None:
    class Refused:
        def wait(self, cancel: CancelToken) -> Completion | None:
            del cancel
            raise PodRefused("we may not look")

    clock, silent = SystemClock(), Told(Witness.MARKER)
    cancel = Token(clock, timeout_s=PATIENCE_S)
    with pytest.raises(PodRefused):
        await_completion([Refused(), silent], clock=clock, log=RecordingLog(), cancel=cancel)
    assert silent.stopped.wait(PATIENCE_S)


completions = st.lists(
    st.builds(Completion, st.sampled_from(list(Witness)), st.sampled_from(list(Saw)), st.sampled_from([None, 0, 1, 137])),
    max_size=4,
)


@given(completions, st.builds(Completion, st.sampled_from(list(Witness)), st.sampled_from(list(Saw)), st.sampled_from([0, 1])))
def test_who_is_not_worth_waiting_for_changes_nothing(seen: list[Completion], late: Completion) -> None:
    if may_change(seen, {Witness(late.witness)}):
        return
    before, after = judge(seen, trust_signal=True), judge([*seen, late], trust_signal=True)
    names = [row.name for row in TABLE if not row.trusting]
    if before.row in names and after.row in names:
        assert names.index(after.row) >= names.index(before.row)
