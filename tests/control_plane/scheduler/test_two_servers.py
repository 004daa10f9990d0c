"""Two servers at work on one PostgreSQL: each attempt is made once, and a client of either hears of every end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, text

from copilot.control_plane.client import ControlPlaneClient, container_task
from copilot.control_plane.db.database import Database
from copilot.control_plane.db.listener import Listener
from copilot.control_plane.hub import Hub
from copilot.control_plane.lifecycle.phases import Phase
from copilot.core.idl import LiteralMap
from copilot.testing.server_process import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

    from copilot.testing.fake_pods import FakePods
    from copilot.testing.servers.postgresql import PostgresServer

Run = Callable[[Coroutine[Any, Any, None]], None]
Open = Any
RUNS = 20


def owners_of(url: str) -> Counter[str]:
    """How many attempts each server looked after."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        found = Counter(owner for (owner,) in connection.execute(text("SELECT lease_owner FROM attempts")))
    engine.dispose()
    return found


def test_two_schedulers_on_one_executor_make_each_pod_once(
    run: Run, world_on: Open, postgresql: PostgresServer, pods: FakePods
) -> None:
    def at_once(name: str) -> None:
        pods.start(name)
        pods.finish(name, 0)

    async def story() -> None:
        pods.on_create = at_once
        url = postgresql.create_database()
        async with contextlib.AsyncExitStack() as opened:
            worlds = []
            for _ in range(2):
                database = Database(url, Hub())
                opened.callback(database.close)
                await asyncio.to_thread(database.migrate)
                here = await opened.enter_async_context(world_on(database))
                listener = Listener(database, here.log)
                listener.start()
                opened.callback(listener.stop)
                worlds.append(here)
            one, other = worlds
            made = await asyncio.gather(*(worlds[place % 2].submit(f"r{place}") for place in range(RUNS)))
            # Each world hears of what the other committed through the database alone.
            ends = await asyncio.gather(
                *(worlds[(place + 1) % 2].until(action_id, Phase.SUCCEEDED) for place, action_id in enumerate(made))
            )
            assert len(ends) == RUNS
            for action_id in made:
                assert [attempt.number for attempt in await one.attempts(action_id)] == [1]
            await other.empty()
            assert sorted(Counter(pods.created).values()) == [1] * RUNS

    run(story())


@pytest.fixture
def servers(postgresql: PostgresServer, tmp_path: Path) -> Any:  # noqa: ANN401  a generator of a list
    url, store = postgresql.create_database(), f"file://{tmp_path / 'store'}"
    started = [ServerProcess(tmp_path / name, url, flags=("--store", store)) for name in ("one", "other")]
    for each in started:
        each.data.mkdir()
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(ServerProcess.start, started))
    yield started
    for each in started:
        each.stop()


def test_two_servers_share_the_runs_and_their_clients_hear_of_all(servers: list[ServerProcess], tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    clients = [ControlPlaneClient(each.url, project="flytesnacks", domain="development") for each in servers]

    def one_run(place: int) -> str:
        script = f"echo {place} >>{ledger}; exit {3 if place % 5 == 4 else 0}"
        spec = container_task("t", "none", ["/bin/sh", "-c", script], inputs={}, outputs={})
        name = clients[place % 2].submit(spec, LiteralMap(), f"r{place}")
        ended = clients[(place + 1) % 2].wait(name)
        return str(ended["phase"])

    places = range(RUNS)
    for attempt in range(5):
        with ThreadPoolExecutor(4) as threads:
            ended = list(threads.map(one_run, places))
        assert ended == ["FAILED" if place % 5 == 4 else "SUCCEEDED" for place in places]
        if len(owners_of(servers[0].database)) > 1:
            break
        # Whoever is quicker takes what waits: that one was, every time, is possible and proves nothing.
        places = range((attempt + 1) * RUNS, (attempt + 2) * RUNS)
    owners = owners_of(servers[0].database)
    assert len(owners) == 2, owners
    assert sum(owners.values()) == places.stop, "an attempt for each run, and no more"
    assert sorted(int(line) for line in ledger.read_text().split()) == list(range(places.stop)), "and each ran once"
