"""The truth table: every row, and what must never be taken for success."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.core import errors
from copilot.core.completion import TABLE, Exit, Outcome, Row, Saw, Sighting, Verdict, Witness, judge, table_lines
from copilot.core.ports import Completion

ENDINGS = {Saw.EXITED, Saw.STOPPED}


def completion(sighting: Sighting) -> Completion:
    code = {Exit.ZERO: 0, Exit.NONZERO: 3, Exit.ANY: None}[sighting.exit]
    return Completion(sighting.witness, sighting.saw, code)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_every_row_decides_when_its_own_sightings_are_all_there_is(row: Row) -> None:
    verdict = judge([completion(sighting) for sighting in row.sightings], trust_signal=row.trusting)
    assert (verdict.row, verdict.outcome, verdict.why) == (row.name, row.outcome, row.why)


def seen(*pairs: tuple[Witness, Saw, int | None]) -> list[Completion]:
    return [Completion(witness, saw, code) for witness, saw, code in pairs]


WRAPPER, MARKER, SIGNAL, PROCESS, POD = Witness.WRAPPER, Witness.MARKER, Witness.SIGNAL, Witness.PROCESS, Witness.POD


@pytest.mark.parametrize(
    ("completions", "outcome"),
    [
        # An evicted, deleted or preempted pod whose task obeys ends with 0: that is no success.
        (seen((SIGNAL, Saw.SIGTERM, None), (POD, Saw.EVICTED, 0)), Outcome.EVICTED),
        (seen((SIGNAL, Saw.SIGTERM, None), (POD, Saw.DELETED, 0), (WRAPPER, Saw.STOPPED, 0)), Outcome.DELETED),
        (seen((POD, Saw.PREEMPTED, 0), (POD, Saw.EXITED, 0)), Outcome.PREEMPTED),
        (seen((POD, Saw.DEADLINE, 137), (WRAPPER, Saw.STOPPED, 137)), Outcome.DEADLINE),
        # What was done before the pod had to go is done.
        (seen((WRAPPER, Saw.EXITED, 0), (POD, Saw.DELETED, None), (SIGNAL, Saw.SIGTERM, None)), Outcome.SUCCEEDED),
        (seen((MARKER, Saw.SUCCESS_MARKER, None), (POD, Saw.EVICTED, 0)), Outcome.SUCCEEDED),
        # A task that fails after its marker has failed.
        (seen((MARKER, Saw.SUCCESS_MARKER, None), (WRAPPER, Saw.EXITED, 3)), Outcome.FAILED),
        (seen((MARKER, Saw.SUCCESS_MARKER, None), (POD, Saw.EXITED, 3)), Outcome.FAILED),
        # The task's own word is the strongest.
        (seen((MARKER, Saw.ERROR_MARKER, None), (WRAPPER, Saw.EXITED, 0)), Outcome.FAILED),
        (seen((POD, Saw.OOM, 137), (WRAPPER, Saw.EXITED, 137)), Outcome.OOM),
        (seen((SIGNAL, Saw.SIGTERM, None), (POD, Saw.EXITED, 3)), Outcome.FAILED),
        (seen((SIGNAL, Saw.SIGTERM, None), (PROCESS, Saw.GONE, None)), Outcome.UNKNOWN),
        (seen((WRAPPER, Saw.STOPPED, 0), (SIGNAL, Saw.SIGTERM, None)), Outcome.UNKNOWN),
        ([], Outcome.UNKNOWN),
    ],
)
def test_witnesses_together(completions: list[Completion], outcome: Outcome) -> None:
    for order in (completions, completions[::-1]):
        assert judge(order, trust_signal=False).outcome is outcome


def test_a_trusted_signal_is_success_only_if_no_witness_says_otherwise() -> None:
    signal = Completion(SIGNAL, Saw.SIGTERM)
    assert judge([signal], trust_signal=True).publishes
    assert not judge([signal], trust_signal=False).publishes
    for saw in (Saw.EVICTED, Saw.DELETED, Saw.PREEMPTED, Saw.DEADLINE, Saw.OOM):
        assert not judge([signal, Completion(POD, saw)], trust_signal=True).publishes
    assert not judge([signal, Completion(WRAPPER, Saw.EXITED, 1)], trust_signal=True).publishes
    assert not judge([signal, Completion(WRAPPER, Saw.STOPPED, 0)], trust_signal=True).publishes


@given(
    st.lists(
        st.builds(Completion, st.sampled_from(list(Witness)), st.sampled_from(list(Saw)), st.sampled_from([None, 0, 1, 137])),
        max_size=5,
    )
)
def test_success_needs_a_witness_that_proves_it(completions: list[Completion]) -> None:
    verdict = judge(completions, trust_signal=False)
    proofs = [
        one
        for one in completions
        if (one.witness in {WRAPPER, POD} and one.reason == Saw.EXITED and one.exit_code == 0)
        or (one.witness == MARKER and one.reason == Saw.SUCCESS_MARKER)
        or (one.witness == Witness.NOOP and one.reason == Saw.TOLD)
    ]
    assert not verdict.publishes or proofs
    if any(one.witness == MARKER and one.reason == Saw.ERROR_MARKER for one in completions):
        assert verdict.outcome is Outcome.FAILED


def test_every_verdict_but_success_is_an_error_with_its_own_reason() -> None:
    assert Verdict(Outcome.SUCCEEDED, "r", "w").error() is None
    reasons = set()
    for outcome in set(Outcome) - {Outcome.SUCCEEDED}:
        error = Verdict(outcome, "r", "because").error()
        assert error is not None
        assert "because" in error.message
        reasons.add(error.reason)
    assert len(reasons) == len(Outcome) - 1


def test_an_exit_code_is_said() -> None:
    verdict = judge([Completion(WRAPPER, Saw.EXITED, 3, {"command": "train"})], trust_signal=False)
    error = verdict.error()
    assert isinstance(error, errors.TaskFailed)
    assert error.message == "the task ended with exit code 3"
    assert verdict.evidence == {"wrapper.command": "train"}


def test_the_table_prints_itself() -> None:
    lines = list(table_lines())
    assert len(lines) == len(TABLE) + 2
    assert lines[-1] == "| `nothing` | nothing | **unknown** | no witness saw the task end |"
    assert any("signal: sigterm, and the signal is trusted | **succeeded**" in line for line in lines)
