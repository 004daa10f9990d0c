"""Nodes that die: nobody confirms a pod's end, nobody gives its log, and the run goes on all the same."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from copilot.control_plane.lifecycle.lost import lost_ending, node_lost
from copilot.control_plane.lifecycle.moves import Blame
from copilot.control_plane.lifecycle.phases import Phase
from copilot.core.errors import CopilotError, PodApiUnavailable, PodRefused

if TYPE_CHECKING:
    from copilot.testing.fake_pods import FakePods

Run = Callable[[Coroutine[Any, Any, None]], None]
Open = Any
DUE = 1_000_000.0
STAMP = "1970-01-12T13:46:40Z"


def going(phase: str = "Running", **metadata: str) -> dict[str, Any]:
    disrupted = {"type": "DisruptionTarget", "status": "True", "message": "Taint manager: deleting due to NoExecute taint"}
    return {
        "metadata": {"name": "p", **metadata},
        "spec": {"nodeName": "worker-3", "containers": [{"name": "main"}]},
        "status": {"phase": phase, "conditions": [disrupted]},
    }


def test_a_pod_that_should_have_ended_long_ago_is_on_a_lost_node() -> None:
    pod = going(deletionTimestamp=STAMP)
    assert not node_lost(pod, now=DUE + 59, patience_s=60)
    assert node_lost(pod, now=DUE + 60, patience_s=60)
    assert not node_lost(going("Failed", deletionTimestamp=STAMP), now=DUE + 60, patience_s=60)
    assert not node_lost(going(), now=DUE + 60, patience_s=60)
    ending = lost_ending(pod)
    assert (ending.code, ending.blame, ending.retryable) == ("NodeLost", Blame.PREEMPTION, True)
    assert "worker-3" in ending.message
    assert "NoExecute taint" in ending.message


def test_an_attempt_on_a_lost_node_is_made_again_and_its_pod_is_held_no_longer(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            action_id, first = await here.begun()
            pods.dead.set()
            pods.delete("copilot", first, grace_s=0)  # as the cluster does, when a node has said nothing for long
            _, second = await here.created(2)
            pods.start(second)
            pods.finish(second, 0)
            await here.until(action_id, Phase.SUCCEEDED)
            rows = await here.attempts(action_id)
            assert [(row.phase, row.error_code) for row in rows] == [(Phase.FAILED, "NodeLost"), (Phase.SUCCEEDED, "")]
            await here.cleared(action_id)
            assert first in pods.released
            assert pods.names() == [first], "the object is the cluster's to remove"

    run(story())


def test_a_log_that_the_store_refuses_does_not_hold_its_pod_for_ever(run: Run, world: Open, pods: FakePods) -> None:
    async def story() -> None:
        async with world() as here:
            action_id, pod = await here.begun()
            (row,) = await here.attempts(action_id)
            logs = Path(urlsplit(row.logs_uri).path).parent
            logs.parent.mkdir(parents=True)
            logs.touch()  # no directory, and so no place
            pods.finish(pod, 0)
            await here.until(action_id, Phase.SUCCEEDED)
            await here.empty()
            assert [row.logs_archived for row in await here.cleared(action_id)] == [False]
            assert here.log.named("attempt.again"), "it was tried again for a while"
            assert here.log.named("attempt.log_lost")

    run(story())


@pytest.mark.parametrize(
    "error", [PodRefused("you may not read logs"), PodApiUnavailable("no route to the node")], ids=["never", "no-more"]
)
def test_a_log_that_nobody_gives_does_not_hold_its_pod_for_ever(
    run: Run, world: Open, pods: FakePods, error: CopilotError
) -> None:
    async def story() -> None:
        pods.log_error = error
        async with world() as here:
            action_id = await here.submit()
            (pod,) = await here.created(1)
            pods.start(pod)
            pods.finish(pod, 0)
            await here.until(action_id, Phase.SUCCEEDED)
            await here.empty()
            assert [row.logs_archived for row in await here.cleared(action_id)] == [False]
            assert here.log.named("attempt.log_lost")

    run(story())
