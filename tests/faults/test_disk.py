"""A disk that fills up, vanishes, or turns read-only while inputs arrive; a wall clock that jumps: each has a defined end."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.faults.pod_story import Inputs, Story

from copilot.core.errors import DiskFull, LocalError, ReadOnlyPath
from copilot.core.values import FetchSpec, Receipt, SendSpec
from copilot.engine.budget import MIB, Limits
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.engine.journal import FetchJournal
from copilot.engine.sent import SentFiles
from copilot.engine.verify import verify
from copilot.stores.registry import open_stores
from copilot.stores.sources import BytesSource
from copilot.testing.clock import FakeClock
from copilot.testing.engine_bench import Bench, bench
from copilot.testing.scripted_store import Hook, ScriptedStores, nothing

if TYPE_CHECKING:
    from copilot.testing.servers.s3 import S3Server

CONTENT = os.urandom(12 * MIB)
MOUNT, UMOUNT = shutil.which("mount") or "", shutil.which("umount") or ""
LIMITS = Limits(max_workers=2, part_bytes=MIB)


@dataclass
class Volume:
    path: Path

    def mount(self, size: str) -> None:
        self.path.mkdir(exist_ok=True)
        subprocess.run([MOUNT, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.path)], check=True)

    def remount(self, option: str) -> None:
        subprocess.run([MOUNT, "-o", f"remount,{option}", str(self.path)], check=True)

    def vanish(self) -> None:
        subprocess.run([UMOUNT, "-l", str(self.path)], check=True)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    volume = Volume(tmp_path / "volume")
    yield volume
    while os.path.ismount(volume.path):
        subprocess.run([UMOUNT, "-l", str(volume.path)], check=True)


def scripted(on_chunk: Hook = nothing, on_get: Hook = nothing, limits: Limits = LIMITS) -> Bench:
    stores = ScriptedStores(open_stores(), "memory://b/big")
    stores.store.inner.put("big", BytesSource(CONTENT))
    for number in range(20):
        stores.store.inner.put(f"tree/{number:02}", BytesSource(CONTENT[:MIB]))
    stores.store.on_chunk, stores.store.on_get = on_chunk, on_get
    return bench(stores, limits=limits, clock=SystemClock())


def fetch(at_work: Bench, root: Path, uri: str, journal: FetchJournal | None = None) -> None:
    specs = [FetchSpec(uri, "in", tree=uri.endswith("tree"))]
    verify(specs, at_work.transfer.fetch(specs, root, at_work.cancel, journal=journal), root=root)


@pytest.mark.parametrize("uri", ["memory://b/big", "memory://b/tree"])
def test_a_disk_that_fills_up_is_called_so_and_nothing_stays_on_it(volume: Volume, uri: str) -> None:
    volume.mount("5m")
    with pytest.raises(DiskFull, match="no space left"):
        fetch(scripted(), volume.path, uri)
    assert not [path for path in volume.path.rglob("*") if path.name != "in" and path.is_file() and path.parent.name != "in"]


def test_a_full_disk_forgets_its_journal_so_that_there_is_room_again(volume: Volume) -> None:
    volume.mount("5m")
    with FetchJournal(volume.path / "journal") as journal, pytest.raises(DiskFull):
        fetch(scripted(), volume.path, "memory://b/big", journal)
    assert sorted(path.name for path in (volume.path / "journal").iterdir()) == ["done"]


def test_a_volume_that_turns_read_only_midway_is_called_so(volume: Volume) -> None:
    volume.mount("40m")

    def turn(key: str, _number: int) -> None:
        if key == "tree/05":
            volume.remount("ro")  # one worker, before it opens its file: a file open for writing would keep this from happening

    with pytest.raises(ReadOnlyPath) as raised:
        fetch(scripted(on_get=turn, limits=replace(LIMITS, max_workers=1)), volume.path, "memory://b/tree")
    assert str(volume.path) in raised.value.message
    assert "writable" in raised.value.hint


def test_a_volume_that_vanishes_midway_ends_in_an_error_that_names_it(volume: Volume) -> None:
    volume.mount("40m")

    def vanish(key: str, _number: int) -> None:
        if key == "tree/05" and os.path.ismount(volume.path):
            volume.vanish()

    with pytest.raises(LocalError) as raised:
        fetch(scripted(vanish), volume.path, "memory://b/tree")
    assert str(volume.path) in raised.value.message
    assert raised.value.hint


def test_a_wall_clock_that_jumps_moves_no_deadline(tmp_path: Path) -> None:
    at_work = scripted()
    clock = FakeClock()
    token = Token(clock, timeout_s=60)
    before = clock.now_s()
    clock.jump(-7 * 86_400)
    assert clock.now_s() < before
    token.check()
    clock.jump(14 * 86_400)
    token.check()
    assert token.remaining_s() == 60
    fetch(at_work, tmp_path, "memory://b/big")
    assert (tmp_path / "in").read_bytes() == CONTENT


def test_a_file_whose_time_jumps_back_is_still_sent_once_and_right(tmp_path: Path) -> None:
    at_work = scripted()
    path = tmp_path / "out"
    path.write_bytes(CONTENT)
    os.utime(path, (1, 1))
    (receipt,) = at_work.transfer.send([SendSpec(path, "memory://b/out")], at_work.cancel)
    assert receipt.size_bytes == len(CONTENT)


@pytest.mark.parametrize("mode", ["UPLOAD_EAGER", "UPLOAD_ON_EXIT"])
def test_a_full_control_volume_does_not_end_a_sidecar(
    volume: Volume, s3_server: S3Server, s3_bucket: str, tmp_path: Path, mode: str
) -> None:
    story = Story(tmp_path / "pod", Inputs(s3_server, s3_bucket), f"full-{mode}")
    volume.path = story.control
    volume.mount("64k")
    with story.log.open("ab") as log:
        sidecar = subprocess.Popen(story.sidecar_argv(mode), env=story.environ, stdout=log, stderr=log)
    try:
        wait_until((story.control / "sent").exists, sidecar)
        fill(story.control)
        story.task_ends(seed=5)
        assert sidecar.wait(timeout=60) == 0, story.told()
    finally:
        sidecar.kill()
        sidecar.wait()
    assert story.told().count('"sent.in_memory"') == 1
    story.check_outputs()


def wait_until(there: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + 60
    while not there():
        assert process.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def fill(directory: Path) -> None:
    """Takes every byte there is."""
    with (directory / "filler").open("wb", buffering=0) as file:
        for size in (4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def test_what_could_not_be_noted_is_known_all_the_same_and_said_once(volume: Volume) -> None:
    volume.mount("64k")
    with SentFiles(volume.path / "sent") as sent:
        fill(volume.path)
        said = 0
        for number in range(3):
            try:
                sent.note(Receipt(f"memory://b/{number}", str(number), 7, "crc32c:00000000", "e"), 1)
            except DiskFull:
                said += 1
        assert said == 1
        assert len(sent) == 3
