"""What every store must do, as tests. A store's own test class names the store and a way past it; see docs/adding-a-store.md.

::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self, my_server): ...        # the store under test
        @pytest.fixture
        def raw(self, my_server): ...          # the same bucket, by the vendor's own means: poke, peek, remove

What a *server* gets wrong stands on the class as data with its reason, and the test then asserts what that server does instead;
a test is never skipped for it. ``ReadContract`` is the half for stores that cannot be written.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import ClassVar

import pytest

from copilot.core.errors import (
    AlreadyExists,
    BadStoreRequest,
    BucketNotFound,
    ChecksumMismatch,
    LocalIOError,
    ObjectNotFound,
    ServerFault,
    Throttled,
    Unsupported,
)
from copilot.core.ports import Checksum, ObjectInfo, Retracts, Store
from copilot.stores.sources import BytesSource, new_digest
from copilot.testing.store_read_contract import (
    BIG,
    ODD_NAMES,
    BrokenSource,
    Raw,
    ReadContract,
    ShortSource,
    content,
    read,
)

__all__ = ["BIG", "ODD_NAMES", "BrokenSource", "Raw", "ReadContract", "ShortSource", "StoreContract", "content", "read"]


class StoreContract(ReadContract):
    """What every store must do.

    Attributes:
        has_buckets: False where there is nothing like a missing bucket; else the fixture ``nowhere`` opens one.
        folds_double_slash: why ``a//b`` is another name for ``a/b`` on this server, or empty.
        never_ends_uploads: why an unfinished upload stays until the store itself forgets it, or empty.
        cuts_hash: why a directory whose name ends at ``#`` is refused through this client, or empty.
    """

    has_buckets: ClassVar[bool] = True
    folds_double_slash: ClassVar[str] = ""
    cuts_hash: ClassVar[str] = ""
    never_ends_uploads: ClassVar[str] = ""

    def test_what_is_put_is_there(self, store: Store, raw: Raw, place: str) -> None:
        """Seen by the vendor's own client."""
        data = content(100_000)
        info = store.put(f"{place}a", BytesSource(data))
        assert raw.peek(f"{place}a") == data
        assert (info.key, info.size_bytes) == (f"{place}a", len(data))
        assert info.etag in {None, store.head(f"{place}a").etag}

    def test_an_empty_object_is_put(self, store: Store, raw: Raw, place: str) -> None:
        """It exists and is empty."""
        store.put(f"{place}empty", BytesSource(b""))
        assert raw.peek(f"{place}empty") == b""
        assert [(info.key, info.size_bytes) for info in store.list(place)] == [(f"{place}empty", 0)]

    def test_a_big_object_is_put_in_bounded_memory(self, store: Store, raw: Raw, place: str) -> None:
        """In as many parts as it takes, and in order."""
        data = content(BIG)
        store.put(f"{place}big", BytesSource(data))
        found = raw.peek(f"{place}big")
        assert found is not None
        assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest()

    def test_put_replaces(self, store: Store, raw: Raw, place: str) -> None:
        """A shorter object leaves nothing of a longer one; the tag is another."""
        store.put(f"{place}a", BytesSource(b"the first content"))
        before = store.head(f"{place}a").etag
        store.put(f"{place}a", BytesSource(b"second"))
        assert raw.peek(f"{place}a") == b"second"
        assert store.head(f"{place}a").etag != before

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names_are_written_and_listed_verbatim(self, store: Store, raw: Raw, place: str, name: str) -> None:
        """As a file, and as a directory."""
        store.put(f"{place}{name}", BytesSource(b"file"))
        store.put(f"{place}d/{name}/x", BytesSource(b"below"))
        assert raw.peek(f"{place}{name}") == b"file"
        assert raw.peek(f"{place}d/{name}/x") == b"below"
        assert [info.key for info in store.list(f"{place}d/{name}")] == [f"{place}d/{name}/x"]
        assert sorted(info.key for info in store.list(place)) == sorted([f"{place}{name}", f"{place}d/{name}/x"])

    def test_an_empty_segment_is_part_of_a_name(self, store: Store, raw: Raw, place: str) -> None:
        """``a//b`` is an object of its own, or the server folds it."""
        store.put(f"{place}a//b", BytesSource(b"two"))
        assert read(store, f"{place}a//b") == b"two"
        if self.folds_double_slash:
            assert raw.peek(f"{place}a/b") == b"two"
        else:
            assert raw.peek(f"{place}a//b") == b"two"

    def test_a_listing_ends_at_the_slash(self, store: Store, raw: Raw, place: str) -> None:
        """``a`` never holds ``ab/c``, nor ``a`` itself."""
        for key in ("a/1", "a/b/2", "ab/3", "a.txt", "a-b", "b/a/4"):
            raw.poke(f"{place}{key}", b"x")
        expected = [f"{place}a/1", f"{place}a/b/2"]
        assert sorted(info.key for info in store.list(f"{place}a")) == expected
        assert sorted(info.key for info in store.list(f"{place}a/")) == expected

    def test_an_object_is_no_directory_of_itself(self, store: Store, raw: Raw, place: str) -> None:
        """Listing below a file's name gives nothing."""
        raw.poke(f"{place}file", b"x")
        assert list(store.list(f"{place}file")) == []

    def test_a_listing_of_nothing_is_empty(self, store: Store, place: str) -> None:
        """And no error."""
        assert list(store.list(f"{place}nothing/here")) == []

    def test_a_listing_says_sizes_and_tags_that_pin(self, store: Store, raw: Raw, place: str) -> None:
        """What it says of an object is what ``head`` says."""
        raw.poke(f"{place}a", b"12345")
        (info,) = store.list(place)
        assert info.size_bytes == 5
        if info.etag is not None:
            assert read(store, f"{place}a", if_match=info.etag) == b"12345"

    def test_more_than_a_page_is_listed_lazily(self, store: Store, place: str) -> None:
        """Each key once; the first is there before the last was asked for."""
        names = {f"{place}{number % 7}/{number:05}" for number in range(1_203)}
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: store.put(name, BytesSource(b"")), names))
        found = [info.key for info in store.list(place)]
        assert len(found) == len(names)
        assert set(found) == names
        listing = store.list(place)
        assert len(list(islice(listing, 3))) == 3

    def test_a_directory_marker_is_listed_as_one(self, store: Store, place: str) -> None:
        """``x/`` of size 0, beside files and other empty objects."""
        store.put(f"{place}dir/", BytesSource(b""))
        store.put(f"{place}sub/deep dir/", BytesSource(b""))
        store.put(f"{place}file", BytesSource(b""))
        found = {info.key: info.size_bytes for info in store.list(place)}
        assert found == {f"{place}dir/": 0, f"{place}sub/deep dir/": 0, f"{place}file": 0}

    def test_a_directory_whose_name_ends_at_a_hash_is_never_left_out(self, store: Store, raw: Raw, place: str) -> None:
        """Or the listing fails aloud."""
        raw.poke(f"{place}dir#/x", b"x")
        if self.cuts_hash:
            with pytest.raises(BadStoreRequest):
                list(store.list(place))
        else:
            assert [info.key for info in store.list(place)] == [f"{place}dir#/x"]

    def test_a_directory_marker_is_listed_below_itself(self, store: Store, place: str) -> None:
        """So that an empty directory can be told from none."""
        store.put(f"{place}dir/", BytesSource(b""))
        assert [(info.key, info.size_bytes) for info in store.list(f"{place}dir")] == [(f"{place}dir/", 0)]

    def test_if_absent_writes_once(self, store: Store, raw: Raw, place: str) -> None:
        """The second writer hears of it, and changes nothing."""
        if not store.capabilities.if_absent:
            with pytest.raises(Unsupported):
                store.put(f"{place}once", BytesSource(b"first"), if_absent=True)
            assert raw.peek(f"{place}once") is None
            return
        store.put(f"{place}once", BytesSource(b"first"), if_absent=True)
        with pytest.raises(AlreadyExists):
            store.put(f"{place}once", BytesSource(b"second"), if_absent=True)
        assert raw.peek(f"{place}once") == b"first"

    def test_of_many_writers_with_if_absent_one_wins(self, store: Store, raw: Raw, place: str) -> None:
        """Atomically."""
        if not store.capabilities.if_absent:
            return

        def write(number: int) -> ObjectInfo | None:
            try:
                return store.put(f"{place}once", BytesSource(b"%d" % number), if_absent=True)
            except (AlreadyExists, ServerFault, Throttled):  # a server may also answer "try again"
                return None

        with ThreadPoolExecutor(8) as pool:
            winners = [number for number, info in enumerate(pool.map(write, range(8))) if info is not None]
        assert len(winners) == 1
        assert raw.peek(f"{place}once") == b"%d" % winners[0]

    @pytest.mark.parametrize("size", [1000, BIG])
    def test_a_source_that_fails_midway_leaves_nothing(self, store: Store, raw: Raw, place: str, size: int) -> None:
        """The source's own error comes out."""
        with pytest.raises(LocalIOError):
            store.put(f"{place}a", BrokenSource(size, size // 2))
        assert raw.peek(f"{place}a") is None
        assert list(store.list(place)) == []
        if not self.never_ends_uploads:  # there a part that had arrived stays, now and then one has
            assert list(store.pending_uploads(place)) == []

    @pytest.mark.parametrize("size", [1000, BIG])
    def test_a_source_that_fails_midway_keeps_what_was_there(self, store: Store, raw: Raw, place: str, size: int) -> None:
        """All or nothing."""
        raw.poke(f"{place}a", b"before")
        with pytest.raises(LocalIOError):
            store.put(f"{place}a", BrokenSource(size, size // 2))
        assert raw.peek(f"{place}a") == b"before"

    @pytest.mark.parametrize("size", [1000, BIG])
    def test_a_source_that_ends_too_soon_leaves_nothing(self, store: Store, raw: Raw, place: str, size: int) -> None:
        """A truncated file is never published as the whole."""
        with pytest.raises(LocalIOError):
            store.put(f"{place}a", ShortSource(size, size - 1))
        assert raw.peek(f"{place}a") is None

    @pytest.mark.parametrize("algorithm", ["md5", "sha256", "crc32c"])
    @pytest.mark.parametrize("size", [1000, BIG])
    def test_a_wrong_checksum_leaves_nothing(self, store: Store, raw: Raw, place: str, algorithm: str, size: int) -> None:
        """Neither small nor big."""
        digest = new_digest(algorithm)
        digest.update(b"something else")
        with pytest.raises(ChecksumMismatch):
            store.put(f"{place}a", BytesSource(content(size)), checksum=Checksum(algorithm, digest.digest()))
        assert raw.peek(f"{place}a") is None

    @pytest.mark.parametrize("algorithm", ["md5", "sha256", "crc32c"])
    def test_a_right_checksum_is_accepted(self, store: Store, raw: Raw, place: str, algorithm: str) -> None:
        """And the object is there."""
        digest = new_digest(algorithm)
        digest.update(b"content")
        store.put(f"{place}a", BytesSource(b"content"), checksum=Checksum(algorithm, digest.digest()))
        assert raw.peek(f"{place}a") == b"content"

    def test_a_document_that_is_taken_back_is_gone_and_its_neighbours_are_not(self, store: Store, raw: Raw, place: str) -> None:
        assert isinstance(store, Retracts)
        for name in ("error.pb", "error.pb2", "outputs.pb"):
            raw.poke(f"{place}{name}", b"x")
        store.retract(f"{place}error.pb")
        assert raw.peek(f"{place}error.pb") is None
        with pytest.raises(ObjectNotFound):
            store.head(f"{place}error.pb")
        assert (raw.peek(f"{place}error.pb2"), raw.peek(f"{place}outputs.pb")) == (b"x", b"x")
        store.retract(f"{place}error.pb")

    def test_a_missing_bucket_is_called_so(self, nowhere: Store, place: str) -> None:
        """By every request: it is the first mistake people make."""
        if not self.has_buckets:
            return
        for ask in (
            lambda: nowhere.head(f"{place}a"),
            lambda: read(nowhere, f"{place}a"),
            lambda: list(nowhere.list(place)),
            lambda: nowhere.put(f"{place}a", BytesSource(b"x")),
        ):
            with pytest.raises(BucketNotFound) as caught:
                ask()
            assert caught.value.hint

    @pytest.fixture
    def nowhere(self, store: Store) -> Store:
        """A store whose bucket does not exist; the store itself where there are no buckets."""
        return store

    def test_a_multipart_upload_is_gone_on_with(self, store: Store, raw: Raw, place: str) -> None:
        """By anybody who has its id; or there is none to be had."""
        step = store.capabilities.min_part_bytes
        if step is None:
            with pytest.raises(Unsupported):
                store.multipart(f"{place}a")
            return
        data = content(2 * step + 10)
        source = BytesSource(data)
        first = store.multipart(f"{place}a")
        first.put_part(1, source, 0, step)
        assert (f"{place}a", first.upload_id) in list(store.pending_uploads(place))
        second = store.multipart(f"{place}a", first.upload_id)
        assert [part.number for part in second.parts()] == [1]
        second.put_part(2, source, step, 2 * step)
        second.put_part(3, source, 2 * step, len(data))
        assert raw.peek(f"{place}a") is None
        second.complete(second.parts())
        assert raw.peek(f"{place}a") == data
        assert list(store.pending_uploads(place)) == []
        first.abort()
        with pytest.raises(ObjectNotFound):
            first.parts()

    def test_an_upload_that_is_ended_is_gone_and_other_names_do_not_see_it(self, store: Store, raw: Raw, place: str) -> None:
        """Also for names that need encoding; where a store cannot end uploads it says so in ``never_ends_uploads``."""
        step = store.capabilities.min_part_bytes
        if step is None:
            assert list(store.pending_uploads(place)) == []
            return
        key = f"{place}d/a b+\u00fc%41&c"
        upload = store.multipart(key)
        part = upload.put_part(1, BytesSource(content(step)), 0, step)
        assert [(part.number, part.size_bytes) for part in upload.parts()] == [(1, step)]
        assert part.receipt == hashlib.md5(content(step), usedforsecurity=False).hexdigest()
        assert [found for found, _ in store.pending_uploads(f"{place}d")] == [key]
        assert list(store.pending_uploads(f"{place}other")) == []
        upload.abort()
        upload.abort()
        if not self.never_ends_uploads:
            assert list(store.pending_uploads(place)) == []
            with pytest.raises(ObjectNotFound):
                upload.parts()
        assert raw.peek(key) is None
