"""Digests over bytes that come in pieces, in ranges and over two processes."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.core.ports import ContentFacts, ObjectInfo
from copilot.core.values import FetchSpec
from copilot.engine import digest
from copilot.engine.behind import Behind
from copilot.engine.budget import MIB, Limits
from copilot.engine.cancel import Token
from copilot.engine.claims import Claim, EtagTrust, Hashing, even_parts
from copilot.engine.clock import SystemClock
from copilot.engine.crew import Beat, Crew
from copilot.engine.journal import MOST_REPEATED_BYTES, FetchJournal, Identity, PartNote, note_every_bytes
from copilot.engine.ranged import part_bounds
from copilot.engine.retry import Retrier, RetryPolicy
from copilot.stores.memory import MemoryStore
from copilot.stores.registry import open_stores
from copilot.testing.engine_bench import bench
from copilot.testing.recording import RecordingLog
from copilot.testing.scripted_store import ScriptedStores
from copilot.testing.servers.web import Page, web_server

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = os.urandom(8 * MIB + 3)


def md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def over_parts(data: bytes, step: int) -> tuple[str, int]:
    parts = [data[at : at + step] for at in range(0, len(data), step)] or [b""]
    return md5(b"".join(map(md5, parts))).hex(), len(parts)


@given(st.binary(max_size=200), st.integers(1, 60), st.integers(1, 60), st.integers(1, 70))
def test_a_digest_over_parts_is_right_however_the_bytes_are_cut(data: bytes, step: int, other: int, cut: int) -> None:
    wanted, parts = over_parts(data, step)
    hashing = Hashing(Claim(wanted, (other, step)))
    for at in range(0, len(data), cut):
        hashing.update(memoryview(data)[at : at + cut])
    assert hashing.fits()
    assert parts == even_parts(len(data), step)


@given(st.binary(min_size=1, max_size=200), st.integers(0, 60), st.data())
def test_one_other_byte_never_fits(data: bytes, step: int, draw: st.DataObject) -> None:
    wanted = over_parts(data, step)[0] if step else md5(data).hex()
    altered = bytearray(data)
    altered[draw.draw(st.integers(0, len(data) - 1))] ^= 1
    hashing = Hashing(Claim(wanted, (step,) if step else ()))
    hashing.update(memoryview(altered))
    assert not hashing.fits()


def test_what_a_store_says_when_it_is_asked_counts_only_if_it_can_be() -> None:
    trust, store = EtagTrust(), MemoryStore()
    info = ObjectInfo("x", 20 * MIB, f'"{"0" * 32}-3"')
    assert trust.claim_by(store, info, ContentFacts(part_bytes=7 * MIB)) == Claim("0" * 32, (7 * MIB,))
    assert trust.claim_by(store, info, ContentFacts(part_bytes=20 * MIB)) is None
    assert trust.claim_by(store, info, ContentFacts()) is None
    assert trust.claim_by(store, info, ContentFacts(crc32c=5, md5_hex="AB")) == Claim(crc32c=5, sure=True)
    assert trust.claim_by(store, ObjectInfo("x", 5, '"?"'), ContentFacts(md5_hex="AB")) == Claim("ab", sure=True)
    trust.doubt(store)
    assert trust.claim_by(store, info, ContentFacts(part_bytes=7 * MIB)) is None


@given(st.integers(1, 100_000))
def test_what_is_open_and_not_noted_is_never_more_than_a_part(workers: int) -> None:
    assert workers * note_every_bytes(workers) <= MOST_REPEATED_BYTES // 2


@dataclass
class Range:
    start: int
    end: int
    offset: int


@pytest.mark.parametrize("flipped", [False, True])
def test_a_file_is_hashed_behind_ranges_that_fill_it_in_any_order(tmp_path: Path, *, flipped: bool) -> None:
    clock = SystemClock()
    log = RecordingLog()
    crew: Crew[int] = Crew(
        iter(()),
        limits=Limits(),
        heavy_slots=1,
        retrier=Retrier(RetryPolicy(), clock=clock, log=log),
        clock=clock,
        cancel=Token(clock),
        log=log,
    )
    ranges = [Range(start, end, start) for start, end in part_bounds(len(CONTENT), MIB)]
    left = threading.Event()
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        os.truncate(fd, len(CONTENT))
        behind = Behind(Claim(md5(CONTENT).hex()), fd, "file", ranges, wanted=lambda: True, left=left.set)
        behind.start()
        for one in reversed(ranges):
            data = bytearray(CONTENT[one.start : one.end])
            data[0] ^= flipped
            os.pwrite(fd, data, one.start)
            one.offset = one.end
            behind.nudge()
        assert behind.fits(Beat(crew, clock)) is not flipped
        assert left.wait(60)
    finally:
        os.close(fd)


def test_a_hashing_that_nobody_waits_for_ends(tmp_path: Path) -> None:
    left = threading.Event()
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    Behind(Claim("0" * 32), fd, "file", [Range(0, 10, 0)], wanted=lambda: False, left=left.set).start()
    assert left.wait(60)
    os.close(fd)


def test_a_second_reading_is_gone_on_with_where_it_was(tmp_path: Path) -> None:
    with web_server() as server:
        server.pages["/big"] = Page(CONTENT, etag='"v1"')
        uri = f"{server.url}/big"
        stores = ScriptedStores(open_stores(), uri)
        at_work = bench(stores, limits=Limits(max_workers=2, part_bytes=8 * MIB), clock=SystemClock())
        (_, first_end), (start, end) = part_bounds(len(CONTENT), 8 * MIB)
        (tmp_path / "root").mkdir()
        with FetchJournal(tmp_path / "journal") as journal:
            notes = journal.parts("in", Identity(uri, "v1", "", len(CONTENT), first_end))
            # The first range was read once, and half of it a second time; nothing of the second range.
            half = MIB
            again = PartNote(first_end, digest.extend(0, CONTENT[:first_end]), half, digest.extend(0, CONTENT[:half]))
            notes.note(0, again)
            with open(notes.data, "wb") as file:  # noqa: PTH123 - a string
                file.write(CONTENT[:first_end] + bytes(len(CONTENT) - first_end))
            notes.close()
        with FetchJournal(tmp_path / "journal") as journal:
            (receipt,) = at_work.transfer.fetch([FetchSpec(uri, "in")], tmp_path / "root", at_work.cancel, journal=journal)
    assert receipt.proof == "two readings"
    assert (tmp_path / "root" / "in").read_bytes() == CONTENT
    read = stores.store.ranges[1:]  # the first one asked what there is
    assert sorted(read, key=str) == sorted([(half, first_end), (start, end), (start, start + 1), (start + 1, end)], key=str)
