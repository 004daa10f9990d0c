"""A file half done costs at most one part of 16 MiB again, both ways, counted on the wire and killed in the middle of it."""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.faults.pod_story import MIB, Inputs, Story

from copilot.core.ports import Location
from copilot.core.values import FetchSpec
from copilot.engine.budget import Limits
from copilot.engine.clock import SystemClock
from copilot.engine.journal import FetchJournal
from copilot.engine.resumable import lanes, upload_bounds, upload_part_bytes
from copilot.stores.memory import MemoryStore
from copilot.stores.sources import BytesSource
from copilot.stores.streams import ChunkStream
from copilot.testing.engine_bench import bench
from copilot.testing.fault_proxy import FaultProxy, Link, fault_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from copilot.core.ports import ObjectInfo, Store
    from copilot.testing.servers.s3 import S3Server

PART = 16 * MIB
SIZE = 45 * MIB + 17
SLOW = Link(bytes_per_s=40 * MIB)
OTHER_BYTES = 200_000  # documents, logs and small values
BIG = os.urandom(64 * MIB + 1)


class Watched:
    """A pod whose every byte passes a proxy that counts."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self._environ = {name: value for name, value in story.environ.items() if name != "COPILOT_PART_SIZE"}

    @contextmanager
    def run(self, argv: list[str], link: Link | None = None) -> Iterator[tuple[subprocess.Popen[bytes], FaultProxy]]:
        with fault_proxy(self.story.inputs.server.endpoint, link=link) as proxy, self.story.log.open("ab") as log:
            environ = {**self._environ, "AWS_ENDPOINT_URL": proxy.endpoint}
            with subprocess.Popen(argv, env=environ, stdout=log, stderr=log) as process:
                try:
                    yield process, proxy
                finally:
                    process.kill()

    def until_killed(self, argv: list[str], way: str, at_bytes: int) -> int:
        """Kills it when so many bytes have passed; how many really had."""
        method = "PUT" if way == "up" else "GET"
        with self.run(argv, SLOW) as (process, proxy):
            passed = proxy.up if way == "up" else proxy.down
            deadline_s = time.monotonic() + 60
            while passed[method] < at_bytes:
                assert time.monotonic() < deadline_s
                assert process.poll() is None, self.story.told()
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
            process.wait()
            return passed[method]

    def to_the_end(self, argv: list[str], way: str) -> int:
        with self.run(argv) as (process, proxy):
            assert process.wait(timeout=120) == 0, self.story.told()
            return proxy.up["PUT"] if way == "up" else proxy.down["GET"]

    def event(self, name: str) -> dict[str, int]:
        lines = (json.loads(line) for line in self.story.told().splitlines() if line.startswith("{"))
        found: dict[str, int] = next(line for line in lines if line["event"] == name)
        return found


@pytest.fixture(scope="module")
def stocked(s3_server: S3Server, s3_bucket: str) -> Inputs:
    stock = Inputs(s3_server, s3_bucket)
    stock.files["model"] *= -(-SIZE // len(stock.files["model"]))
    stock.files["model"] = stock.files["model"][:SIZE]
    s3_server.poke(s3_bucket, "in/model", stock.files["model"])
    return stock


@pytest.mark.parametrize("at_mib", [5, 20, 31])
def test_an_upload_killed_in_mid_part_sends_at_most_one_part_again(stocked: Inputs, tmp_path: Path, at_mib: int) -> None:
    pod = Watched(Story(tmp_path / "pod", stocked, f"again-{at_mib}"))
    pod.story.task_ends(seed=at_mib)
    pod.story.written["weights"] = stocked.files["model"]
    (pod.story.outof / "weights").write_bytes(stocked.files["model"])
    argv = pod.story.sidecar_argv()
    first = pod.until_killed(argv, "up", at_mib * MIB)
    arrived = sum(size for _, size in parts_there(pod.story))
    second = pod.to_the_end(argv, "up")
    assert first + second - SIZE <= PART + OTHER_BYTES
    # What the server has received whole counts, also where nobody heard of it.
    assert second <= SIZE - arrived + OTHER_BYTES
    assert arrived == 0 or pod.event("send.continued")["had_bytes"] >= arrived
    pod.story.check_outputs()


def test_a_download_killed_in_mid_part_asks_for_nothing_that_was_noted(stocked: Inputs, tmp_path: Path) -> None:
    pod = Watched(Story(tmp_path / "pod", stocked, "unused"))
    argv = pod.story.init_argv()
    first = pod.until_killed(argv, "down", 31 * MIB)
    second = pod.to_the_end(argv, "down")
    had = pod.event("fetch.continued")["had_bytes"]
    assert first + second >= SIZE
    # What a connection had under way when its range was given to another comes on top; nothing that was noted does.
    assert second <= SIZE - had + PART + OTHER_BYTES
    pod.story.check_inputs()


class Counted:
    """A store in front of another that counts in shared memory what a process takes from it, until that is enough."""

    def __init__(self, inner: MemoryStore, enough: int | None) -> None:
        self.capabilities = inner.capabilities
        self.inner = inner
        self.taken = mmap.mmap(-1, 8)
        self._lock = threading.Lock()
        self._enough = enough

    def total(self) -> int:
        return int.from_bytes(self.taken[:8])

    def head(self, key: str) -> ObjectInfo:
        return self.inner.head(key)

    def get(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> ChunkStream:
        stream = self.inner.get(key, start=start, end=end, if_match=if_match)

        def chunks() -> Iterator[bytes | memoryview]:
            for chunk in stream:
                with self._lock:
                    self.taken[:8] = (self.total() + len(chunk)).to_bytes(8)
                    if self._enough is not None and self.total() >= self._enough:
                        os.kill(os.getpid(), signal.SIGKILL)
                        signal.pause()
                yield chunk

        return ChunkStream(stream.info, chunks(), expected=None, subject=key)

    def locate(self, uri: str) -> Location:
        return Location(uri, cast("Store", self), "big")


def fetched_by_a_fork(store: Counted, home: Path) -> int:
    """The bytes it took; it is killed when the store says so."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            root = home / f"root-{os.getpid()}"
            root.mkdir()
            at_work = bench(store, limits=Limits(max_workers=16, part_bytes=2 * MIB), clock=SystemClock())
            with FetchJournal(home / "journal") as journal:
                specs = [FetchSpec("memory://b/big", "in")]
                for _ in at_work.transfer.fetch(specs, root, at_work.cancel, journal=journal):
                    code = 0 if (root / "in").read_bytes() == BIG else 2
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in {0, -signal.SIGKILL}
    return store.total()


