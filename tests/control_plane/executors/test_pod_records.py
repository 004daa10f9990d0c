"""What lies on disk of a pod: every change is told apart, whoever listens hears of it, and trouble is no pod that is gone."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from copilot.control_plane.executors.process import ProcessExecutor
from copilot.control_plane.executors.processes.records import Listeners, PodRecord, write_whole
from copilot.core.errors import PodApiUnavailable
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.testing.small_pods import container, manifest, over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Json = Any
SPACE = "records"
PATIENCE_S = 30.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "pods"


def a_pod_on_disk(root: Path) -> PodRecord:
    """As a server that was killed right after leaves it; whoever has its lock is its supervisor."""
    pod = manifest(SPACE, container("main", "true"))
    directory = root / "pods" / SPACE / str(pod["metadata"]["name"])
    directory.mkdir(parents=True)
    metadata = {**pod["metadata"], "uid": "u-1", "creationTimestamp": "2026-11-22T10:00:00Z"}
    write_whole(directory / "pod.json", {**pod, "metadata": metadata})
    return PodRecord(directory)


def version(record: PodRecord) -> int:
    pod = record.read()
    assert pod is not None
    return int(pod["metadata"]["resourceVersion"])


@contextlib.contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Does it again and again on another thread."""
    over = threading.Event()

    def again() -> None:
        while not over.is_set():
            work()

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_every_change_has_a_version_of_its_own_however_fast_they_come(root: Path) -> None:
    record = a_pod_on_disk(root)
    versions = [version(record)]
    for place in range(50):
        record.write_status({"phase": "Running", "message": str(place)})
        versions.append(version(record))
    for grace_s in (9.0, 3.0):
        record.write_deletion("2026-11-22T10:00:00Z", grace_s)
        versions.append(version(record))
    record.release()
    versions.append(version(record))
    assert versions == sorted(set(versions))


def test_an_end_within_the_tick_of_the_file_system_s_clock_is_told(root: Path) -> None:
    record = a_pod_on_disk(root)
    assert record.hold()
    record.write_status({"phase": "Running"})
    at = (record.directory / "status.json").stat().st_mtime_ns
    with ProcessExecutor(root) as executor:
        phases = []
        for kind, pod in executor.watch(SPACE, Token(SystemClock(), timeout_s=PATIENCE_S)):
            if kind == "BOOKMARK":
                record.write_status({"phase": "Failed"})
                os.utime(record.directory / "status.json", ns=(at, at))
                Listeners(root / "listeners").tell(SPACE, record.directory.name)
                continue
            phases.append(pod["status"]["phase"])
            if over(pod):
                break
    assert phases == ["Running", "Failed"]


def test_a_listener_that_goes_away_while_it_is_told_disturbs_nobody(root: Path) -> None:
    listeners = Listeners(root / "listeners")

    def come_and_go() -> None:
        os.close(listeners.open("fickle"))
        listeners.close("fickle")

    stays = listeners.open("stays")
    with meanwhile(come_and_go):
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            listeners.tell("a", "b")
            assert b"a/b\n" in os.read(stays, 65536)
    os.close(stays)


def test_a_listener_that_comes_while_others_are_told_is_not_taken_away(root: Path) -> None:
    listeners = Listeners(root / "listeners")
    with meanwhile(lambda: listeners.tell("a", "b")):
        for place in range(300):
            descriptor = listeners.open(f"l-{place}")
            assert (root / "listeners" / f"l-{place}").exists()
            listeners.close(f"l-{place}")
            os.close(descriptor)


def test_a_supervisor_gets_its_pod_though_others_ask_whether_there_is_one(root: Path) -> None:
    with meanwhile(lambda: [PodRecord(each).supervised() for each in root.glob("pods/*/*")]):
        for _ in range(20):
            assert a_pod_on_disk(root).hold()


def test_a_pod_that_has_a_supervisor_gets_no_second_one(root: Path) -> None:
    record = a_pod_on_disk(root)
    assert record.hold()
    record.write_status({"phase": "Pending"})
    assert record.supervised()
    assert not record.hold()


@pytest.mark.parametrize("unreadable", ["pod.json", "status.json", "deletion.json"])
def test_a_pod_that_cannot_be_read_is_not_gone(root: Path, unreadable: str) -> None:
    record = a_pod_on_disk(root)
    assert record.hold()
    record.write_status({"phase": "Running"})
    name = record.directory.name
    with ProcessExecutor(root) as executor:
        (record.directory / unreadable).unlink(missing_ok=True)
        (record.directory / unreadable).mkdir()
        for ask in (executor.get, executor.release):
            with pytest.raises(PodApiUnavailable) as told:
                ask(SPACE, name)
            assert told.value.transient
        with pytest.raises(PodApiUnavailable):
            executor.delete(SPACE, name, grace_s=0)


def test_a_directory_that_goes_away_while_it_is_read_is_no_pod_without_a_status(root: Path) -> None:
    records = [a_pod_on_disk(root) for _ in range(200)]
    for record in records:
        record.write_status({"phase": "Succeeded"})
    seen, place = set(), 0

    def look() -> None:
        pod = records[place].read()
        seen.add(None if pod is None else pod["status"]["phase"])

    with meanwhile(look):
        for place, record in enumerate(records):
            record.directory.rename(root / str(place))
    assert seen <= {None, "Succeeded"}


def test_what_a_killed_server_had_begun_to_make_or_to_clear_away_goes_at_the_next_start(root: Path) -> None:
    old, young = root / "new" / "old", root / "new" / "young"
    for each in (old, young):
        (each / "volumes" / "deep").mkdir(parents=True)
    os.utime(old, (1.0, 1.0))
    with ProcessExecutor(root):
        pass
    assert not old.exists()
    assert young.exists()


def test_a_pod_is_told_as_gone_before_another_of_its_name_comes(root: Path) -> None:
    record = a_pod_on_disk(root)
    assert record.hold()
    record.write_status({"phase": "Running"})
    name = record.directory.name
    with ProcessExecutor(root) as executor:
        told = []
        for kind, pod in executor.watch(SPACE, Token(SystemClock(), timeout_s=PATIENCE_S)):
            if kind == "BOOKMARK":
                first = executor.get(SPACE, name)
                other = {**first, "metadata": {**first["metadata"], "uid": "u-2"}}
                write_whole(record.directory / "pod.json", other)
                Listeners(root / "listeners").tell(SPACE, name)
                continue
            told.append((kind, pod["metadata"]["uid"]))
            if pod["metadata"]["uid"] == "u-2":
                break
    assert told == [("ADDED", "u-1"), ("DELETED", "u-1"), ("ADDED", "u-2")]
