from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from copilot.control_plane.hub import action_topic
from copilot.control_plane.lifecycle.claims import Claimed, claim_waiting
from copilot.control_plane.lifecycle.keeper import timeout_at
from copilot.control_plane.lifecycle.moves import Blame
from copilot.control_plane.lifecycle.phases import Phase

if TYPE_CHECKING:
    from copilot.control_plane.db.database import Unit
    from copilot.testing.fake_pods import FakePods

Run = Callable[[Coroutine[Any, Any, None]], None]
Open = Any


def test_a_run_goes_through_every_phase_and_each_is_an_event_with_its_time(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            action_id, pod = await here.begun()
            pods.write_log(pod, b"hello\n")
            pods.finish(pod, 0)
            action = await here.until(action_id, Phase.SUCCEEDED)
            (attempt,) = await here.attempts(action_id)
            events = [event for event in await here.events(action_id, 1) if event.kind == "phase"]
            assert [event.after for event in events] == [Phase.QUEUED, Phase.INITIALIZING, Phase.RUNNING, Phase.SUCCEEDED]
            assert [event.at for event in events] == sorted(event.at for event in events)
            assert action.ended_at == attempt.ended_at == events[-1].at
            assert attempt.started_at == events[2].at
            await here.empty()

    run(story())


def test_a_pod_that_was_seen_at_its_end_only_has_a_whole_history(run: Run, world: Open, pods: FakePods) -> None:
    def at_once(name: str) -> None:
        pods.start(name)
        pods.finish(name, 0)

    async def story() -> None:
        pods.on_create = at_once
        async with world() as here:
            action_id = await here.submit()
            await here.until(action_id, Phase.SUCCEEDED)
            events = [event for event in await here.events(action_id, 1) if event.kind == "phase"]
            assert [event.after for event in events] == [Phase.QUEUED, Phase.INITIALIZING, Phase.RUNNING, Phase.SUCCEEDED]

    run(story())


def test_the_log_is_in_the_store_before_the_pod_goes(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            action_id = await here.submit()
            (pod,) = await here.created(1)
            pods.start(pod)
            pods.write_log(pod, b"one\ntwo\n")
            pods.finish(pod, 0)
            await here.empty()
            (attempt,) = await here.attempts(action_id)
            location = here.stores.locate(attempt.logs_uri)
            with location.store.get(location.key) as stream:
                lines = b"".join(map(bytes, stream)).decode().splitlines()
            assert [line.partition(" ")[2] for line in lines] == ["one", "two"]

    run(story())


@pytest.mark.parametrize(
    ("reason", "attempts", "blame"),
    [("", 3, Blame.USER), ("Fatal", 1, Blame.USER), ("NodeLost", 3, Blame.SYSTEM), ("Evicted", 3, Blame.PREEMPTION)],
)
def test_each_kind_of_failure_has_a_budget_of_its_own(
    run: Run, world: Open, pods: FakePods, *, reason: str, attempts: int, blame: Blame
) -> None:
    def fail(name: str) -> None:
        pods.start(name)
        pods.finish(name, 3, reason=reason)

    async def story() -> None:
        pods.on_create = fail
        async with world() as here:
            # Two retries of the user's; the server's own budgets are two as well.
            action_id = await here.submit(retries=2)
            action = await here.until(action_id, Phase.FAILED)
            rows = await here.attempts(action_id)
            assert [row.number for row in rows] == list(range(1, attempts + 1))
            assert all(row.phase == Phase.FAILED and row.error_code for row in rows)
            assert action.error_message == rows[-1].error_message
            spent = {
                Blame.USER: action.user_failures,
                Blame.SYSTEM: action.system_failures,
                Blame.PREEMPTION: action.preemptions,
            }
            assert spent.pop(blame) == attempts - 1
            assert set(spent.values()) == {0}
            assert len(pods.created) == len(set(pods.created)) == attempts

    run(story())


def test_a_second_attempt_that_succeeds_makes_the_run_succeed_and_the_first_stays_failed(
    run: Run, world: Open, pods: FakePods
) -> None:
    async def story() -> None:
        async with world() as here:
            action_id = await here.submit(retries=1)
            (first,) = await here.created(1)
            pods.start(first)
            pods.finish(first, 9)
            _, second = await here.created(2)
            pods.start(second)
            pods.finish(second, 0)
            action = await here.until(action_id, Phase.SUCCEEDED)
            rows = await here.attempts(action_id)
            assert [row.phase for row in rows] == [Phase.FAILED, Phase.SUCCEEDED]
            assert rows[0].error_message == "exit code 9"
            assert action.error_code == ""

    run(story())


def test_an_abort_ends_the_run_at_once_and_its_pod_soon(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            action_id, pod = await here.begun()
            assert await here.abort(action_id, "enough")
            action = await here.action(action_id)
            assert (action.phase, action.abort_reason) == (Phase.ABORTED, "enough")
            await here.empty()
            assert pods.deleted[0] == (pod, 1.0)

    run(story())


def test_an_abort_of_a_finished_run_changes_nothing(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            action_id = await here.submit()
            (pod,) = await here.created(1)
            pods.start(pod)
            pods.finish(pod, 0)
            before = await here.until(action_id, Phase.SUCCEEDED)
            assert not await here.abort(action_id)
            after = await here.action(action_id)
            assert (after.phase, after.version, after.abort_reason) == (before.phase, before.version, "")

    run(story())


def test_an_abort_reaches_everything_below(run: Run, world: Open) -> None:
    async def story() -> None:
        async with world() as here:
            root = await here.submit()
            child = await here.call(root, "child")
            grandchild = await here.call(child, "grandchild")
            await here.created(3)
            assert await here.abort(child, "this branch")
            assert (await here.action(grandchild)).phase == Phase.ABORTED
            assert (await here.action(root)).phase != Phase.ABORTED
            await here.abort(root)
            await here.empty()

    run(story())


def test_what_a_finished_task_had_called_is_aborted(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            root = await here.submit()
            (pod,) = await here.created(1)
            child = await here.call(root, "child")
            await here.created(2)
            pods.start(pod)
            pods.finish(pod, 0)
            await here.until(root, Phase.SUCCEEDED)
            assert (await here.action(child)).phase == Phase.ABORTED
            await here.empty()

    run(story())


def test_a_timeout_ends_the_attempt_and_its_pod(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            action_id = await here.submit(timeout=timedelta(seconds=0.3))
            (pod,) = await here.created(1)
            pods.start(pod)
            action = await here.until(action_id, Phase.TIMED_OUT)
            assert action.error_code == "TimedOut"
            await here.empty()
            assert pods.deleted[0][0] == pod

    run(story())


def test_a_start_that_is_told_in_whole_seconds_may_have_been_later() -> None:
    assert timeout_at(1000.0, 5.0) == 1006.0
    assert timeout_at(1000.25, 5.0) == 1005.25


def test_after_its_deadline_no_further_attempt_is_made(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            action_id, pod = await here.begun(retries=3)
            await here.change(action_id, deadline=time.time())
            action = await here.until(action_id, Phase.TIMED_OUT)
            assert (action.error_code, "deadline" in action.error_message) == ("TimedOut", True)
            assert (len(await here.attempts(action_id)), pods.created) == (1, [pod])
            await here.empty()

    run(story())


def test_a_task_that_ended_in_time_while_nobody_looked_is_not_late(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            action_id, pod = await here.begun()
            await here.stop(release=False)
            pods.finish(pod, 0)
            await here.change(action_id, deadline=time.time())
            await here.start()
            await here.until(action_id, Phase.SUCCEEDED)

    run(story())


def test_a_further_attempt_has_the_whole_time_to_wait_for_its_pod(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            action_id = await here.submit(retries=1)
            (first,) = await here.created(1)
            allowed_s = 60.0
            await here.change(action_id, queue_deadline=(await here.action(action_id)).created_at + allowed_s)
            pods.start(first)
            pods.finish(first, 9)
            await here.created(2)
            action = await here.action(action_id)
            assert action.queue_deadline == pytest.approx(action.not_before + allowed_s, rel=0, abs=1e-5)
            assert action.not_before > action.created_at

    run(story())


def test_what_has_waited_too_long_gets_no_pod_any_more(run: Run, world: Open) -> None:
    async def story() -> None:
        async with world() as here:
            await here.stop()
            for what in ("deadline", "queue_deadline"):
                await here.change(await here.submit(), **{what: time.time()})
            waiting = await here.submit()

            def claim(unit: Unit) -> list[Claimed]:
                limits, now = here.settings.limits, time.time()
                return claim_waiting(unit, owner="x", now=now, lease_s=3, limits=limits, namespace="n", store_base="s")

            assert [claimed.action_id for claimed in await here.database.write(claim)] == [waiting]

    run(story())


def test_pods_in_flight_stay_within_the_limit_and_projects_take_turns(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world(max_pods=2, max_root_pods=2) as here:
            ids = [await here.submit(project="big") for _ in range(6)] + [await here.submit(project="small")]
            seen: list[str] = []
            for _ in ids:
                await here.created(len(seen) + 1)
                assert len(pods.running()) <= 2
                name = next(name for name in pods.created if name not in seen)
                seen.append(name)
                pods.start(name)
                pods.finish(name, 0)
            for action_id in ids:
                await here.until(action_id, Phase.SUCCEEDED)
            small = (await here.attempts(ids[-1]))[0].pod_name
            assert pods.created.index(small) <= 3

    run(story())


def test_callers_leave_room_for_what_they_call(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world(max_pods=2) as here:
            parents = [await here.submit() for _ in range(3)]
            (pod,) = await here.created(1)
            child = await here.call(parents[0], "child")
            _, called = await here.created(2)
            pods.start(called)
            pods.finish(called, 0)
            await here.until(child, Phase.SUCCEEDED)
            assert pods.names() == [pod] or called in pods.names()

    run(story())


def test_a_crash_at_any_moment_starts_nothing_twice_and_loses_nothing(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            ids = []
            for moment in range(12):
                ids.append(await here.submit())
                # Not a wait for anything: the crash is meant to come at another moment each time.
                await asyncio.sleep(0.004 * moment)
                await here.stop(release=False)
                await here.start()
            await here.created(len(ids))
            for name in pods.names():
                pods.start(name)
            await here.stop(release=False)
            for name in pods.names():
                pods.finish(name, 0)
            await here.start()
            for action_id in ids:
                await here.until(action_id, Phase.SUCCEEDED)
                assert len(await here.attempts(action_id)) == 1
            assert sorted(pods.created) == sorted(set(pods.created))
            assert len(pods.created) == len(ids)
            await here.empty()

    run(story())


def test_an_executor_that_does_not_answer_is_asked_again(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            pods.failing.set()
            action_id = await here.submit()
            await asyncio.to_thread(here.log.heard_again.wait, 20)
            pods.failing.clear()
            (pod,) = await here.created(1)
            pods.start(pod)
            pods.finish(pod, 0)
            await here.until(action_id, Phase.SUCCEEDED)
            assert len(await here.attempts(action_id)) == 1

    run(story())


def test_a_pod_that_vanishes_is_another_attempt_and_leaves_a_trace(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            action_id, first = await here.begun()
            pods.vanish(first)
            _, second = await here.created(2)
            pods.start(second)
            pods.finish(second, 0)
            await here.until(action_id, Phase.SUCCEEDED)
            rows = await here.attempts(action_id)
            assert [(row.phase, row.error_code) for row in rows] == [(Phase.FAILED, "PodGone"), (Phase.SUCCEEDED, "")]

    run(story())


def test_an_action_that_no_pod_can_be_had_for_in_time_times_out(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world(max_pods=1) as here:
            await here.submit()
            await here.created(1)
            waiting = await here.submit()
            await here.change(waiting, queue_deadline=1.0)
            action = await here.until(waiting, Phase.TIMED_OUT)
            assert action.error_code == "QueuedTimeout"
            assert len(pods.created) == 1

    run(story())


def test_a_pod_that_does_not_start_ends_with_what_the_kubelet_says(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            action_id = await here.submit()
            (pod,) = await here.created(1)
            waiting = {"reason": "ImagePullBackOff", "message": "no such image: none"}
            pods.patch_status(
                pod,
                phase="Pending",
                startTime=datetime.now(UTC).isoformat(),
                containerStatuses=[{"name": "main", "state": {"waiting": waiting}}],
            )
            ended = await here.until(action_id, Phase.FAILED)
            assert (ended.error_code, "no such image" in ended.error_message) == ("ImagePullBackOff", True)
            await here.empty()

    run(story())


def test_a_bug_of_ours_ends_the_attempt_with_that_for_its_reason_and_no_other(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            here.maker.bug = RuntimeError("a bug")
            broken = await here.submit()
            ended = await here.until(broken, Phase.FAILED)
            assert (ended.error_code, "RuntimeError" in ended.error_message) == ("Internal", True)
            here.maker.bug = None
            sound = await here.submit()
            (pod,) = await here.created(1)
            pods.start(pod)
            pods.finish(pod, 0)
            await here.until(sound, Phase.SUCCEEDED)

    run(story())


def test_who_looks_at_a_run_reads_what_it_waits_for(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            pods.failing.set()
            action_id = await here.submit()
            with here.database.hub.subscribe(action_topic(action_id)) as told:
                while not [event for event in await here.events(action_id, 1) if event.message.startswith("waiting: ")]:
                    await told.wait()
            pods.failing.clear()
            (pod,) = await here.created(1)
            pods.start(pod)
            pods.finish(pod, 0)
            await here.until(action_id, Phase.SUCCEEDED)

    run(story())
