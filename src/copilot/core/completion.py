"""How a task ended: what witnesses saw → one verdict. A table, so that it can be printed, and every row tested.

A SIGTERM does not say why it came, and a pod's phase is ``Succeeded`` even when its task was evicted and obeyed. So every
witness says only what it saw, and the first row of ``TABLE`` whose sightings were all made decides.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from copilot.core import errors

if TYPE_CHECKING:
    from copilot.core.ports import Completion


class Witness(StrEnum):
    """Who can tell something. Each is a ``CompletionWatcher``."""

    WRAPPER = "wrapper"
    MARKER = "marker"
    SIGNAL = "signal"
    PROCESS = "process"
    POD = "pod"
    NOOP = "noop"


class Saw(StrEnum):
    """What a witness saw: the words of ``Completion.reason``.

    ``EXITED`` carries an exit code. ``STOPPED`` is an exit after the wrapper had passed a SIGTERM on: its code says how the
    task obeyed, not whether it was done. ``GONE`` is an end without a word on how; ``RUNNING`` is the last word of a witness
    that has seen no end.
    """

    EXITED = "exited"
    STOPPED = "stopped"
    OOM = "oom"
    TIMED_OUT = "timed-out"
    SUCCESS_MARKER = "success-marker"
    ERROR_MARKER = "error-marker"
    SIGTERM = "sigterm"
    GONE = "gone"
    RUNNING = "running"
    EVICTED = "evicted"
    PREEMPTED = "preempted"
    DELETED = "deleted"
    DEADLINE = "deadline"
    TOLD = "told"


class Outcome(StrEnum):
    """How the task ended. Only ``SUCCEEDED`` is published under the final name."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    OOM = "oom"
    EVICTED = "evicted"
    PREEMPTED = "preempted"
    DELETED = "deleted"
    DEADLINE = "deadline"
    UNKNOWN = "unknown"


class Exit(StrEnum):
    """Which exit codes a sighting wants."""

    ANY = "any"
    ZERO = "zero"
    NONZERO = "not zero"

    def takes(self, code: int | None) -> bool:
        """Whether ``code`` is one of them; an unknown code is neither zero nor not zero."""
        return self is Exit.ANY or (code is not None and (code == 0) == (self is Exit.ZERO))


@dataclass(frozen=True, slots=True)
class Sighting:
    """One witness saw one thing."""

    witness: Witness
    saw: Saw
    exit: Exit = Exit.ANY

    def fits(self, completion: Completion) -> bool:
        """Whether ``completion`` is it."""
        return completion.witness == self.witness and completion.reason == self.saw and self.exit.takes(completion.exit_code)

    def __str__(self) -> str:
        """``pod: exited (not zero)``."""
        return f"{self.witness}: {self.saw}" + ("" if self.exit is Exit.ANY else f" ({self.exit})")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes:
        name: a word for tests and records.
        sightings: all of them must have been made; none is the last row.
        outcome: what it means.
        why: the reason, a clause a person can read.
        trusting: the row counts only if SIGTERM is trusted (``--trust-signal``, the default of ``flyte-copilot``).
        hint: what to do, where the outcome's own hint is of no use here.
    """

    name: str
    sightings: tuple[Sighting, ...]
    outcome: Outcome
    why: str
    trusting: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the task ended, and how we know.

    Attributes:
        outcome: the result.
        row: the name of the row that decided.
        why: that row's reason.
        exit_code: main's exit code, where a witness knew it.
        witnesses: who said anything at all, in order.
        evidence: their facts, ``<witness>.<name>``; never secrets.
        hint: that row's advice; empty: the error's own.
    """

    outcome: Outcome
    row: str
    why: str
    exit_code: int | None = None
    witnesses: tuple[str, ...] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""

    @property
    def publishes(self) -> bool:
        """Whether outputs may get their final name."""
        return self.outcome is Outcome.SUCCEEDED

    def error(self) -> errors.TaskError | None:
        """The error this verdict is; None for success."""
        if self.outcome is Outcome.SUCCEEDED:
            return None
        if self.outcome is Outcome.FAILED and self.exit_code is not None:
            said = f"the task ended with exit code {self.exit_code}{_by_signal(self.evidence.get('wrapper.signal', ''))}"
            return errors.TaskFailed(said, op="completion")
        return _ERRORS[self.outcome](f"outputs are not published: {self.why}", op="completion", hint=self.hint)


