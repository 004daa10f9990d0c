from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from copilot.control_plane.lifecycle.phases import Phase

if TYPE_CHECKING:
    from copilot.testing.fake_pods import FakePods
    from copilot.testing.servers.postgresql import PostgresServer

Open = Any
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.mark.parametrize("seconds", [2.0, pytest.param(30.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_that_is_cut_off_loses_no_end(
    run: Run, world: Open, pods: FakePods, postgresql: PostgresServer, *, database_url: str, seconds: float
) -> None:
    async def story() -> None:
        async with world() as here:
            ids = [await here.submit() for _ in range(6)]
            names = await here.created(len(ids))
            for name in names:
                pods.start(name)
            for action_id in ids:
                await here.until(action_id, Phase.RUNNING)
            await asyncio.to_thread(postgresql.cut_off, database_url)
            for name in names:
                pods.finish(name, 0)
            # The length of the outage is what is tested.
            await asyncio.sleep(seconds)
            await asyncio.to_thread(postgresql.let_in, database_url)
            for action_id in ids:
                action = await here.until(action_id, Phase.SUCCEEDED)
                (attempt,) = await here.attempts(action_id)
                assert action.ended_at == attempt.ended_at
            await here.empty()
            assert sorted(pods.created) == sorted(set(names))

    run(story())
