"""A followed log that says nothing for a while is told to go on, and loses nothing by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from flyteidl2.common.identifier_pb2 import ActionIdentifier
from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsRequest

from copilot.control_plane.api.alive import alive
from copilot.testing.control_plane import running_control_plane
from copilot.testing.flyte_client import FlyteClient

if TYPE_CHECKING:
    from copilot.control_plane.server import ControlPlane
    from copilot.control_plane.settings import ServerSettings
    from copilot.testing.fake_pods import FakePods

Run = Callable[[Coroutine[Any, Any, None]], None]


class Slow:
    """Messages, each when it is let through; remembers whether it was closed."""

    def __init__(self, *messages: str) -> None:
        self.messages = messages
        self.through = asyncio.Semaphore(0)
        self.closed = False

    async def __call__(self) -> AsyncGenerator[str, None]:
        try:
            for message in self.messages:
                await self.through.acquire()
                yield message
        finally:
            self.closed = True


def test_signs_come_between_and_every_message_once(run: Run) -> None:
    async def story() -> None:
        slow, heard = Slow("one", "two"), list[str]()
        async for each in alive(slow(), 0.01, lambda: "."):
            heard.append(each)
            if heard[-3:] == [".", ".", "."] or each == "one":
                slow.through.release()
        assert [each for each in heard if each != "."] == ["one", "two"]
        assert heard[:3] == [".", ".", "."]
        assert slow.closed

    run(story())


def test_who_leaves_while_nothing_comes_closes_the_source(run: Run) -> None:
    async def story() -> None:
        slow = Slow("never")
        stream = alive(slow(), 0.01, lambda: ".")
        assert await anext(stream) == "."
        await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
        assert slow.closed

    run(story())


def test_an_error_of_the_source_is_its_own(run: Run) -> None:
    async def broken() -> AsyncGenerator[str, None]:
        yield "one"
        raise ValueError("broken")

    async def story() -> None:
        stream = alive(broken(), 10, lambda: ".")
        assert await anext(stream) == "one"
        with pytest.raises(ValueError, match="broken"):
            await anext(stream)

    run(story())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_silent_log_that_is_followed_is_told_to_go_on(
    settings: ServerSettings, pods: FakePods, make_plane: Callable[..., ControlPlane]
) -> None:
    quick = replace(settings, timing=replace(settings.timing, alive_s=0.05))
    with running_control_plane(lambda: make_plane(quick)) as running:
        server = FlyteClient(running, pods)
        run = server.submit()
        pod = pods.wait_created(1)[0]
        pods.start(pod)
        pods.write_log(pod, b"first\n")
        heard = []
        # What was said before the client came, silence, and what was said after it.
        for message in server.data.tail_logs(TailLogsRequest(action_id=ActionIdentifier(run=run, name="a0"), attempt=1)):
            heard.append([line.message for logs in message.logs for line in logs.lines])
            if heard[-2:] == [[], []] and "last" not in str(heard):
                pods.write_log(pod, b"last\n")
                pods.finish(pod, 0)
        assert [each for each in heard if each] == [["first\n"], ["last\n"]]
        server.close()
