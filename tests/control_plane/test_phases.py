from __future__ import annotations

import pytest
from flyteidl2.common import phase_pb2
from hypothesis import given
from hypothesis import strategies as st

from copilot.control_plane.errors import IllegalTransition
from copilot.control_plane.lifecycle.phases import ACTION, ATTEMPT, LIVE, TERMINAL, Phase, check, steps

PHASES = st.sampled_from(list(Phase))
TABLES = st.sampled_from([ACTION, ATTEMPT])


def test_both_tables_name_every_phase() -> None:
    assert set(ACTION) == set(ATTEMPT) == set(Phase)
    assert set(Phase) == TERMINAL | LIVE


def test_the_numbers_are_those_of_flyte() -> None:
    for phase in Phase:
        assert phase_pb2.ActionPhase.Name(phase.value) == f"ACTION_PHASE_{phase.name}"


@given(TABLES, st.sampled_from(sorted(TERMINAL)), PHASES)
def test_nothing_follows_an_end(table: dict[Phase, frozenset[Phase]], end: Phase, after: Phase) -> None:
    with pytest.raises(IllegalTransition):
        check(table, end, after)


@given(PHASES, PHASES)
def test_an_attempt_never_goes_back(before: Phase, after: Phase) -> None:
    if after in ATTEMPT[before]:
        assert after.value > before.value


@given(st.sampled_from(sorted(LIVE - {Phase.PAUSED})))
def test_every_live_attempt_can_be_ended_at_once(phase: Phase) -> None:
    for end in (Phase.FAILED, Phase.ABORTED, Phase.TIMED_OUT):
        check(ATTEMPT, phase, end)


def test_success_comes_from_running_alone() -> None:
    assert [phase for phase in Phase if Phase.SUCCEEDED in ATTEMPT[phase]] == [Phase.RUNNING]


@given(PHASES, PHASES)
def test_the_steps_between_two_phases_are_legal_one_by_one(before: Phase, after: Phase) -> None:
    here = before
    for step in steps(before, after):
        check(ATTEMPT, here, step)
        here = step
    assert here in (before, after)


@given(st.lists(PHASES, max_size=30))
def test_whatever_is_reported_in_whatever_order_the_history_is_legal_and_ends_once(reports: list[Phase]) -> None:
    history = [Phase.QUEUED]
    for report in reports:
        for step in steps(history[-1], report):
            check(ATTEMPT, history[-1], step)
            history.append(step)
    assert len(history) == len(set(history))
    assert sum(phase.terminal for phase in history) <= 1


def test_a_success_that_was_seen_late_fills_in_what_came_before() -> None:
    assert steps(Phase.QUEUED, Phase.SUCCEEDED) == (Phase.INITIALIZING, Phase.RUNNING, Phase.SUCCEEDED)
    assert steps(Phase.WAITING_FOR_RESOURCES, Phase.RUNNING) == (Phase.INITIALIZING, Phase.RUNNING)
    assert steps(Phase.RUNNING, Phase.INITIALIZING) == ()
