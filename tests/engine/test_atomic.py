from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import pytest

from copilot.core.errors import DiskFull, InternalError, LocalIOError, ReadOnlyPath, Truncated, UnsafePath
from copilot.core.values import FetchSpec, Receipt, SendSpec
from copilot.engine import atomic
from copilot.engine.verify import Manifest, verify


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EROFS, ReadOnlyPath),
        (errno.EACCES, ReadOnlyPath),
        (errno.EIO, LocalIOError),
        (errno.ESTALE, LocalIOError),
    ],
)
def test_the_errno_decides_the_error_and_the_path_is_named(code: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="/some/where"), atomic.local_errors("/some/where"):
        raise OSError(code, "whatever the text says")


def test_a_refused_read_is_no_read_only_path() -> None:
    with pytest.raises(LocalIOError, match="read"), atomic.local_errors("/some/where", op="read"):
        raise OSError(errno.EACCES, "")


def test_a_written_file_is_whole_under_its_name_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    atomic.write_file(path, b"after")
    assert path.read_bytes() == b"after"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_cannot_take_its_place_leaves_no_temporary_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(LocalIOError):
        atomic.write_file(tmp_path / "taken", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_published_directory_appears_whole(tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    (staged / "sub").mkdir(parents=True)
    (staged / "sub/file").write_text("x")
    atomic.publish_directory(staged, tmp_path / "final")
    assert (tmp_path / "final/sub/file").read_text() == "x"
    assert not staged.exists()


def test_a_file_moves_into_a_directory_that_is_not_there_yet_but_never_over_one(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    atomic.move_into_place(str(tmp_path / "one"), str(tmp_path / "a/b/c"))
    assert (tmp_path / "a/b/c").read_text() == "1"
    (tmp_path / "two").write_text("2")
    with pytest.raises(UnsafePath, match="a file and a directory"):
        atomic.move_into_place(str(tmp_path / "two"), str(tmp_path / "a/b"))
    with pytest.raises(UnsafePath, match="a file and a directory"):
        atomic.move_into_place(str(tmp_path / "two"), str(tmp_path / "a/b/c/d"))


def test_a_full_disk_shows_before_bytes_move(tmp_path: Path) -> None:
    disk = tmp_path / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)  # noqa: S607 - Debian's
    try:
        with (disk / "big").open("wb") as file, pytest.raises(DiskFull), atomic.local_errors(disk / "big"):
            atomic.reserve(file.fileno(), 8 << 20)
        (disk / "big").unlink()
        with pytest.raises(DiskFull):
            atomic.write_file(disk / "big", bytes(2 << 20))
        assert [path.name for path in disk.iterdir()] == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)  # noqa: S607 - Debian's


# --- verify ----------------------------------------------------------------------------------------------------------

SPECS = [FetchSpec("s3://b/one", "one"), FetchSpec("s3://b/tree", "tree", tree=True)]
ONE = Receipt("s3://b/one", "one", 3, "crc32c:00000001")
LEAF = Receipt("s3://b/tree/x", "tree/x", 4, "crc32c:00000002")


def test_a_manifest_counts_and_its_digest_does_not_depend_on_the_order() -> None:
    seen: list[Receipt] = []
    manifest = verify(SPECS, iter([ONE, LEAF]), each=seen.append)
    assert (manifest.objects, manifest.size_bytes) == (2, 7)
    assert seen == [ONE, LEAF]
    assert verify(SPECS, [LEAF, ONE]) == manifest
    assert verify(SPECS, [LEAF, Receipt("s3://b/one", "one", 3, "crc32c:00000009")]).digest != manifest.digest


def test_what_was_planned_and_did_not_move_is_no_manifest() -> None:
    with pytest.raises(Truncated, match="s3://b/one"):
        verify(SPECS, [LEAF])


@pytest.mark.parametrize("receipts", [[ONE, ONE], [ONE, Receipt("s3://b/treehouse/x", "treehouse/x", 1)]])
def test_receipts_that_nobody_planned_are_refused(receipts: list[Receipt]) -> None:
    with pytest.raises(InternalError):
        verify(SPECS, receipts)


def test_a_tree_may_be_empty() -> None:
    assert verify([SendSpec(Path("/x"), "s3://b/tree", tree=True)], []).objects == 0


def test_nobody_else_makes_a_manifest() -> None:
    with pytest.raises(InternalError):
        Manifest(1, 1, "")


def test_a_staged_file_that_is_not_as_its_receipt_says_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("abc")
    assert verify(SPECS, [ONE], root=tmp_path).objects == 1
    (tmp_path / "one").write_text("ab")
    with pytest.raises(LocalIOError, match="3 bytes"):
        verify(SPECS, [ONE], root=tmp_path)
