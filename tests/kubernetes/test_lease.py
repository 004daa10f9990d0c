"""One server at a time looks after pods: the Lease, on the double's wire."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from copilot.control_plane.executors.cluster import Cluster
from copilot.control_plane.executors.lease import LeaseLock
from copilot.control_plane.lifecycle.leader import Leadership
from copilot.core.errors import PodApiUnavailable
from copilot.engine.clock import SystemClock
from copilot.testing.clock import FakeClock
from copilot.testing.recording import RecordingLog

if TYPE_CHECKING:
    from copilot.core.ports import Clock
    from copilot.testing.kubernetes import KubernetesDouble

LEASE_S = 15.0


def lock(double: KubernetesDouble, identity: str, clock: Clock, lease_s: float = LEASE_S) -> LeaseLock:
    return LeaseLock(Cluster(double.url), namespace="n", name="one", identity=identity, clock=clock, lease_s=lease_s)


def holder(double: KubernetesDouble) -> str:
    return str(double.storage.get("leases", "n", "one")["spec"]["holderIdentity"])


def test_the_first_takes_it_and_the_second_waits(double: KubernetesDouble) -> None:
    clock = FakeClock()
    first, second = lock(double, "a", clock), lock(double, "b", clock)
    assert [first.hold(), second.hold(), first.hold(), second.hold()] == [True, False, True, False]
    assert holder(double) == "a"


def test_a_holder_that_renews_keeps_it_however_long(double: KubernetesDouble) -> None:
    clock = FakeClock()
    first, second = lock(double, "a", clock), lock(double, "b", clock)
    for _ in range(10):
        assert first.hold()
        assert not second.hold()
        clock.advance(LEASE_S * 0.9)


def test_one_that_has_stopped_renewing_loses_it_after_its_duration_and_no_sooner(double: KubernetesDouble) -> None:
    clock = FakeClock()
    first, second = lock(double, "a", clock), lock(double, "b", clock)
    assert first.hold()
    assert not second.hold()
    clock.advance(LEASE_S)
    assert not second.hold()
    clock.advance(0.1)
    assert second.hold()
    assert not first.hold()
    assert double.storage.get("leases", "n", "one")["spec"]["leaseTransitions"] == 1


@pytest.mark.parametrize("skew_s", [-86_400.0, 86_400.0])
def test_clocks_need_not_agree(double: KubernetesDouble, skew_s: float) -> None:
    ours, theirs = FakeClock(), FakeClock(1_700_000_000.0 + skew_s)
    first, second = lock(double, "a", ours), lock(double, "b", theirs)
    assert first.hold()
    assert not second.hold()
    theirs.advance(LEASE_S - 1)
    assert not second.hold()
    theirs.advance(2)
    assert second.hold()


def test_one_that_is_let_go_is_free_at_once(double: KubernetesDouble) -> None:
    clock = FakeClock()
    first, second = lock(double, "a", clock), lock(double, "b", clock)
    assert first.hold()
    second.release()
    assert holder(double) == "a"
    first.release()
    assert second.hold()


def test_of_many_that_take_it_at_the_same_moment_one_has_it(double: KubernetesDouble) -> None:
    clock = SystemClock()
    gate, won = threading.Barrier(8), list[str]()

    def take(name: str) -> None:
        mine = lock(double, name, clock)
        gate.wait()
        if mine.hold():
            won.append(name)

    threads = [threading.Thread(target=take, args=(f"s{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [holder(double)]


def test_an_api_server_that_does_not_answer_says_nothing_about_the_lease(double: KubernetesDouble) -> None:
    double.faults.refuse(1, code=503, retry_after_s=None)
    with pytest.raises(PodApiUnavailable):
        lock(double, "a", FakeClock()).hold()


class Server:
    """What leads, as a scheduler would: it counts how many lead at the same time."""

    leading = 0
    most = 0

    def __init__(self) -> None:
        self.began, self.ended = asyncio.Event(), asyncio.Event()

    async def begin(self) -> None:
        Server.leading += 1
        Server.most = max(Server.most, Server.leading)
        self.began.set()

    async def end(self) -> None:
        Server.leading -= 1
        self.ended.set()


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_leader_that_stops_hands_over_and_one_that_cannot_renew_steps_down_first(double: KubernetesDouble) -> None:
    Server.leading = Server.most = 0

    async def work() -> None:
        async with asyncio.timeout(30):
            servers = [Server() for _ in range(2)]
            tasks = []
            for number, server in enumerate(servers):
                lease = lock(double, f"s{number}", SystemClock(), lease_s=1.0)
                leadership = Leadership(lease, clock=SystemClock(), log=RecordingLog())
                tasks.append(asyncio.create_task(leadership.run(server.begin, server.end)))
                if not number:
                    await server.began.wait()
            await stopped(tasks[0])
            await servers[1].began.wait()
            # The API server is away for longer than the lease is good for.
            double.faults.refuse(1_000, code=503, retry_after_s=None)
            await servers[1].ended.wait()
            await stopped(tasks[1])

    asyncio.run(work())
    assert (Server.leading, Server.most) == (0, 1)
