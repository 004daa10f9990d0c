"""Fetch, send, read and write over stores that behave, and over one that does what the test tells it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core.errors import (
    AccessDenied,
    AlreadyExists,
    BadInputs,
    Cancelled,
    CopilotError,
    ObjectChanged,
    ObjectNotFound,
    ServerFault,
    Stalled,
    Unreachable,
    UnreadableOutput,
    UnsafePath,
)
from copilot.core.values import FetchSpec, Receipt, SendSpec
from copilot.engine.budget import MIB, Limits
from copilot.engine.clock import SystemClock
from copilot.engine.retry import RetryPolicy
from copilot.engine.source import BytesSource
from copilot.engine.verify import verify
from copilot.stores.registry import open_stores
from copilot.testing.engine_bench import Bench, bench
from copilot.testing.scripted_store import ScriptedStores

if TYPE_CHECKING:
    from copilot.core.ports import Clock

BIG = os.urandom(20 * MIB)
SMALL_PARTS = Limits(part_bytes=MIB)


@pytest.fixture
def at_work() -> Bench:
    return bench()


def scripted(limits: Limits | None = None, *, real_time: bool = False) -> tuple[Bench, ScriptedStores]:
    stores = ScriptedStores(open_stores(), "memory://b/")
    return bench(stores, limits=limits, clock=SystemClock() if real_time else None), stores


def put(at_work: Bench, objects: dict[str, bytes]) -> None:
    for key, data in objects.items():
        at_work.transfer.write(f"memory://b/{key}", data, at_work.cancel)


def fetch(at_work: Bench, root: Path, *specs: FetchSpec) -> list[Receipt]:
    receipts: list[Receipt] = []
    verify(specs, at_work.transfer.fetch(specs, root, at_work.cancel), each=receipts.append, root=root)
    return receipts


def below(root: Path) -> dict[str, bytes | None]:
    """Every name below ``root`` with its content; None for a directory."""
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in sorted(root.rglob("*"))}


# --- trees -----------------------------------------------------------------------------------------------------------


def test_a_tree_comes_with_its_empty_directories_and_nothing_of_its_neighbours(at_work: Bench, tmp_path: Path) -> None:
    put(at_work, {"a": b"no", "a/x": b"1", "a/s/# ?%:+é": b"22", "a/empty/": b"", "ab/z": b"no", "a/zero": b""})
    receipts = fetch(at_work, tmp_path, FetchSpec("memory://b/a", "in", tree=True, variable="v"))
    assert below(tmp_path) == {
        "in": None,
        "in/x": b"1",
        "in/s": None,
        "in/s/# ?%:+é": b"22",
        "in/empty": None,
        "in/zero": b"",
    }
    assert {(one.path, one.size_bytes, one.variable) for one in receipts} == {
        ("in/x", 1, "v"),
        ("in/s/# ?%:+é", 2, "v"),
        ("in/empty/", 0, "v"),
        ("in/zero", 0, "v"),
    }


def test_nothing_below_a_prefix_is_an_empty_directory(at_work: Bench, tmp_path: Path) -> None:
    assert fetch(at_work, tmp_path, FetchSpec("memory://b/none", "in", tree=True)) == []
    assert below(tmp_path) == {"in": None}


@pytest.mark.parametrize("key", ["t/../../etc/passwd", "t//absolute", "t/a/./b", "t/nul\0"])
def test_a_key_that_leads_out_is_refused_and_nothing_of_it_is_written(at_work: Bench, tmp_path: Path, key: str) -> None:
    store = at_work.stores.locate("memory://b/").store
    store.put(key, BytesSource(b"evil"))
    with pytest.raises(UnsafePath):
        fetch(at_work, tmp_path / "root", FetchSpec("memory://b/t", "in", tree=True))
    assert below(tmp_path) == {"root": None, "root/in": None}


def test_a_key_that_is_a_file_and_a_directory_is_one_clear_error(at_work: Bench, tmp_path: Path) -> None:
    put(at_work, {"t/a": b"file", "t/a/b": b"below it"})
    with pytest.raises(UnsafePath, match="a file and a directory at once"):
        fetch(at_work, tmp_path, FetchSpec("memory://b/t", "in", tree=True))


def test_a_tree_goes_up_and_comes_back_the_same(at_work: Bench, tmp_path: Path) -> None:
    top = tmp_path / "out" / "model"
    (top / "deep/er").mkdir(parents=True)
    (top / "hollow/inner").mkdir(parents=True)
    (top / "deep/er/# ?%:+é").write_bytes(b"odd")
    (top / "zero").touch()
    (top / "big").write_bytes(BIG)
    specs = [SendSpec(top, "memory://b/up/model", tree=True, variable="m")]
    receipts: list[Receipt] = []
    verify(specs, at_work.transfer.send(specs, at_work.cancel), each=receipts.append)
    assert {one.path for one in receipts} == {"model/deep/er/# ?%:+é", "model/hollow/inner/", "model/zero", "model/big"}
    fetched = fetch(at_work, tmp_path / "back", FetchSpec("memory://b/up/model", "model", tree=True))
    assert below(tmp_path / "back/model") == below(top)
    assert {(one.uri, one.digest) for one in fetched} == {(one.uri, one.digest) for one in receipts}


def test_an_empty_directory_goes_up_as_a_marker(at_work: Bench, tmp_path: Path) -> None:
    (tmp_path / "hollow").mkdir()
    (receipt,) = at_work.transfer.send([SendSpec(tmp_path / "hollow", "memory://b/h", tree=True)], at_work.cancel)
    assert receipt.uri == "memory://b/h/"


def test_links_are_followed_inside_and_refused_when_they_lead_out_or_in_a_circle(at_work: Bench, tmp_path: Path) -> None:
    top = tmp_path / "out"
    (top / "real").mkdir(parents=True)
    (top / "real/file").write_text("x")
    (top / "link").symlink_to("real")
    spec = SendSpec(top, "memory://b/l", tree=True)
    assert {one.path for one in at_work.transfer.send([spec], at_work.cancel)} == {"out/real/file", "out/link/file"}
    (top / "real/circle").symlink_to("../real")
    with pytest.raises(UnreadableOutput, match="circle"):
        list(at_work.transfer.send([spec], at_work.cancel))
    (top / "real/circle").unlink()
    (top / "evil").symlink_to("/etc/passwd")
    with pytest.raises(UnreadableOutput, match="out of"):
        list(at_work.transfer.send([spec], at_work.cancel))


def test_a_fifo_is_refused_and_not_waited_for(at_work: Bench, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableOutput, match="neither a file nor a directory"):
        list(at_work.transfer.send([SendSpec(tmp_path, "memory://b/f", tree=True)], at_work.cancel))
    with pytest.raises(UnreadableOutput, match="no regular file"):
        list(at_work.transfer.send([SendSpec(tmp_path / "pipe", "memory://b/f")], at_work.cancel))


def test_local_directories_are_stores_like_others(at_work: Bench, tmp_path: Path) -> None:
    (tmp_path / "from/sub").mkdir(parents=True)
    (tmp_path / "from/sub/x").write_bytes(b"1")
    (tmp_path / "from/big").write_bytes(BIG)
    fetch(at_work, tmp_path / "to", FetchSpec(f"file://{tmp_path}/from", "in", tree=True))
    assert below(tmp_path / "to/in") == below(tmp_path / "from")


# --- one object --------------------------------------------------------------------------------------------------------


def test_a_big_object_comes_in_ranges_and_its_checksum_is_that_of_the_whole(tmp_path: Path) -> None:
    at_work, stores = scripted(SMALL_PARTS)
    sent = at_work.transfer.write("memory://b/big", BIG, at_work.cancel)
    (receipt,) = fetch(at_work, tmp_path, FetchSpec("memory://b/big", "f/big"))
    assert (tmp_path / "f/big").read_bytes() == BIG
    assert (receipt.digest, receipt.size_bytes, receipt.etag) == (sent.digest, len(BIG), sent.etag)
    assert len([one for one in stores.store.ranges if one[1] is not None]) == 20
    assert "head" not in stores.store.calls
    assert at_work.progress.moved_bytes == 2 * len(BIG)
    assert below(tmp_path).keys() == {"f", "f/big"}


def test_a_small_object_costs_one_request_and_a_tree_one_more(tmp_path: Path) -> None:
    at_work, stores = scripted()
    put(at_work, {f"t/{number}": b"x" for number in range(50)})
    fetch(at_work, tmp_path, FetchSpec("memory://b/t", "in", tree=True), FetchSpec("memory://b/t/7", "seven"))
    assert stores.store.calls == {"put": 50, "list": 1, "listed": 50, "get": 51}


def test_an_object_that_changes_during_a_ranged_read_is_noticed_and_read_from_zero(tmp_path: Path) -> None:
    at_work, stores = scripted(SMALL_PARTS)
    other = bytes(len(BIG) - 5)
    put(at_work, {"big": BIG})

    def change(_key: str, number: int) -> None:
        if number == 6:
            stores.store.inner.put("big", BytesSource(other))

    stores.store.on_get = change
    (receipt,) = fetch(at_work, tmp_path, FetchSpec("memory://b/big", "big"))
    assert (tmp_path / "big").read_bytes() == other
    assert receipt.size_bytes == len(other)
    assert at_work.log.named("object.changed")
    assert below(tmp_path).keys() == {"big"}


def test_an_object_that_never_stands_still_is_given_up_with_its_reason(tmp_path: Path) -> None:
    at_work, stores = scripted(Limits(part_bytes=MIB, retry=RetryPolicy(content_attempts=3)))
    put(at_work, {"big": BIG})

    def change(_key: str, number: int) -> None:
        if number:
            stores.store.inner.put("big", BytesSource(BIG))

    stores.store.on_get = change
    with pytest.raises(ObjectChanged):
        fetch(at_work, tmp_path, FetchSpec("memory://b/big", "big"))
    assert below(tmp_path) == {}


def test_a_range_that_breaks_goes_on_where_it_was(tmp_path: Path) -> None:
    at_work, stores = scripted(Limits(max_workers=2, part_bytes=10 * MIB))
    put(at_work, {"big": BIG})
    broken = threading.Event()

    def break_once(_key: str, number: int) -> None:
        if number == 8 and not broken.is_set():
            broken.set()
            raise Unreachable("connection reset")

    stores.store.on_chunk = break_once
    fetch(at_work, tmp_path, FetchSpec("memory://b/big", "big"))
    assert (tmp_path / "big").read_bytes() == BIG
    resumed = [start for start, end in stores.store.ranges if end is not None and start not in {0, 10 * MIB}]
    assert resumed
    assert all(start % (10 * MIB) == 8 * 256 * 1024 for start in resumed)


def test_an_object_listed_with_another_content_is_taken_as_it_is_now(tmp_path: Path) -> None:
    at_work, stores = scripted()
    put(at_work, {"t/x": b"old"})

    def change(_key: str, number: int) -> None:
        if number == 0:
            stores.store.inner.put("t/x", BytesSource(b"newer"))

    stores.store.on_get = change
    fetch(at_work, tmp_path, FetchSpec("memory://b/t", "in", tree=True))
    assert (tmp_path / "in/x").read_bytes() == b"newer"


def test_a_listing_that_breaks_goes_on_without_a_key_lost_or_doubled(tmp_path: Path) -> None:
    at_work, stores = scripted()
    put(at_work, {f"t/{number:03}": b"x" for number in range(100)})

    def break_twice(_key: str, number: int) -> None:
        if number in {40, 90}:
            raise ServerFault("503")

    stores.store.on_listed = break_twice
    receipts = fetch(at_work, tmp_path, FetchSpec("memory://b/t", "in", tree=True))
    assert sorted(one.path for one in receipts) == [f"in/{number:03}" for number in range(100)]
    assert stores.store.calls["list"] == 3


def test_the_first_permanent_error_stops_the_rest_and_is_the_one_raised(tmp_path: Path) -> None:
    at_work, stores = scripted()
    put(at_work, {f"t/{number:04}": b"x" for number in range(2000)})

    def deny(key: str, _number: int) -> None:
        if key == "t/0003":
            raise AccessDenied("403 for t/0003")

    stores.store.on_get = deny
    with pytest.raises(AccessDenied, match="t/0003"):
        fetch(at_work, tmp_path, FetchSpec("memory://b/t", "in", tree=True))
    assert stores.store.calls["get"] < 1500
    assert not [name for name in below(tmp_path) if name.startswith(".copilot")]


# --- stopping and stalling ---------------------------------------------------------------------------------------------


def test_a_cancelled_transfer_waits_for_no_request_that_hangs_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    at_work, stores = scripted(SMALL_PARTS, real_time=True)
    put(at_work, {"big": BIG})
    held, release = threading.Event(), threading.Event()

    def hold(_key: str, number: int) -> None:
        if number == 1:
            held.set()
            release.wait(30)

    stores.store.on_chunk = hold
    moving = at_work.transfer.fetch([FetchSpec("memory://b/big", "big")], tmp_path, at_work.cancel)
    began_s = time.monotonic()
    threading.Thread(target=_cancel_after, args=(held, at_work)).start()
    try:
        with pytest.raises(Cancelled, match="SIGTERM"):
            next(moving)
        assert time.monotonic() - began_s < 25  # the request hangs for thirty seconds
        assert below(tmp_path) == {}
    finally:
        release.set()


def test_a_caller_who_stops_listening_stops_the_transfer(tmp_path: Path) -> None:
    at_work, stores = scripted()
    put(at_work, {f"t/{number:04}": b"x" for number in range(3000)})
    moving = at_work.transfer.fetch([FetchSpec("memory://b/t", "in", tree=True)], tmp_path, at_work.cancel)
    next(moving)
    moving.close()  # type: ignore[attr-defined]  # it is a generator
    assert stores.store.calls["get"] < 3000
    assert not [name for name in below(tmp_path) if name.startswith(".copilot")]


@pytest.mark.parametrize("limits", [Limits(part_bytes=MIB, stall_s=60), Limits(part_bytes=64 * MIB, stall_s=60)])
def test_a_silent_request_is_given_up_and_its_late_bytes_are_refused(tmp_path: Path, limits: Limits) -> None:
    at_work, stores = scripted(limits)
    put(at_work, {"big": BIG})
    held, release, late = threading.Event(), threading.Event(), threading.Event()

    def hold(_key: str, number: int) -> None:
        if number == 2 and not held.is_set():
            held.set()
            release.wait(30)
            late.set()

    stores.store.on_chunk = hold
    clock = at_work.clock
    threading.Thread(target=_pass_time_after, args=(held, clock)).start()
    fetch(at_work, tmp_path, FetchSpec("memory://b/big", "big"))
    assert at_work.log.named("stalled")
    release.set()
    assert late.wait(10)
    assert (tmp_path / "big").read_bytes() == BIG
    assert below(tmp_path).keys() == {"big"}


def test_silence_without_end_is_a_stall_with_its_subject(tmp_path: Path) -> None:
    at_work, stores = scripted(Limits(stall_s=60, retry=RetryPolicy(attempts=3)))
    put(at_work, {"x": b"1"})
    release, done = threading.Event(), threading.Event()

    def hold(_key: str, _number: int) -> None:
        release.wait(30)

    stores.store.on_get = hold
    threading.Thread(target=_let_time_pass, args=(at_work, done)).start()
    try:
        with pytest.raises(Stalled, match="memory://b/x"):
            fetch(at_work, tmp_path, FetchSpec("memory://b/x", "x"))
    finally:
        done.set()
        release.set()
    assert stores.store.calls["get"] == 3


def _cancel_after(event: threading.Event, at_work: Bench) -> None:
    event.wait(10)
    at_work.cancel.cancel("SIGTERM")


def _pass_time_after(event: threading.Event, clock: Clock) -> None:
    event.wait(10)
    clock.sleep(400)


def _let_time_pass(at_work: Bench, done: threading.Event) -> None:
    while not done.wait(0.02):
        at_work.clock.sleep(200)


# --- sending -----------------------------------------------------------------------------------------------------------


def test_a_file_that_changes_while_it_is_read_is_sent_again_as_it_is_then(tmp_path: Path) -> None:
    at_work, stores = scripted()
    path = tmp_path / "out"
    path.write_bytes(BIG)

    def change(_key: str, number: int) -> None:
        if number == 0:
            path.write_bytes(BIG[:-7])

    stores.store.on_put = change
    (receipt,) = at_work.transfer.send([SendSpec(path, "memory://b/out")], at_work.cancel)
    assert receipt.size_bytes == len(BIG) - 7
    assert at_work.transfer.read("memory://b/out", at_work.cancel) == BIG[:-7]


def test_a_file_that_never_stands_still_is_an_error_that_says_so(tmp_path: Path) -> None:
    at_work, stores = scripted()
    path = tmp_path / "out"
    path.write_bytes(BIG)

    def change(_key: str, number: int) -> None:
        with path.open("r+b") as file:
            file.write(b"%20d" % number)

    stores.store.after_put = change
    with pytest.raises(ObjectChanged, match="changed while it was uploaded"):
        list(at_work.transfer.send([SendSpec(path, "memory://b/out")], at_work.cancel))


def test_a_write_whose_answer_was_lost_finds_its_own_object(tmp_path: Path) -> None:
    del tmp_path
    at_work, stores = scripted()

    def lose(_key: str, number: int) -> None:
        if number == 0:
            raise Unreachable("reset while the answer was awaited")

    stores.store.after_put = lose
    receipt = at_work.transfer.write("memory://b/once", b"mine", at_work.cancel, if_absent=True)
    assert receipt.size_bytes == 4
    with pytest.raises(AlreadyExists):
        at_work.transfer.write("memory://b/once", b"mine", at_work.cancel, if_absent=True)


# --- read --------------------------------------------------------------------------------------------------------------


def test_reading_more_than_allowed_is_refused(at_work: Bench) -> None:
    put(at_work, {"k": b"12345"})
    assert at_work.transfer.read("memory://b/k", at_work.cancel, max_bytes=5) == b"12345"
    with pytest.raises(BadInputs, match="5 bytes and 4"):
        at_work.transfer.read("memory://b/k", at_work.cancel, max_bytes=4)


def test_a_missing_object_is_named(at_work: Bench, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound, match="memory://b/none"):
        at_work.transfer.read("memory://b/none", at_work.cancel)
    with pytest.raises(CopilotError, match="memory://b/none"):
        fetch(at_work, tmp_path, FetchSpec("memory://b/none", "x"))
    assert below(tmp_path) == {}
