from __future__ import annotations

import threading

import pytest

from copilot.core.errors import Cancelled, DeadlineExceeded
from copilot.engine.cancel import Late, Notice, Token
from copilot.testing.clock import FakeClock


def test_a_deadline_passes_on_the_clock_that_never_jumps() -> None:
    clock = FakeClock()
    token = Token(clock, timeout_s=10)
    clock.jump(3600)
    token.check()
    assert token.remaining_s() == 10
    clock.advance(10)
    assert token.cancelled
    assert token.remaining_s() == 0
    with pytest.raises(DeadlineExceeded, match="10 s"):
        token.check()


def test_a_latch_stops_the_token_and_its_children_with_its_reason() -> None:
    latch = threading.Event()
    token = Token(FakeClock(), latch=latch, why="the pod is being stopped")
    child = token.child(timeout_s=100)
    child.check()
    latch.set()
    with pytest.raises(Cancelled, match="the pod is being stopped"):
        child.check()


def test_a_child_ends_at_the_nearest_deadline_and_leaves_its_parent_alone() -> None:
    clock = FakeClock()
    parent = Token(clock, timeout_s=60)
    child = parent.child(timeout_s=5)
    assert child.remaining_s() == 5
    clock.advance(5)
    assert child.cancelled
    assert not parent.cancelled
    assert parent.child(timeout_s=1000).remaining_s() == 55


def test_the_grace_period_begins_when_everything_else_has_ended() -> None:
    clock, latch, second = FakeClock(), threading.Event(), threading.Event()
    token = Token(clock, latch=latch)
    latch.set()
    grace = token.grace(30, latch=second)
    grace.check()
    assert grace.remaining_s() == 30
    second.set()
    with pytest.raises(Cancelled, match="again"):
        grace.check()


def test_a_wait_ends_early_when_the_token_does() -> None:
    clock = FakeClock()
    token = Token(clock, timeout_s=1)
    assert token.wait(0.5) is False
    assert clock.monotonic_s() == pytest.approx(0.5)
    assert token.wait(100) is True
    assert clock.monotonic_s() == pytest.approx(1.0, abs=0.06)


def test_the_first_reason_stays() -> None:
    token = Token(FakeClock())
    token.cancel("the first error")
    token.cancel("another")
    with pytest.raises(Cancelled, match="the first error"):
        token.check()


def test_what_is_left_after_a_notice_has_no_end_before_it() -> None:
    clock, notices = FakeClock(), list[float]()
    token = Token(clock, parent=Notice(clock, lambda: max(notices, default=None), 28, budget="the grace period (30 s)"))
    clock.advance(1000)
    assert token.remaining_s() is None
    assert not token.wait(5)
    notices.append(clock.monotonic_s())
    assert token.remaining_s() == 28
    clock.advance(27)
    token.check()
    assert token.wait(5)
    with pytest.raises(DeadlineExceeded, match=r"the grace period \(30 s\) is over"):
        token.check()


def test_what_is_late_ends_so_much_after_the_other_and_for_its_reason() -> None:
    clock = FakeClock()
    token = Token(clock, timeout_s=60)
    late = Late(clock, token, 5)
    assert late.remaining_s() == 65
    token.cancel("told to stop")
    late.check()
    clock.advance(4.9)
    assert not late.cancelled
    clock.advance(0.1)
    assert late.wait(1)
    with pytest.raises(Cancelled, match="told to stop"):
        late.check()
    assert Late(clock, Token(clock), 5).remaining_s() is None
