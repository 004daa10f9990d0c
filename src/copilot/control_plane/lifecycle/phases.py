"""The phases of an action and of an attempt, and which may follow which. Pure.

The numbers are ``flyteidl2.common.ActionPhase``. The two tables are the whole truth: rows take a phase only through
``check``, so that an illegal transition cannot be written. What was not seen (a container that started and ended between
two looks) is filled in by ``steps``, with the times the containers themselves report, so that every attempt has a complete
history.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from copilot.control_plane.errors import IllegalTransition

ROOT: Final = "a0"  # the name of the action that a run itself is


class Phase(IntEnum):
    """Where an action or an attempt is."""

    QUEUED = 1
    WAITING_FOR_RESOURCES = 2
    INITIALIZING = 3
    RUNNING = 4
    SUCCEEDED = 5
    FAILED = 6
    ABORTED = 7
    TIMED_OUT = 8
    PAUSED = 9
    RECOVERED = 10

    @property
    def terminal(self) -> bool:
        """Nothing follows it."""
        return self in TERMINAL


TERMINAL: Final = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.ABORTED, Phase.TIMED_OUT, Phase.RECOVERED})
LIVE: Final = frozenset(Phase) - TERMINAL

_BAD_ENDS: Final = frozenset({Phase.FAILED, Phase.ABORTED, Phase.TIMED_OUT})
_NOTHING: Final[frozenset[Phase]] = frozenset()

ATTEMPT: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.QUEUED: frozenset({Phase.WAITING_FOR_RESOURCES, Phase.INITIALIZING}) | _BAD_ENDS,
    Phase.WAITING_FOR_RESOURCES: frozenset({Phase.INITIALIZING}) | _BAD_ENDS,
    Phase.INITIALIZING: frozenset({Phase.RUNNING}) | _BAD_ENDS,
    Phase.RUNNING: frozenset({Phase.SUCCEEDED}) | _BAD_ENDS,
    Phase.SUCCEEDED: _NOTHING,
    Phase.FAILED: _NOTHING,
    Phase.ABORTED: _NOTHING,
    Phase.TIMED_OUT: _NOTHING,
    Phase.PAUSED: _NOTHING,
    Phase.RECOVERED: _NOTHING,
}
"""An attempt goes forward only, and succeeds from ``RUNNING`` alone."""

ACTION: Final[Mapping[Phase, frozenset[Phase]]] = {
    **ATTEMPT,
    # A further attempt begins: back to the queue.
    Phase.WAITING_FOR_RESOURCES: ATTEMPT[Phase.WAITING_FOR_RESOURCES] | {Phase.QUEUED},
    Phase.INITIALIZING: ATTEMPT[Phase.INITIALIZING] | {Phase.QUEUED},
    Phase.RUNNING: ATTEMPT[Phase.RUNNING] | {Phase.QUEUED},
    # A condition waits for its signal, without a pod.
    Phase.PAUSED: frozenset({Phase.SUCCEEDED}) | _BAD_ENDS,
}
"""An action is where its newest attempt is, or waits for the next one, or has ended."""

_FORWARD: Final = (Phase.QUEUED, Phase.INITIALIZING, Phase.RUNNING, Phase.SUCCEEDED)


def check(table: Mapping[Phase, frozenset[Phase]], before: Phase, after: Phase) -> None:
    """Raises ``IllegalTransition`` unless ``after`` may follow ``before``."""
    if after not in table[before]:
        raise IllegalTransition(f"{after.name} cannot follow {before.name}")


def steps(before: Phase, after: Phase) -> tuple[Phase, ...]:
    """The phases an attempt must pass from ``before`` to ``after``, ``after`` included and ``before`` not.

    Empty when nothing is to be done: the same phase, or one that lies behind (a late report changes nothing).
    """
    if before == after or before.terminal or before is Phase.PAUSED:
        return ()
    if after in ATTEMPT[before]:
        return (after,)
    if after not in _FORWARD:
        return ()
    start = _FORWARD.index(Phase.QUEUED if before is Phase.WAITING_FOR_RESOURCES else before)
    return _FORWARD[start + 1 : _FORWARD.index(after) + 1]