def _by_signal(number: str) -> str:
    """`` (SIGKILL)`` for ``9``: what the code of a task that a signal ended does not say to everybody."""
    try:
        return f" ({signal.Signals(int(number)).name})"
    except ValueError:
        return ""


def _pod(saw: Saw, exit_codes: Exit = Exit.ANY) -> Sighting:
    return Sighting(Witness.POD, saw, exit_codes)


def _wrapper(saw: Saw, exit_codes: Exit = Exit.ANY) -> Sighting:
    return Sighting(Witness.WRAPPER, saw, exit_codes)


_SUCCESS: Final = Sighting(Witness.MARKER, Saw.SUCCESS_MARKER)

TABLE: Final[tuple[Row, ...]] = (
    Row(
        "error-marker",
        (Sighting(Witness.MARKER, Saw.ERROR_MARKER),),
        Outcome.FAILED,
        "the task wrote _ERROR: it says itself that it failed",
    ),
    Row("pod-oom", (_pod(Saw.OOM),), Outcome.OOM, "the container status is OOMKilled"),
    Row("wrapper-oom", (_wrapper(Saw.OOM),), Outcome.OOM, "the memory cgroup counted an OOM kill"),
    Row("wrapper-timeout", (_wrapper(Saw.TIMED_OUT),), Outcome.DEADLINE, "the wrapper ended the task at its deadline"),
    Row(
        "exited-0-before-the-pod-ended",
        (_wrapper(Saw.EXITED, Exit.ZERO),),
        Outcome.SUCCEEDED,
        "the task ended with 0 by itself, before anybody asked it to stop",
    ),
    Row("exited-by-itself", (_wrapper(Saw.EXITED, Exit.NONZERO),), Outcome.FAILED, "the task ended by itself with an error"),
    Row(
        "success-marker-then-failed",
        (_SUCCESS, _pod(Saw.EXITED, Exit.NONZERO)),
        Outcome.FAILED,
        "the task failed after it had written _SUCCESS",
    ),
    Row("success-marker", (_SUCCESS,), Outcome.SUCCEEDED, "the task wrote _SUCCESS as its last act"),
    Row("pod-deadline", (_pod(Saw.DEADLINE),), Outcome.DEADLINE, "the pod's activeDeadlineSeconds passed"),
    Row(
        "pod-preempted",
        (_pod(Saw.PREEMPTED),),
        Outcome.PREEMPTED,
        "the pod made room for another: exit 0 after SIGTERM is obedience, not success",
    ),
    Row(
        "pod-evicted",
        (_pod(Saw.EVICTED),),
        Outcome.EVICTED,
        "the pod was evicted: exit 0 after SIGTERM is obedience, not success",
    ),
    Row(
        "pod-deleted",
        (_pod(Saw.DELETED),),
        Outcome.DELETED,
        "the pod was deleted: exit 0 after SIGTERM is obedience, not success",
    ),
    Row(
        "stopped-with-an-error", (_wrapper(Saw.STOPPED, Exit.NONZERO),), Outcome.FAILED, "the task was told to stop, and failed"
    ),
    Row(
        "stopped-with-0",
        (_wrapper(Saw.STOPPED),),
        Outcome.UNKNOWN,
        "the task ended after it was told to stop: nobody knows whether it was done",
        hint="Run it again; the pod's events say why it was to go, and with --witnesses pod the sidecar says so itself.",
    ),
    Row("container-failed", (_pod(Saw.EXITED, Exit.NONZERO),), Outcome.FAILED, "the container status says the task failed"),
    Row(
        "wrapper-gone",
        (_wrapper(Saw.GONE),),
        Outcome.UNKNOWN,
        "the wrapper was gone before it could tell how the task ended",
        hint="Run it again; the pod's events and the log of copilot exec say what ended it.",
    ),
    Row(
        "wrapper-running",
        (_wrapper(Saw.RUNNING),),
        Outcome.UNKNOWN,
        "the task was still running when nobody could wait any longer",
        hint="Let the task end when it gets SIGTERM, or give its pod a longer grace period.",
    ),
    Row("container-exited-0", (_pod(Saw.EXITED, Exit.ZERO),), Outcome.SUCCEEDED, "the container status says exit code 0"),
    Row(
        "told",
        (Sighting(Witness.NOOP, Saw.TOLD),),
        Outcome.SUCCEEDED,
        "the sidecar was told not to wait: what is there is what is meant",
    ),
    Row(
        "trusted-signal",
        (Sighting(Witness.SIGNAL, Saw.SIGTERM),),
        Outcome.SUCCEEDED,
        "SIGTERM came, no other witness says otherwise, and the signal is trusted",
        trusting=True,
    ),
    Row(
        "signal-alone",
        (Sighting(Witness.SIGNAL, Saw.SIGTERM),),
        Outcome.UNKNOWN,
        "only a SIGTERM came, and it does not say why",
    ),
    Row(
        "process-gone",
        (Sighting(Witness.PROCESS, Saw.GONE),),
        Outcome.UNKNOWN,
        "the task's process is gone: that says when it ended, not how",
    ),
    Row("nothing", (), Outcome.UNKNOWN, "no witness saw the task end"),
)