@pytest.mark.parametrize("twice", [False, True])
def test_a_download_in_sixteen_ranges_killed_again_and_again_takes_one_part_more_each_time(
    tmp_path: Path, *, twice: bool
) -> None:
    inner = MemoryStore()
    inner.put("big", BytesSource(BIG))
    if twice:
        inner.capabilities = replace(inner.capabilities, clear_text=True)
        _, info = inner._objects["big"]
        inner._objects["big"] = (BIG, replace(info, md5_hex=None, etag='"opaque"'))
    whole = len(BIG) * (2 if twice else 1)
    taken = [fetched_by_a_fork(Counted(inner, enough), tmp_path) for enough in (len(BIG) // 2, len(BIG) // 3)]
    taken.append(fetched_by_a_fork(Counted(inner, None), tmp_path))
    assert sum(taken) - whole <= 2 * PART
    assert sum(taken) > whole


def parts_there(story: Story) -> list[tuple[str, int]]:
    import re  # noqa: PLC0415 - only here

    found: list[tuple[str, int]] = []
    for key, upload in story.unfinished_uploads():
        answer = story.inputs.server.signer.request("GET", f"/{story.inputs.bucket}/{key}", query={"uploadId": upload})
        found += [(key, int(size)) for size in re.findall(rb"<Size>(\d+)</Size>", answer.body)]
    return found


@given(st.integers(1, 5 * 1024**4))
def test_parts_in_flight_are_never_more_than_one_part_of_that_file(size: int) -> None:
    part = upload_part_bytes(Limits(), MemoryStore(), size)
    assert part is not None
    step = upload_bounds(size, part, 10_000)[0][1] if size < 1024**3 else part
    assert lanes(part) * min(step, part) <= max(PART, part)
    assert -(-size // part) <= 10_000
    assert lanes(part) > 1 or part > PART // 2
