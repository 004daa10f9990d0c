from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from flyteidl2.common.identifier_pb2 import ActionIdentifier
from flyteidl2.workflow import run_service_pb2 as pb
from flyteidl2.workflow.run_service_connect import RunServiceClientSync
from sqlalchemy import event

from copilot.control_plane.lifecycle.phases import Phase
from copilot.testing.flyte_client import PROJECT, FlyteClient

if TYPE_CHECKING:
    from copilot.testing.servers.postgresql import PostgresServer


def until(condition: object, what: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]  # a callable
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_the_last_message_of_a_watch_carries_the_end(server: FlyteClient) -> None:
    run = server.submit()
    seen: list[object] = []
    watcher = threading.Thread(target=lambda: seen.extend(server.watch(run)))
    watcher.start()
    server.finish(1)
    watcher.join(20)
    assert not watcher.is_alive()
    last = seen[-1]
    assert last.status.phase == Phase.SUCCEEDED  # type: ignore[attr-defined]
    assert last.status.HasField("end_time")  # type: ignore[attr-defined]
    assert last.attempts[0].phase == Phase.SUCCEEDED  # type: ignore[attr-defined]


def test_a_watch_of_something_finished_says_so_and_ends(server: FlyteClient) -> None:
    run = server.submit()
    server.finish(1)
    server.watch(run)
    (only,) = server.watch(run)
    assert only.status.phase == Phase.SUCCEEDED


def test_a_watch_of_an_unknown_run_is_an_error_not_a_silence(server: FlyteClient) -> None:
    place = {"project": "flytesnacks", "domain": "development", "name": "nosuchrun"}
    for method, message in (
        ("WatchActions", {"runId": place}),
        ("WatchRunDetails", {"runId": place}),
        ("WatchActionDetails", {"actionId": {"run": place, "name": "a0"}}),
        ("WatchClusterEvents", {"id": {"run": place, "name": "a0"}}),
    ):
        assert server.stream(f"workflow.RunService/{method}", message)[-1]["error"]["code"] == "not_found"


def test_a_run_is_watched_whole_with_its_details(server: FlyteClient) -> None:
    run = server.submit()
    server.finish(1)
    server.watch(run)
    messages = list(server.runs.watch_run_details(pb.WatchRunDetailsRequest(run_id=run)))
    assert messages[-1].details.action.status.phase == Phase.SUCCEEDED
    actions = list(server.runs.watch_actions(pb.WatchActionsRequest(run_id=run)))
    assert [each.action.id.name for each in actions[-1].enriched_actions] == ["a0"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_watcher_costs_nothing_while_nothing_happens_and_goes_with_its_client(server: FlyteClient) -> None:
    run = server.submit()
    server.pods.wait_created(1)
    hub = server.plane.database.hub
    before = hub.listeners
    clients = [RunServiceClientSync(server.url) for _ in range(20)]
    request = pb.WatchActionDetailsRequest(action_id=ActionIdentifier(run=run, name="a0"))
    streams = [client.watch_action_details(request) for client in clients]
    for stream in streams:
        next(iter(stream))
    until(lambda: hub.listeners == before + len(streams), "every watcher listens")
    statements: list[str] = []
    watched = server.plane.database._reading
    event.listen(watched, "before_cursor_execute", lambda *arguments: statements.append(str(arguments[2])))
    time.sleep(0.5)
    # The scheduler looks at its queue now and then; nobody reads this action's attempts twenty times over.
    assert sum("FROM attempts" in statement for statement in statements) <= 4
    for stream in streams:
        stream.close()
    until(lambda: hub.listeners == before, "no watcher is left behind")


def test_watchers_go_on_after_the_database_was_cut_off(server: FlyteClient, request: pytest.FixtureRequest) -> None:
    run = server.submit()
    (pod,) = server.pods.wait_created(1)
    seen: list[object] = []
    watcher = threading.Thread(target=lambda: seen.extend(server.watch(run)))
    watcher.start()
    until(lambda: seen is not None and server.plane.database.hub.listeners > 1, "the watcher listens")
    if not server.plane.database.sqlite:
        postgresql: PostgresServer = request.getfixturevalue("postgresql")
        postgresql.end_connections(server.plane.settings.database)
    server.pods.start(pod)
    server.pods.finish(pod, 0)
    watcher.join(30)
    assert not watcher.is_alive()
    assert seen[-1].status.phase == Phase.SUCCEEDED  # type: ignore[attr-defined]


def test_runs_of_a_project_are_watched_and_only_what_changed_is_sent_again(server: FlyteClient) -> None:
    first = server.submit()
    stream = iter(server.runs.watch_runs(pb.WatchRunsRequest(project_id=PROJECT)))
    assert [run.action.id.run.name for run in next(stream).runs] == [first.name]
    second = server.submit()
    names: set[str] = set()
    while second.name not in names:
        names = {run.action.id.run.name for run in next(stream).runs}
    server.runs.abort_run(pb.AbortRunRequest(run_id=first, reason="x"))
    while True:
        runs = {run.action.id.run.name: run.action.status.phase for run in next(stream).runs}
        if runs.get(first.name) == Phase.ABORTED:
            break
    stream.close()
