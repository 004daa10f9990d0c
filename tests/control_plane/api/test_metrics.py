"""What a server's /metrics says, over HTTP, after things have happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from copilot.cli.explaining.reasons import reasons
from copilot.cli.explaining.run_codes import RUN_CODES
from copilot.control_plane.api.live_runs import STATEMENT
from copilot.control_plane.api.metrics import OTHER, SUCCEEDED, WORDS, ServerMetrics
from copilot.control_plane.api.metrics_endpoint import MetricsEndpoint
from copilot.control_plane.db.database import Database
from copilot.control_plane.facts import AttemptEnded
from copilot.control_plane.hub import Hub
from copilot.control_plane.lifecycle import outcome
from copilot.control_plane.pods.maker import Pods
from copilot.control_plane.pods.settings import PodSettings, load_templates
from copilot.control_plane.server import ControlPlane
from copilot.stores.registry import open_stores
from copilot.testing.clock import FakeClock
from copilot.testing.control_plane import WallClock, running_control_plane
from copilot.testing.flyte_client import FlyteClient
from copilot.testing.recording import RecordingLog
from copilot.testing.server_process import until

if TYPE_CHECKING:
    from copilot.control_plane.api.http import Message
    from copilot.control_plane.settings import ServerSettings
    from copilot.testing.fake_pods import FakePods


@pytest.fixture
def measured(settings: ServerSettings, pods: FakePods, make_plane: Callable[..., ControlPlane]) -> Iterator[FlyteClient]:
    asked = replace(settings, require_auth=True, metrics_port=0)
    with running_control_plane(lambda: make_plane(asked)) as running:
        client = FlyteClient(running, pods)
        yield client
        client.close()


@pytest.fixture
def counting(settings: ServerSettings, pods: FakePods, make_plane: Callable[..., ControlPlane]) -> Iterator[FlyteClient]:
    with running_control_plane(lambda: make_plane(replace(settings, metrics_port=0))) as running:
        client = FlyteClient(running, pods)
        yield client
        client.close()


def scrape(client: FlyteClient) -> Mapping[str, float]:
    answer = httpx.get(client.plane.metrics_url)
    assert answer.status_code == 200
    return samples(answer.text)


def samples(exposition: str) -> Mapping[str, float]:
    found = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_runs_attempts_and_the_pods_api_are_counted_as_they_happen(counting: FlyteClient) -> None:
    before = scrape(counting)
    assert before["copilot_runs_created_total"] == before["copilot_queue_depth"] == 0
    assert before["copilot_leader"] == before["copilot_database_up"] == before["copilot_pod_watches"] == 1
    well, badly, aborted = counting.submit(), counting.submit(), counting.submit()
    names = counting.pods.wait_created(3)
    for name in names:
        counting.pods.start(name)
    counting.pods.finish(names[0])
    counting.pods.finish(names[1], 3)
    counting.watch(well)
    counting.watch(badly)
    place = {"project": aborted.project, "domain": aborted.domain, "name": aborted.name}
    assert counting.code("workflow.RunService/AbortRun", {"runId": place}) == "ok"
    counting.watch(aborted)
    counting.pods.wait_empty()
    now = scrape(counting)
    assert now["copilot_runs_created_total"] == 3
    assert now["copilot_actions_created_total{kind=task}"] == 3
    ended = {name: value for name, value in now.items() if value and name.startswith("copilot_attempts_ended_total")}
    assert ended == {
        "copilot_attempts_ended_total{blame=nobody,phase=succeeded,reason=Succeeded}": 1,
        "copilot_attempts_ended_total{blame=user,phase=failed,reason=TaskFailed}": 1,
        "copilot_attempts_ended_total{blame=user,phase=aborted,reason=Aborted}": 1,
    }
    assert [now[f"copilot_runs_ended_total{{phase={phase}}}"] for phase in ("succeeded", "failed", "aborted")] == [1, 1, 1]
    assert now["copilot_attempt_queued_seconds_count"] == now["copilot_attempt_starting_seconds_count"] == 3
    # Whoever is aborted has no end of its own.
    assert now["copilot_attempt_end_noticed_seconds_count"] == 2
    assert now["copilot_pod_api_requests_total{op=create,result=ok}"] == 3
    assert now["copilot_pod_api_request_duration_seconds_count{op=create}"] == 3
    assert now["copilot_pod_watch_events_total{type=ADDED}"] >= 3
    assert now["copilot_database_transaction_duration_seconds_count{op=write}"] > 9
    assert now["process_resident_memory_bytes"] > 0


def test_what_waits_and_what_runs_is_read_when_somebody_asks(
    settings: ServerSettings, pods: FakePods, make_plane: Callable[..., ControlPlane]
) -> None:
    few = replace(settings, metrics_port=0, limits=replace(settings.limits, max_pods=2, max_root_pods=1))
    with running_control_plane(lambda: make_plane(few)) as running:
        client = FlyteClient(running, pods)
        first = client.submit()
        client.submit()
        client.submit()
        (pod,) = pods.wait_created(1)
        pods.start(pod)
        until(lambda: scrape(client)["copilot_runs{phase=running}"] == 1, "the first runs")
        until(lambda: scrape(client)["copilot_runs{phase=queued}"] == 2, "the others wait")
        now = scrape(client)
        assert (now["copilot_queue_depth"], now["copilot_attempts_in_flight"], now["copilot_pods_limit"]) == (2, 1, 2)
        assert now["copilot_queue_oldest_seconds"] > 0
        pods.finish(pod)
        client.watch(first)
        client.close()


def test_failing_calls_of_the_pods_api_are_told_apart(counting: FlyteClient) -> None:
    counting.pods.failing.set()
    counting.submit()
    until(lambda: scrape(counting).get("copilot_pod_api_requests_total{op=create,result=PodApiUnavailable}", 0) > 0, "told")
    counting.pods.failing.clear()
    counting.pods.wait_created(1)


class Lent:
    """A lease that somebody else has until it is let go."""

    lease_s = 1.0
    identity = "us"

    def __init__(self) -> None:
        self.ours = False

    def hold(self) -> bool:
        return self.ours

    def release(self) -> None:
        self.ours = False


def test_of_several_servers_the_one_that_leads_says_so(settings: ServerSettings, pods: FakePods) -> None:
    lease = Lent()

    def make() -> ControlPlane:
        maker = Pods(PodSettings(templates=load_templates()))
        asked = replace(settings, metrics_port=0)
        clock, log = WallClock(), RecordingLog()
        return ControlPlane(asked, stores=open_stores(), pods=pods, maker=maker, clock=clock, log=log, lease=lease)

    with running_control_plane(make) as running:
        client = FlyteClient(running, pods)
        assert (scrape(client)["copilot_leader"], scrape(client)["copilot_pod_watches"]) == (0, 0)
        lease.ours = True
        until(lambda: scrape(client)["copilot_leader"] == 1, "it leads")
        until(lambda: scrape(client)["copilot_pod_watches"] == 1, "and watches pods")
        client.close()


def test_a_scraper_needs_no_token_and_reads_nothing_else(measured: FlyteClient) -> None:
    assert measured.code("workflow.RunService/ListRuns", {}) == "unauthenticated"
    metrics = httpx.URL(measured.plane.metrics_url)
    assert metrics.port != httpx.URL(measured.url).port
    assert httpx.get(metrics).status_code == 200
    assert httpx.get(metrics.copy_with(path="/flyteidl2.workflow.RunService/ListRuns")).status_code == 404
    assert httpx.post(metrics).status_code == 405
    assert measured.http.get("/metrics").status_code == 404


def test_openmetrics_is_spoken_to_whoever_asks_for_it(counting: FlyteClient) -> None:
    answer = httpx.get(counting.plane.metrics_url, headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert "copilot_runs_created" in {family.name for family in open_metrics(answer.text)}  # type: ignore[no-untyped-call]


def test_a_name_that_a_task_chose_never_becomes_a_label() -> None:
    metrics = ServerMetrics(lambda: 10.0)
    for code in ("OOMKilled", "PodRefused", "made-up-by-a-task", "another"):
        metrics.committed([AttemptEnded("failed", "user", code, 9.0)])
    ended = (each for each in metrics.registry.collect() if each.name == "copilot_attempts_ended")
    assert {sample.labels["reason"]: sample.value for family in ended for sample in family.samples if sample.value} == {
        "OOMKilled": 1,
        "PodRefused": 1,
        OTHER: 2,
    }


def test_every_word_of_the_server_for_an_end_is_known() -> None:
    assert set(outcome._CODES.values()) <= WORDS


def test_every_word_of_the_server_for_an_end_can_be_explained() -> None:
    assert {SUCCEEDED} >= WORDS - set(RUN_CODES) - set(reasons())


def test_the_database_is_asked_once_a_second_and_where_it_is_away_the_rest_is_told(tmp_path: Path) -> None:
    clock, metrics = FakeClock(), ServerMetrics(lambda: 0.0)
    database = Database(f"sqlite:///{tmp_path / 'copilot.db'}", Hub(), metrics)
    endpoint = MetricsEndpoint(metrics, database, clock)
    reads = "copilot_database_transaction_duration_seconds_count{op=read}"

    async def get() -> Mapping[str, float]:
        sent: list[Message] = []

        async def receive() -> Message:
            raise NotImplementedError

        async def send(message: Message) -> None:
            sent.append(message)

        await endpoint({"type": "http", "path": "/metrics", "method": "GET", "headers": []}, receive, send)
        return samples(sent[1]["body"].decode())

    async def work() -> None:
        away = (await asyncio.gather(*(get() for _ in range(5))))[-1]
        assert (away["copilot_database_up"], away[reads], away["copilot_runs_created_total"]) == (0, 1, 0)
        assert "copilot_queue_depth" not in away
        database.migrate()
        clock.advance(2)
        there = await get()
        assert (there["copilot_database_up"], there[reads], there["copilot_queue_depth"]) == (1, 2, 0)

    asyncio.run(work())
    database.close()


def test_the_statement_reads_only_what_is_going_on(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'copilot.db'}", Hub())
    database.migrate()
    plan = database.read_now(
        lambda session: " ".join(str(row) for row in session.execute(text(f"EXPLAIN QUERY PLAN {STATEMENT}"), {"now": 0}))
    )
    database.close()
    assert "ix_actions_in_flight" in plan
    assert "ix_actions_waiting" in plan
