"""UPLOAD_EAGER with a real sidecar on a real S3 server: what is finished moves early, what changes afterwards moves again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from tests.faults.pod_story import MIB, Inputs, Story

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from copilot.testing.servers.s3 import S3Server


class Running:
    """A pod whose sidecar runs beside the task."""

    def __init__(self, story: Story, **environ: str) -> None:
        self.story = story
        story.outof.mkdir()
        self._environ = {**story.environ, "COPILOT_LOG_LEVEL": "debug", **environ}
        self.process = self.begin()

    def begin(self) -> subprocess.Popen[bytes]:
        with self.story.log.open("ab") as log:
            argv = self.story.sidecar_argv("UPLOAD_EAGER")
            return subprocess.Popen(argv, env=self._environ, stdout=log, stderr=log)

    def write(self, name: str, content: bytes) -> None:
        path = self.story.outof / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        if name != "n":
            self.story.written[name] = content

    def in_store(self, name: str) -> bytes | None:
        return self.story.inputs.server.peek(self.story.inputs.bucket, f"{self.story.prefix}/raw/{name}")

    def events(self, name: str) -> list[dict[str, object]]:
        lines = (json.loads(line) for line in self.story.told().splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == name]

    def succeed(self) -> None:
        (self.story.outof / "_SUCCESS").touch()
        assert self.process.wait(timeout=60) == 0, self.story.told()
        self.story.check_outputs()


@pytest.fixture
def running(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    begun: list[Running] = []

    def begin(**environ: str) -> Running:
        story = Story(tmp_path / "pod", Inputs(s3_server, s3_bucket), f"out-{os.urandom(3).hex()}")
        begun.append(Running(story, **environ))
        return begun[-1]

    yield begin
    for one in begun:
        one.process.kill()
        one.process.wait()


def until(there: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_what_is_finished_moves_while_the_task_runs_and_only_once(running: Callable[..., Running]) -> None:
    pod = running(COPILOT_GRACE_S="30")
    weights = os.urandom(11 * MIB)
    pod.write("weights", weights)
    until(lambda: pod.in_store("weights"))
    assert pod.in_store("weights") == weights
    assert "meta/outputs.pb" not in pod.story.objects()
    until(lambda: pod.events("grace.enough"))
    etag_before = head(pod, "weights")
    pod.write("n", b"42")
    pod.write("logs/last", b"the tail")
    pod.succeed()
    assert head(pod, "weights") == etag_before


def head(pod: Running, name: str) -> tuple[str, str]:
    path = f"/{pod.story.inputs.bucket}/{pod.story.prefix}/raw/{name}"
    headers = dict(pod.story.inputs.server.signer.request("HEAD", path).headers)
    return headers["etag"], headers["last-modified"]


def test_what_changes_after_its_early_upload_is_uploaded_as_it_is_at_the_end(running: Callable[..., Running]) -> None:
    pod = running()
    pod.write("weights", b"an early checkpoint")
    until(lambda: pod.in_store("weights"))
    pod.write("weights", b"the final weights..")
    pod.write("n", b"42")
    pod.write("logs/a", b"log")
    pod.succeed()
    assert pod.in_store("weights") == b"the final weights.."


def test_a_sidecar_that_is_killed_early_sends_only_what_is_not_there(running: Callable[..., Running]) -> None:
    pod = running()
    pod.write("weights", os.urandom(11 * MIB))
    until(lambda: pod.events("eager.sent"))
    before = head(pod, "weights")
    pod.process.send_signal(signal.SIGKILL)
    pod.process.wait()
    pod.process = pod.begin()
    pod.write("n", b"42")
    pod.write("logs/a", b"log")
    pod.succeed()
    assert head(pod, "weights") == before
