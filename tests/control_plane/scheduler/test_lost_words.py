"""What a scheduler must not miss: answers that cross each other, answers that are lost, and a server that was away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from copilot.control_plane.db.models import Action, Attempt
from copilot.control_plane.hub import hint_topic
from copilot.control_plane.lifecycle import claims, moves
from copilot.control_plane.lifecycle.moves import Blame, Budgets, Ending
from copilot.control_plane.lifecycle.phases import Phase
from copilot.control_plane.lifecycle.work import AttemptWork, BuiltPod, Published
from copilot.testing.fake_pods import FakePods

if TYPE_CHECKING:
    from copilot.control_plane.db.database import Unit
    from copilot.control_plane.lifecycle.observe import Pod

Run = Callable[[Coroutine[Any, Any, None]], None]
Open = Any
PATIENCE_S = 20.0


class SlowPods(FakePods):
    """While ``slow`` is set, an answer to ``get`` is as old as its request, and comes when ``answer`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.slow, self.asked, self.answer = threading.Event(), threading.Event(), threading.Event()

    def get(self, namespace: str, name: str) -> Mapping[str, object]:
        found = super().get(namespace, name)
        if self.slow.is_set():
            self.asked.set()
            self.answer.wait(PATIENCE_S)
        return found


@pytest.fixture
def pods() -> SlowPods:
    return SlowPods()


def test_an_old_answer_does_not_hide_what_the_watch_said_meanwhile(run: Run, world: Open, pods: SlowPods) -> None:
    async def story() -> None:
        async with world() as here:
            await here.stop()
            here.settings = replace(here.settings, timing=replace(here.settings.timing, resync_s=600.0))
            scheduler = await here.start()
            action_id, pod = await here.begun()
            (attempt,) = await here.attempts(action_id)
            pods.slow.set()
            here.database.hub.publish([hint_topic(attempt.id)])
            assert await asyncio.to_thread(pods.asked.wait, PATIENCE_S)
            pods.finish(pod, 0)
            async with asyncio.timeout(PATIENCE_S):
                while scheduler._by_pod[pod].pod["status"]["phase"] != "Succeeded":  # noqa: ASYNC110  the watch tells nobody else
                    await asyncio.sleep(0.01)
            pods.slow.clear()
            pods.answer.set()
            async with asyncio.timeout(PATIENCE_S):
                await here.until(action_id, Phase.SUCCEEDED)

    run(story())


def test_a_claim_whose_answer_was_lost_is_found_in_our_own_name(run: Run, world: Open, pods: SlowPods) -> None:
    async def story() -> None:
        async with world(max_pods=0) as here:
            action_id = await here.submit()
            ((scheduler, _),) = here._servers

            def claim(unit: Unit) -> None:
                limits, base = replace(here.settings.limits, max_pods=1), here.settings.store_base
                claims.claim_waiting(
                    unit,
                    owner=scheduler.owner,
                    now=time.time(),
                    lease_s=600.0,
                    limits=limits,
                    namespace="copilot",
                    store_base=base,
                )
                unit.session.scalars(select(Attempt)).one().created_at = 1.0

            await here.database.write(claim)
            (pod,) = await here.created(1)
            pods.start(pod)
            pods.finish(pod, 0)
            await here.until(action_id, Phase.SUCCEEDED)
            assert len(await here.attempts(action_id)) == 1

    run(story())


def test_a_pod_made_for_an_attempt_that_others_have_cleared_away_goes_at_once(run: Run, world: Open, pods: SlowPods) -> None:
    async def story() -> None:
        async with world() as here:

            def others(unit: Unit) -> None:
                attempt = unit.session.scalars(select(Attempt)).one()
                action = unit.session.get_one(Action, attempt.action_id)
                ending = Ending(Phase.FAILED, Blame.USER, "TaskFailed", retryable=False)
                moves.end_attempt(unit, action, attempt, ending, Budgets(), now=time.time())
                attempt.pod_gone = True

            pods.on_create = lambda _: here.database.write_now(others)
            action_id = await here.submit()
            await here.until(action_id, Phase.FAILED)
            await here.empty()
            assert len(pods.created) == 1

    run(story())


def test_a_server_that_leads_again_takes_up_what_it_could_not_let_go(run: Run, world: Open, pods: SlowPods) -> None:
    async def story() -> None:
        async with world() as here:
            ((scheduler, _),) = here._servers
            action_id = await here.submit()
            (pod,) = await here.created(1)
            await scheduler.stop()

            def kept(unit: Unit) -> None:
                attempt = unit.session.scalars(select(Attempt)).one()
                attempt.lease_owner, attempt.lease_until = before, time.time() + here.settings.timing.lease_s

            before = scheduler.owner
            await here.database.write(kept)
            pods.start(pod)
            pods.finish(pod, 0)
            await scheduler.start()
            async with asyncio.timeout(PATIENCE_S):
                await here.until(action_id, Phase.SUCCEEDED)
            assert pods.created == [pod]

    run(story())


class WaitsForOutputs:
    """Judges as where a sidecar publishes: main's end alone proves nothing."""

    def build(self, work: AttemptWork) -> BuiltPod:
        metadata = {"name": work.pod_name, "namespace": work.namespace}
        return BuiltPod({"metadata": metadata, "spec": {"containers": [{"name": "main", "image": "none"}]}})

    def judge(self, work: AttemptWork, pod: Pod | None, published: Published) -> Ending | None:
        del work, pod
        return Ending(Phase.SUCCEEDED) if published.outputs else None


def test_outputs_that_nobody_tells_of_are_found_soon_after_main_s_end(run: Run, world: Open, pods: SlowPods) -> None:
    async def story() -> None:
        async with world() as here:
            await here.stop()
            here.settings = replace(here.settings, timing=replace(here.settings.timing, resync_s=600.0))
            await here.start()
            ((_, office),) = here._servers
            office.maker = WaitsForOutputs()
            action_id = await here.submit()
            (pod,) = await here.created(1)
            pods.start(pod)
            ended = {"exitCode": 0, "reason": "Completed", "startedAt": "2026-11-22T10:00:00Z"}
            pods.patch_status(pod, containerStatuses=[{"name": "main", "restartCount": 0, "state": {"terminated": ended}}])
            await here.until(action_id, Phase.RUNNING)
            (attempt,) = await here.attempts(action_id)
            await office.objects.write(f"{attempt.output_prefix}/outputs.pb", b"")
            async with asyncio.timeout(PATIENCE_S):
                await here.until(action_id, Phase.SUCCEEDED)

    run(story())