def judge(completions: Sequence[Completion], *, trust_signal: bool) -> Verdict:
    """The verdict of the first row whose sightings were all made.

    Args:
        completions: what the witnesses said, in any order.
        trust_signal: SIGTERM alone is success (the reference's behaviour), unless another witness says otherwise. That the
            declared outputs can be read is for the plan to find out.
    """
    row = next(row for row in TABLE if (trust_signal or not row.trusting) and _applies(row, completions))
    deciding = [completion for completion in completions if any(sighting.fits(completion) for sighting in row.sightings)]
    code = next((completion.exit_code for completion in reversed(deciding) if completion.exit_code is not None), None)
    if code is None:
        code = next((completion.exit_code for completion in completions if completion.exit_code is not None), None)
    facts = {f"{one.witness}.{name}": fact for one in completions for name, fact in one.evidence.items()}
    return Verdict(row.outcome, row.name, row.why, code, tuple(one.witness for one in completions), facts, row.hint)


def may_change(completions: Sequence[Completion], pending: Collection[Witness]) -> bool:
    """Whether a word of the ``pending`` witnesses could still overrule what ``completions`` come to.

    It could if a row above the one that decides now wants to hear them, and everything else that this row wants was seen.
    """
    for row in TABLE:
        missing = [sighting for sighting in row.sightings if not any(sighting.fits(one) for one in completions)]
        if not missing:
            return False
        if all(sighting.witness in pending for sighting in missing):
            return True
    return False


def table_lines() -> Iterator[str]:
    """The table as Markdown, in the order in which it is read."""
    yield "| | what was seen | verdict | because |"
    yield "|---|---|---|---|"
    for row in TABLE:
        seen = " and ".join(str(sighting) for sighting in row.sightings) or "nothing"
        trusting = ", and the signal is trusted" if row.trusting else ""
        yield f"| `{row.name}` | {seen}{trusting} | **{row.outcome}** | {row.why} |"


def _applies(row: Row, completions: Sequence[Completion]) -> bool:
    return all(any(sighting.fits(completion) for completion in completions) for sighting in row.sightings)


_ERRORS: Final[Mapping[Outcome, type[errors.TaskError]]] = {
    Outcome.FAILED: errors.TaskFailed,
    Outcome.OOM: errors.TaskOutOfMemory,
    Outcome.EVICTED: errors.TaskEvicted,
    Outcome.PREEMPTED: errors.TaskPreempted,
    Outcome.DELETED: errors.TaskDeleted,
    Outcome.DEADLINE: errors.TaskDeadline,
    Outcome.UNKNOWN: errors.CompletionUnproven,
}
