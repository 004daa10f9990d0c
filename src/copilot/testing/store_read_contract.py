"""The half of the store contract that a store which cannot be written keeps as well; see ``store_contract``."""

from __future__ import annotations

import hashlib
import random
import secrets
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import pytest

from copilot.core.errors import (
    BadStoreRequest,
    LocalIOError,
    ObjectChanged,
    ObjectNotFound,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from copilot.core.ports import Store

ODD_NAMES = (
    "plain.txt",
    "with space",
    "hash#mark",
    "question?mark=1&b=2",
    "per%cent",
    "encoded%20already%2F",
    "plus+and:colon",
    "back'tick`quote\"",
    "semi;comma,equals=at@dollar$",
    "star*tilde~paren()",
    "brackets[0]{1}",
    "ünïcode-ß-日本語-🚀",
    "e\u0301 and \u00e9",
    ".hidden",
    "dots..in..the..middle",
    "-dash",
)
MIB = 1024 * 1024
BIG = 20 * MIB + 12345
MAX_CHUNK = 8 * MIB


class Raw(Protocol):
    """The bucket past the store under test."""

    def poke(self, key: str, data: bytes) -> None:
        """Writes or replaces an object."""

    def peek(self, key: str) -> bytes | None:
        """An object's bytes, or None."""

    def remove(self, key: str) -> None:
        """Deletes an object."""


class SourceBroke(Exception):
    """What a failing source of these tests raises."""


class BrokenSource:
    """Promises ``size_bytes`` and raises after ``good`` of them."""

    def __init__(self, size_bytes: int, good: int) -> None:
        self._size = size_bytes
        self._good = good

    @property
    def size_bytes(self) -> int:
        """What it promises."""
        return self._size

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Some of it, then the error."""
        for at in range(start, min(end, self._good), MIB):
            yield b"x" * (min(at + MIB, self._good) - at)
        msg = "the source broke"
        raise LocalIOError(msg) from SourceBroke()


class ShortSource(BrokenSource):
    """Promises ``size_bytes`` and ends after ``good``, as a file does that was truncated."""

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Some of it, and no more."""
        for at in range(start, min(end, self._good), MIB):
            yield b"x" * (min(at + MIB, self._good) - at)


def content(size: int) -> bytes:
    """Bytes that differ at every offset a range could be wrong by."""
    return random.Random(size).randbytes(size)  # noqa: S311 - test data, the same each time


def read(store: Store, key: str, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
    """The whole of a range."""
    with store.get(key, start=start, end=end, if_match=if_match) as stream:
        return b"".join(bytes(chunk) for chunk in stream)


class ReadContract:
    """What a store that is only read must do."""

    @pytest.fixture
    def place(self) -> str:
        """A directory of this test's own, with its ``/``."""
        return f"t-{secrets.token_hex(5)}/"

    def test_an_object_is_read_whole(self, store: Store, raw: Raw, place: str) -> None:
        """Size and bytes as they are."""
        data = content(100_000)
        raw.poke(f"{place}a", data)
        assert read(store, f"{place}a") == data
        info = store.head(f"{place}a")
        assert (info.key, info.size_bytes) == (f"{place}a", len(data))

    def test_head_and_get_agree_on_the_object(self, store: Store, raw: Raw, place: str) -> None:
        """The same size, and the same tag to pin it by, if there is one."""
        raw.poke(f"{place}a", b"content")
        info = store.head(f"{place}a")
        with store.get(f"{place}a") as stream:
            assert (stream.info.size_bytes, stream.info.etag) == (info.size_bytes, info.etag)
        with store.get(f"{place}a", start=2, end=4) as stream:
            assert (stream.info.size_bytes, stream.info.etag) == (info.size_bytes, info.etag)

    def test_an_empty_object_is_read(self, store: Store, raw: Raw, place: str) -> None:
        """No bytes, and no error."""
        raw.poke(f"{place}empty", b"")
        assert read(store, f"{place}empty") == b""
        assert store.head(f"{place}empty").size_bytes == 0

    @pytest.mark.parametrize(
        ("start", "end"), [(0, 1), (0, 10), (3, 7), (9, 10), (5, None), (0, None), (7, 100), (0, 0), (4, 4)]
    )
    def test_a_range_is_exactly_that_range(self, store: Store, raw: Raw, place: str, start: int, end: int | None) -> None:
        """Start included, end excluded, cut at the object's end."""
        raw.poke(f"{place}digits", b"0123456789")
        assert read(store, f"{place}digits", start, end) == b"0123456789"[start:end]

    def test_a_range_behind_the_end_is_refused(self, store: Store, raw: Raw, place: str) -> None:
        """Never an empty success: somebody believes there is more than there is."""
        raw.poke(f"{place}digits", b"0123456789")
        with pytest.raises(BadStoreRequest):
            read(store, f"{place}digits", 10, 12)

    def test_ranges_of_a_big_object_meet(self, store: Store, raw: Raw, place: str) -> None:
        """Odd borders on both sides of every buffer's size."""
        data = content(3 * MIB + 17)
        raw.poke(f"{place}big", data)
        borders = [0, 1, 65_535, 65_537, MIB - 1, 2 * MIB + 3, len(data)]
        parts = [read(store, f"{place}big", a, b) for a, b in pairwise(borders)]
        assert b"".join(parts) == data

    def test_chunks_are_bounded(self, store: Store, raw: Raw, place: str) -> None:
        """However big the object, no chunk is."""
        data = content(BIG)
        raw.poke(f"{place}big", data)
        digest, longest = hashlib.sha256(), 0
        with store.get(f"{place}big") as stream:
            for chunk in stream:
                longest = max(longest, len(chunk))
                digest.update(chunk)
        assert digest.digest() == hashlib.sha256(data).digest()
        assert longest <= MAX_CHUNK

    def test_a_missing_object_is_not_found(self, store: Store, place: str) -> None:
        """By ``head`` and by ``get``, with its name in the sentence."""
        for ask in (store.head, lambda key: read(store, key), lambda key: read(store, key, 3, 5)):
            with pytest.raises(ObjectNotFound) as caught:
                ask(f"{place}missing")
            assert "missing" in caught.value.sentence()

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names_are_read_verbatim(self, store: Store, raw: Raw, place: str, name: str) -> None:
        """Nothing is decoded, encoded, cut or normalised."""
        raw.poke(f"{place}{name}", name.encode())
        assert read(store, f"{place}{name}") == name.encode()
        assert store.head(f"{place}{name}").key == f"{place}{name}"

    def test_a_pinned_read_reads_that_content(self, store: Store, raw: Raw, place: str) -> None:
        """With the tag ``head`` gave."""
        raw.poke(f"{place}a", b"0123456789")
        tag = store.head(f"{place}a").etag
        assert tag is not None
        assert read(store, f"{place}a", 2, 5, if_match=tag) == b"234"

    def test_a_pinned_read_of_a_replaced_object_is_noticed(self, store: Store, raw: Raw, place: str) -> None:
        """Also if the new content has the old one's size."""
        raw.poke(f"{place}a", b"0123456789")
        tag = store.head(f"{place}a").etag
        raw.poke(f"{place}a", b"9876543210")
        for end in (5, 2):
            with pytest.raises(ObjectChanged):
                read(store, f"{place}a", 2, end, if_match=tag)

    def test_an_object_that_vanishes_is_not_found(self, store: Store, raw: Raw, place: str) -> None:
        """It was there for ``head``."""
        raw.poke(f"{place}a", b"here")
        tag = store.head(f"{place}a").etag
        raw.remove(f"{place}a")
        with pytest.raises((ObjectNotFound, ObjectChanged)):
            read(store, f"{place}a", if_match=tag)

    def test_an_object_replaced_while_it_is_read_is_never_mixed(self, store: Store, raw: Raw, place: str) -> None:
        """The old bytes, or an error that makes the engine start again."""
        old, new = b"o" * BIG, b"n" * BIG
        raw.poke(f"{place}big", old)
        stream = store.get(f"{place}big")
        chunks = iter(stream)
        seen = hashlib.sha256(next(chunks))
        raw.poke(f"{place}big", new)
        noticed: StoreError | None = None
        try:
            for chunk in chunks:
                seen.update(chunk)
        except StoreError as error:
            noticed = error
        finally:
            stream.close()
        assert noticed.transient if noticed else seen.digest() == hashlib.sha256(old).digest()

    def test_a_stream_may_be_left_early(self, store: Store, raw: Raw, place: str) -> None:
        """Many times over: connections are given back, not used up."""
        raw.poke(f"{place}big", content(2 * MIB))
        for _ in range(20):
            with store.get(f"{place}big") as stream:
                next(iter(stream))
        assert read(store, f"{place}big", 0, 3) == content(2 * MIB)[:3]

    def test_many_threads_share_a_store(self, store: Store, raw: Raw, place: str) -> None:
        """And nobody gets another's bytes."""
        names = [f"{place}{number}" for number in range(16)]
        for name in names:
            raw.poke(name, name.encode() * 1000)
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda name: read(store, name), names * 4)) == [name.encode() * 1000 for name in names * 4]
