"""What another process has brought already is used: by the part, by the file, and never without being compared."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.core.errors import AccessDenied
from copilot.core.values import FetchSpec, Receipt, SendSpec
from copilot.engine.budget import MIB, Limits
from copilot.engine.claims import Claim, EtagTrust
from copilot.engine.grace import Forecast, Rate
from copilot.engine.journal import FetchJournal, Identity, PartNote
from copilot.engine.resumable import upload_bounds
from copilot.engine.sent import SentFiles
from copilot.stores.memory import MemoryStore
from copilot.stores.registry import open_stores
from copilot.stores.sources import BytesSource
from copilot.testing.engine_bench import Bench, bench
from copilot.testing.scripted_store import ScriptedStores

if TYPE_CHECKING:
    from pathlib import Path

BIG = os.urandom(20 * MIB + 5)
LIMITS = Limits(max_workers=3, part_bytes=4 * MIB)


def scripted() -> tuple[Bench, ScriptedStores]:
    stores = ScriptedStores(open_stores(), "memory://b/x")
    return bench(stores, limits=LIMITS), stores


def send(at_work: Bench, path: Path, sent: SentFiles | None = None) -> Receipt:
    (receipt,) = at_work.transfer.send([SendSpec(path, "memory://b/out")], at_work.cancel, sent=sent)
    return receipt


def fetch(at_work: Bench, root: Path, journal: FetchJournal) -> Receipt:
    (receipt,) = at_work.transfer.fetch([FetchSpec("memory://b/big", "in")], root, at_work.cancel, journal=journal)
    return receipt


# --- uploads ----------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 10**12), st.integers(1, 10**8), st.integers(1, 10_000))
def test_parts_of_an_upload_cover_the_file_with_no_small_one_but_the_last(size: int, part: int, most: int) -> None:
    if size // part > 20_000 and most > 9_000:
        part = size // 9_000
    bounds = upload_bounds(size, part, most)
    assert bounds[0][0] == 0
    assert bounds[-1][1] == size
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(bounds))
    assert all(end - start >= part for start, end in bounds[:-1])
    assert len(bounds) <= most


def test_parts_that_are_there_are_not_sent_again(tmp_path: Path) -> None:
    at_work, stores = scripted()
    path = tmp_path / "out"
    path.write_bytes(BIG)
    upload = stores.store.inner.multipart("out")
    for number in (1, 3):
        upload.put_part(number, BytesSource(BIG), (number - 1) * 4 * MIB, number * 4 * MIB)
    send(at_work, path)
    assert stores.store.calls["put"] == 4
    assert at_work.log.named("send.continued")[0].fields["had_bytes"] == 8 * MIB
    assert at_work.transfer.read("memory://b/out", at_work.cancel) == BIG
    assert list(stores.store.pending_uploads("")) == []


def test_parts_of_other_content_are_sent_again_and_second_uploads_are_ended(tmp_path: Path) -> None:
    at_work, stores = scripted()
    path = tmp_path / "out"
    path.write_bytes(BIG)
    for _ in range(2):
        stores.store.inner.multipart("out").put_part(1, BytesSource(bytes(4 * MIB)), 0, 4 * MIB)
    send(at_work, path)
    assert stores.store.calls["put"] == 6
    assert at_work.transfer.read("memory://b/out", at_work.cancel) == BIG
    assert list(stores.store.pending_uploads("")) == []


def test_an_upload_that_the_store_refuses_for_good_leaves_no_parts(tmp_path: Path) -> None:
    at_work, stores = scripted()
    path = tmp_path / "out"
    path.write_bytes(BIG)

    def refuse(_key: str, number: int) -> None:
        if number == 2:
            raise AccessDenied("the store says no")

    stores.store.on_put = refuse
    with pytest.raises(AccessDenied):
        send(at_work, path)
    assert list(stores.store.pending_uploads("")) == []


def test_uploads_of_what_is_not_wanted_are_ended_and_others_left_alone() -> None:
    at_work, stores = scripted()
    for key in ("raw/a", "raw/a/b/c", "raw/ab", "other/a"):
        stores.store.inner.multipart(key)
    assert at_work.transfer.abort_leftovers(["memory://b/raw/a"], at_work.cancel) == 2
    assert sorted(key for key, _ in stores.store.pending_uploads("")) == ["other/a", "raw/ab"]


# --- files that were sent before ----------------------------------------------------------------------------------------------


def test_a_file_that_is_noted_and_unchanged_does_not_move_again(tmp_path: Path) -> None:
    at_work, stores = scripted()
    path = tmp_path / "out"
    path.write_bytes(b"content")
    with SentFiles(tmp_path / "sent") as sent:
        first = send(at_work, path, sent)
    with SentFiles(tmp_path / "sent") as sent:
        assert send(at_work, path, sent) == first
    assert stores.store.calls["put"] == 1


@pytest.mark.parametrize("how", ["other bytes, same size and time", "other time", "object replaced", "object gone"])
def test_a_note_that_does_not_hold_any_more_is_not_believed(tmp_path: Path, how: str) -> None:
    at_work, stores = scripted()
    path = tmp_path / "out"
    path.write_bytes(b"content")
    inner = stores.store.inner
    assert isinstance(inner, MemoryStore)
    with SentFiles() as sent:
        send(at_work, path, sent)
        facts = path.stat()
        if how == "other time":
            os.utime(path, ns=(1, 1))
        elif how == "object replaced":
            inner.put("out", BytesSource(b"CONTENT"))
        elif how == "object gone":
            inner.remove("out")
        else:
            path.write_bytes(b"CONTENT")
            os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        send(at_work, path, sent)
    assert stores.store.calls["put"] == 2
    assert at_work.transfer.read("memory://b/out", at_work.cancel) == path.read_bytes()


def test_notes_that_were_cut_off_are_no_notes(tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(b'["memory://b/out",7,1,"crc32c:00000000","e",""]\n["memory://b/x",7,\n{}\n[]\nnull\n')
    with SentFiles(tmp_path / "sent") as sent:
        assert sent.find("memory://b/out", 7, 1) is not None
        assert len(sent) == 1


# --- fetches ---------------------------------------------------------------------------------------------------


def half_fetched(tmp_path: Path, stores: ScriptedStores, *, damage: bool = False) -> None:
    """What a killed process leaves: the first range whole, half of the third, and notes of both."""
    (tmp_path / "root").mkdir()
    from copilot.engine import digest  # noqa: PLC0415 - the test's own tool
    from copilot.engine.ranged import part_bounds  # noqa: PLC0415 - as above

    info = stores.store.inner.head("big")
    etag = (info.etag or "").strip('"')
    bounds = part_bounds(len(BIG), LIMITS.part_bytes)
    with FetchJournal(tmp_path / "journal") as journal:
        notes = journal.parts("in", Identity("memory://b/big", etag, "", len(BIG), bounds[0][1]))
        content = bytearray(len(BIG))
        for start, end in (bounds[0], (bounds[2][0], bounds[2][0] + 2 * MIB)):
            content[start:end] = BIG[start:end]
            notes.note(start, PartNote(end, digest.extend(0, BIG[start:end])))
        if damage:
            content[17] ^= 1
        with open(notes.data, "wb") as file:  # noqa: PTH123 - a string
            file.write(content)
        notes.close()


def test_ranges_that_are_there_are_not_asked_for_again(tmp_path: Path) -> None:
    at_work, stores = scripted()
    stores.store.inner.put("big", BytesSource(BIG))
    half_fetched(tmp_path, stores)
    with FetchJournal(tmp_path / "journal") as journal:
        receipt = fetch(at_work, tmp_path / "root", journal)
    assert (tmp_path / "root" / "in").read_bytes() == BIG
    first_end = -(-len(BIG) // 6)
    assert (0, first_end) not in stores.store.ranges
    assert (2 * first_end + 2 * MIB, 3 * first_end) in stores.store.ranges
    assert receipt.size_bytes == len(BIG)
    assert sorted(path.name for path in (tmp_path / "journal").iterdir()) == ["done"]


def test_a_range_that_is_not_what_was_noted_is_fetched_again(tmp_path: Path) -> None:
    at_work, stores = scripted()
    stores.store.inner.put("big", BytesSource(BIG))
    half_fetched(tmp_path, stores, damage=True)
    with FetchJournal(tmp_path / "journal") as journal:
        fetch(at_work, tmp_path / "root", journal)
    assert (tmp_path / "root" / "in").read_bytes() == BIG
    assert (0, -(-len(BIG) // 6)) in stores.store.ranges


def test_ranges_of_another_content_begin_again(tmp_path: Path) -> None:
    at_work, stores = scripted()
    stores.store.inner.put("big", BytesSource(bytes(len(BIG))))
    half_fetched(tmp_path, stores)
    stores.store.inner.put("big", BytesSource(BIG))
    with FetchJournal(tmp_path / "journal") as journal:
        fetch(at_work, tmp_path / "root", journal)
    assert (tmp_path / "root" / "in").read_bytes() == BIG
    assert not at_work.log.named("fetch.continued")


def test_a_whole_file_of_an_earlier_run_moves_to_the_new_one_if_its_object_is_the_same(tmp_path: Path) -> None:
    at_work, stores = scripted()
    stores.store.inner.put("big", BytesSource(b"small"))
    for number in (1, 2):
        (tmp_path / f"root-{number}").mkdir()
    with FetchJournal(tmp_path / "journal") as journal:
        first = fetch(at_work, tmp_path / "root-1", journal)
    with FetchJournal(tmp_path / "journal", [tmp_path / "root-1"]) as journal:
        assert fetch(at_work, tmp_path / "root-2", journal) == first
    assert stores.store.calls["get"] == 1
    stores.store.inner.put("big", BytesSource(b"other"))
    (tmp_path / "root-3").mkdir()
    with FetchJournal(tmp_path / "journal", [tmp_path / "root-2"]) as journal:
        fetch(at_work, tmp_path / "root-3", journal)
    assert (tmp_path / "root-3" / "in").read_bytes() == b"other"


def test_a_journal_that_is_rubbish_is_no_journal(tmp_path: Path) -> None:
    at_work, stores = scripted()
    stores.store.inner.put("big", BytesSource(BIG))
    half_fetched(tmp_path, stores)
    for path in (tmp_path / "journal").glob("*.parts"):
        path.write_bytes(path.read_bytes() + b'[0,"x"]\n')
    (tmp_path / "journal" / "done").write_bytes(b'{"uri": 1}\n\xff\n' + json.dumps({"path": "in"}).encode())
    with FetchJournal(tmp_path / "journal", [tmp_path / "nowhere"]) as journal:
        fetch(at_work, tmp_path / "root", journal)
    assert (tmp_path / "root" / "in").read_bytes() == BIG


# --- etags and time --------------------------------------------------------------------------------------------


def test_an_etag_over_parts_names_the_lengths_that_fit() -> None:
    store = MemoryStore()
    store.put("x", BytesSource(b""))
    from copilot.core.ports import ObjectInfo  # noqa: PLC0415 - only here

    md5 = hashlib.md5(b"", usedforsecurity=False).hexdigest()
    trust = EtagTrust()
    assert trust.claim_of(store, ObjectInfo("x", 24 * MIB, f'"{md5}-3"')) == Claim(md5, (8 * MIB, 10 * MIB))
    assert trust.claim_of(store, ObjectInfo("x", 24 * MIB, f'"{md5}-1"')) == Claim(md5, (24 * MIB,))
    assert trust.claim_of(store, ObjectInfo("x", 24 * MIB, f'"{md5}"')) == Claim(md5)
    assert trust.claim_of(store, ObjectInfo("x", 24 * MIB, f'"{md5}-7"')) is None
    assert trust.claim_of(store, ObjectInfo("x", 24 * MIB, '"opaque"')) is None


def test_a_forecast_says_whether_the_grace_period_suffices() -> None:
    assert Forecast(30, 0, None).enough is True
    assert Forecast(30, 10, None).enough is None
    assert Forecast(30, 280 * MIB, 10.0 * MIB).enough is True
    assert Forecast(30, 290 * MIB, 10.0 * MIB).enough is False
    rate = Rate()
    assert rate.bytes_per_s is None
    rate.add(10 * MIB, 2.0)
    rate.add(0, 0.0)
    assert rate.bytes_per_s == 5 * MIB
