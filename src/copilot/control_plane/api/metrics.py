"""What one server counts and times, for Prometheus.

Counters and histograms hear of what happens as it happens: of committed transactions (``control_plane.facts``), of calls of the
pods' API. Gauges are read when somebody asks. Every label takes its value from a short list: a reason that only a task knows is
``Other``. Each server has a registry of its own; several servers are summed, but for the gauges of what they share
(``copilot_runs``, ``copilot_queue_*``), of which any one is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.process_collector import ProcessCollector

from copilot import __version__
from copilot.control_plane.api.live_runs import LiveCollector
from copilot.control_plane.facts import ActionCreated, AttemptEnded, AttemptStarted, RunEnded
from copilot.control_plane.lifecycle.moves import Blame
from copilot.control_plane.lifecycle.obstacles import REASONS as OBSTACLES
from copilot.control_plane.lifecycle.outcome import TASK_FAILED
from copilot.core.error_document import INPUT_DOWNLOAD_FAILED, OUTPUT_UPLOAD_FAILED
from copilot.core.errors import CopilotError, PodApiUnavailable

SUCCEEDED: Final = "Succeeded"
OTHER: Final = "Other"
_NOBODY: Final = "nobody"
#: The server's own words for an attempt's end, beside the reasons of the error tree.
WORDS: Final = frozenset(
    {
        SUCCEEDED, TASK_FAILED, INPUT_DOWNLOAD_FAILED, OUTPUT_UPLOAD_FAILED, *OBSTACLES, "OOMKilled", "Evicted",
        "Preempted", "PodDeleted", "DeadlineExceeded", "CompletionUnproven", "OutputsNotPublished", "ErrorUnreadable",
        "InitFailed", "NodeLost", "PodLost", "Aborted", "TimedOut", "QueuedTimeout",
    }
)  # fmt: skip
_SHORT_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LONG_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
_KNOWN_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class ServerMetrics:
    """One server's metrics.

    Args:
        now_s: seconds since the epoch.

    Attributes:
        registry: where they are.
        live: what the database says, when it is asked.
        pod_watches: watches of pods that are open.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        """See the class."""
        # A second series for each counter, with the time of its birth, that nobody asks for.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._now_s = now_s
        self._known = WORDS | frozenset(_reasons(CopilotError))
        self.registry = registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        Info("copilot_build", "This server's version.", registry=registry).info({"version": __version__})
        self.live = LiveCollector()
        registry.register(self.live)
        self._counted(registry)
        self._timed(registry)
        self._gauges(registry)

    def _counted(self, registry: CollectorRegistry) -> None:
        self._actions = Counter("copilot_actions_created_total", "Actions created.", ["kind"], registry=registry)
        self._runs_created = Counter("copilot_runs_created_total", "Runs created.", registry=registry)
        self._runs_ended = Counter("copilot_runs_ended_total", "Runs that ended.", ["phase"], registry=registry)
        self._attempts_ended = Counter(
            "copilot_attempts_ended_total",
            "Attempts that ended, by reason; blame is whose failure it was.",
            ["phase", "reason", "blame"],
            registry=registry,
        )
        self._pod_calls = Counter(
            "copilot_pod_api_requests_total",
            "Calls of the pods' API, by result: ok, or the reason; retries within one call count once.",
            ["op", "result"],
            registry=registry,
        )
        self._pod_events = Counter(
            "copilot_pod_watch_events_total",
            "What the pods' API told; a BOOKMARK is the end of a list that was read anew.",
            ["type"],
            registry=registry,
        )
        self._database_errors = Counter(
            "copilot_database_errors_total", "Transactions that failed.", ["op", "reason"], registry=registry
        )
        for kind in ("task", "trace", "condition"):
            self._actions.labels(kind)
        for kind in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK"):
            self._pod_events.labels(kind)
        for phase in ("succeeded", "failed", "aborted", "timed_out"):
            self._runs_ended.labels(phase)
        # From 0 on: a rate of what has never happened is none, and no answer at all.
        self._attempts_ended.labels("succeeded", SUCCEEDED, _NOBODY)
        for blame in Blame:
            self._attempts_ended.labels("failed", OTHER, blame.value or _NOBODY)
        for op in ("create", "get", "delete", "release"):
            self._pod_calls.labels(op, "ok")
            self._pod_calls.labels(op, PodApiUnavailable.reason)
        for op in ("read", "write"):
            for reason in ("DatabaseUnavailable", "StateChanged"):
                self._database_errors.labels(op, reason)

    def _timed(self, registry: CollectorRegistry) -> None:
        self._queued = Histogram(
            "copilot_attempt_queued_seconds",
            "From an action's creation, or the end of its back-off, to its turn.",
            buckets=_LONG_S,
            registry=registry,
        )
        self._starting = Histogram(
            "copilot_attempt_starting_seconds",
            "From an attempt's turn to its main container's start: the pod made, placed, given its inputs.",
            buckets=_LONG_S,
            registry=registry,
        )
        self._noticed = Histogram(
            "copilot_attempt_end_noticed_seconds",
            "From an attempt's end, as its containers tell it (Kubernetes: in whole seconds), to the server knowing it.",
            buckets=_KNOWN_S,
            registry=registry,
        )
        self._pod_call_s = Histogram(
            "copilot_pod_api_request_duration_seconds", "Calls of the pods' API.", ["op"], buckets=_SHORT_S, registry=registry
        )
        self._database_s = Histogram(
            "copilot_database_transaction_duration_seconds",
            "Transactions, with the wait for a connection.",
            ["op"],
            buckets=_SHORT_S,
            registry=registry,
        )
        for op in ("read", "write"):
            self._database_s.labels(op)
        for op in ("create", "get", "logs", "delete", "release"):
            self._pod_call_s.labels(op)

    def _gauges(self, registry: CollectorRegistry) -> None:
        self.pod_watches = Gauge("copilot_pod_watches", "Open watches of pods.", registry=registry)
        self._leader = Gauge("copilot_leader", "1: this server looks after pods.", registry=registry)
        self._kept = Gauge("copilot_attempts_kept", "Attempts that this server looks after.", registry=registry)
        self._subscriptions = Gauge("copilot_watchers", "Who waits for a change: clients and keepers.", registry=registry)
        self._requests = Gauge("copilot_requests_open", "Requests that are being answered, streams too.", registry=registry)
        self._max_pods = Gauge("copilot_pods_limit", "Most pods at once (--max-pods).", registry=registry)

    def server(
        self,
        *,
        leader: Callable[[], bool],
        kept: Callable[[], int],
        watchers: Callable[[], int],
        requests: Callable[[], int],
        max_pods: int,
    ) -> None:
        """Where the gauges of this server are read."""
        self._leader.set_function(leader)
        self._kept.set_function(kept)
        self._subscriptions.set_function(watchers)
        self._requests.set_function(requests)
        self._max_pods.set(max_pods)

    # --- db.database.Observer ------------------------------------------------------------------------------------------

    def transaction(self, op: str, seconds: float, error: str) -> None:
        """See the protocol."""
        self._database_s.labels(op).observe(seconds)
        if error:
            self._database_errors.labels(op, error).inc()

    def committed(self, facts: Sequence[object]) -> None:
        """See the protocol."""
        for fact in facts:
            match fact:
                case ActionCreated(kind=kind, root=root):
                    self._actions.labels(kind).inc()
                    self._runs_created.inc(int(root))
                case AttemptStarted(queued_s=queued_s, starting_s=starting_s):
                    self._queued.observe(max(queued_s, 0.0))
                    self._starting.observe(max(starting_s, 0.0))
                case AttemptEnded():
                    self._attempt_ended(fact)
                case RunEnded(phase=phase):
                    self._runs_ended.labels(phase).inc()

    def _attempt_ended(self, fact: AttemptEnded) -> None:
        reason = fact.code or SUCCEEDED
        self._attempts_ended.labels(fact.phase, reason if reason in self._known else OTHER, fact.blame or _NOBODY).inc()
        if fact.ended_at_s is not None:
            self._noticed.observe(max(self._now_s() - fact.ended_at_s, 0.0))

    # --- the pods' API -------------------------------------------------------------------------------------------------

    def pod_call(self, op: str, seconds: float, result: str) -> None:
        """A call is over: ``ok``, or an error's reason."""
        self._pod_calls.labels(op, result).inc()
        self._pod_call_s.labels(op).observe(seconds)

    def pod_event(self, kind: str) -> None:
        """A watch told something."""
        self._pod_events.labels(kind).inc()


def _reasons(error: type[CopilotError]) -> Iterator[str]:
    yield error.reason
    for each in error.__subclasses__():
        yield from _reasons(each)
