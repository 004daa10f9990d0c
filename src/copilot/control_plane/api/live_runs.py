"""How much is going on, by one statement on the two indexes that hold nothing but what is going on.

Its cost follows what waits and runs now, however many runs there have been.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import text

from copilot.control_plane.lifecycle.phases import LIVE, ROOT, Phase

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

# The conditions stand here as the indexes have them, in numbers: SQLite takes a partial index for nothing else.
STATEMENT: Final = f"""
SELECT 1 AS claimed, name = '{ROOT}' AS root, phase, 0 AS later, count(*) AS many, min(created_at) AS since
FROM actions WHERE live_attempt > 0 GROUP BY 2, 3
UNION ALL
SELECT 0, name = '{ROOT}', phase, CASE WHEN not_before > :now THEN 1 ELSE 0 END, count(*),
  min(CASE WHEN not_before > created_at THEN not_before ELSE created_at END)
FROM actions WHERE phase = 1 AND kind = 'task' AND live_attempt = 0 GROUP BY 2, 3, 4
"""  # noqa: S608 - a constant of ours


@dataclass(frozen=True, slots=True)
class LiveRuns:
    """What has not ended.

    Attributes:
        in_flight: actions with a live attempt.
        waiting: actions whose turn may be now.
        delayed: actions in a back-off.
        oldest_s: how long the first of ``waiting`` has waited, in seconds; 0 without any.
        runs: runs by phase, where there are any.
    """

    in_flight: int = 0
    waiting: int = 0
    delayed: int = 0
    oldest_s: float = 0.0
    runs: Mapping[Phase, int] = field(default_factory=dict)


def live_runs(session: Session, now: float) -> LiveRuns:
    """What is going on at ``now`` (seconds since the epoch)."""
    runs: Counter[Phase] = Counter()
    in_flight = waiting = delayed = 0
    since = now
    for row in session.execute(text(STATEMENT), {"now": now}):
        if row.root:
            runs[Phase(row.phase)] += row.many
        if row.claimed:
            in_flight += row.many
        elif row.later:
            delayed += row.many
        else:
            waiting += row.many
            since = min(since, row.since)
    return LiveRuns(in_flight, waiting, delayed, now - since, dict(runs))


class LiveCollector(Collector):
    """These figures as gauges: the same on every server, so that any one is right and their sum is not.

    Attributes:
        now: what the database said last; None: it does not answer, and what it said before is not told again.
    """

    def __init__(self) -> None:
        self.now: LiveRuns | None = LiveRuns()

    def collect(self) -> Iterable[Metric]:
        """See the base class."""
        up = float(self.now is not None)
        yield GaugeMetricFamily("copilot_database_up", "1: the database answered when this was read.", value=up)
        if self.now is None:
            return
        runs = GaugeMetricFamily("copilot_runs", "Runs that have not ended, by phase.", labels=["phase"])
        for phase in sorted(LIVE):
            runs.add_metric([phase.name.lower()], self.now.runs.get(phase, 0))
        yield runs
        for name, meaning, value in (
            ("copilot_attempts_in_flight", "Attempts that have a pod or are given one.", self.now.in_flight),
            ("copilot_queue_depth", "Actions that wait for their turn.", self.now.waiting),
            ("copilot_queue_delayed", "Actions that wait out a back-off before a retry.", self.now.delayed),
            ("copilot_queue_oldest_seconds", "How long the first in the queue has waited.", self.now.oldest_s),
        ):
            yield GaugeMetricFamily(name, meaning, value=value)
