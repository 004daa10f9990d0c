"""What a transaction changed that is worth counting: given with it, told once it is committed.

Plain numbers and words, taken while the rows are at hand: who counts (``api.metrics``) asks the database nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ActionCreated:
    """A new action.

    Attributes:
        kind: ``task``, ``trace`` or ``condition``.
        root: it is a run's own: a run was created.
    """

    kind: str
    root: bool


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """An attempt's main container runs.

    Attributes:
        queued_s: how long its action had waited for its turn, back-off not counted.
        starting_s: from the turn to main's start: the pod was made, placed, given its inputs.
    """

    queued_s: float
    starting_s: float


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An attempt is over.

    Attributes:
        phase: its last phase's name, in small letters.
        blame: whose failure it is: ``user``, ``system``, ``preemption``; empty: nobody's.
        code: the reason, as in the run's history; anything a task may write.
        ended_at_s: when it ended, as its containers say; None where it was us who ended it.
    """

    phase: str
    blame: str
    code: str
    ended_at_s: float | None


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run is over.

    Attributes:
        phase: its last phase's name, in small letters.
    """

    phase: str
