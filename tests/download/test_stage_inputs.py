"""The whole of staging: what is there at the end, what is there after a failure, and a second run."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core import idl
from copilot.core.errors import (
    BadFlag,
    BadInputs,
    Cancelled,
    DiskFull,
    LocalIOError,
    NotEnoughSpace,
    NotYet,
    ObjectNotFound,
    ReadOnlyPath,
    UnsafePath,
)
from copilot.download.plan import Format, Mode, choice
from copilot.download.run import literals_budget, plan_inputs
from copilot.engine.source import BytesSource

if TYPE_CHECKING:
    from tests.download.conftest import Room

    from copilot.core.ports import Location, ObjectInfo, Stores

STAGING = ".copilot-staging"
FOLDER = idl.BlobMetadata(type=idl.BlobType(dimensionality=idl.BlobType.MULTIPART))
INTEGER = idl.LiteralType(simple=idl.SimpleType.INTEGER)
OPTIONAL = idl.LiteralType(
    union_type=idl.UnionType(variants=[INTEGER, idl.LiteralType(simple=idl.SimpleType.NONE)]),
)


def number(value: int) -> idl.Literal:
    return idl.Literal(scalar=idl.Scalar(primitive=idl.Primitive(integer=value)))


def file(uri: str) -> idl.Literal:
    return idl.Literal(scalar=idl.Scalar(blob=idl.Blob(uri=uri)))


def folder(uri: str) -> idl.Literal:
    return idl.Literal(scalar=idl.Scalar(blob=idl.Blob(uri=uri, metadata=FOLDER)))


def offloaded(uri: str, **said: object) -> idl.Literal:
    return idl.Literal(offloaded_metadata=idl.LiteralOffloadedMetadata(uri=uri, **said))


def inputs(**literals: idl.Literal) -> idl.LiteralMap:
    return idl.LiteralMap(literals=literals)


def interface(**types: idl.LiteralType) -> idl.VariableMap:
    message = idl.VariableMap()
    for name, literal_type in types.items():
        message.variables.add(key=name, value=idl.Variable(type=literal_type))
    return message


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# --- what is there at the end ---------------------------------------------------------------------------------------


def test_a_prefix_never_matches_its_sibling_and_markers_are_empty_directories(room: Room) -> None:
    for key, content in {"a/x": "1", "a/deep/y": "2", "a/empty/": "", "a/": "", "ab/z": "3", "a": "object"}.items():
        room.put(f"s3://bucket/{key}", content)
    room.stage(room.request(inputs(d=folder("s3://bucket/a"), f=file("s3://bucket/a"))))
    assert room.values() == {"d/deep/y": b"2", "d/empty": None, "d/x": b"1", "f": b"object"}


def test_fault_9_an_empty_directory_is_an_empty_directory_and_a_warning(room: Room) -> None:
    done = room.stage(room.request(inputs(d=folder("s3://bucket/nothing/here"))))
    assert room.values() == {"d": None}
    assert done.empty == ("d",)
    assert [event.level for event in room.log.named("inputs.empty_directory")] == ["warning"]


def test_an_object_given_for_a_directory_is_a_mistake_and_not_an_empty_directory(room: Room) -> None:
    room.put("s3://bucket/data.csv", "x")
    room.put("s3://bucket/marker", "")
    with pytest.raises(BadInputs, match=r"Input 'd' is a directory and s3://bucket/data\.csv is an object of 1 bytes"):
        room.stage(room.request(inputs(d=folder("s3://bucket/data.csv"))), ask_sizes=True)
    assert nothing_is_left(room)
    room.stage(room.request(inputs(d=folder("s3://bucket/marker"))), ask_sizes=True)
    assert room.values() == {"d": None}


def test_a_directory_may_have_the_longest_name(room: Room) -> None:
    directory = room.inputs.parent / ("n" * 255)
    room.stage(room.request(inputs(n=number(1)), directory=directory))
    assert names_in(room.inputs.parent) == ["n" * 255]


def test_one_object_may_be_two_inputs(room: Room) -> None:
    room.put("s3://bucket/k", "x")
    room.stage(room.request(inputs(a=file("s3://bucket/k"), b=file("s3://bucket/k"))))
    assert room.values() == {"a": b"x", "b": b"x"}


def test_references_only_moves_no_bytes_and_keeps_the_uris(room: Room) -> None:
    room.put("s3://bucket/k", "x")
    done = room.stage(room.request(inputs(a=file("s3://bucket/k"), n=number(1)), mode=Mode.DO_NOT_DOWNLOAD))
    assert room.values() == {"n": b"1"}
    assert (room.inputs / "inputs.json").read_bytes() == b'{"a":"s3://bucket/k","n":1}'
    assert room.literals().literals["a"].scalar.blob.uri == "s3://bucket/k"
    assert done.totals.objects == 0


def test_literals_can_be_given_instead_of_a_uri(room: Room) -> None:
    given = inputs(n=number(1))
    room.stage(replace(room.request(), source="", literals=given))
    assert room.values() == {"n": b"1"}
    assert given == inputs(n=number(1))


def test_no_inputs_at_all_are_a_directory_with_documents(room: Room) -> None:
    room.stage(room.request(inputs(), document=Format.YAML))
    assert room.tree() == {"inputs.pb": b"", "inputs.yaml": b"{}\n"}


def test_the_result_counts_what_moved_and_how_long_it_took(room: Room) -> None:
    room.put("s3://bucket/k", "12345")
    done = room.stage(room.request(inputs(a=file("s3://bucket/k"), n=number(1))))
    assert (done.totals.objects, done.totals.size_bytes) == (1, 5)
    assert done.manifest is not None
    assert done.manifest.objects == 1


@pytest.mark.parametrize(("umask", "file_mode", "directory_mode"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_fault_4_modes_follow_the_umask_and_nothing_is_0777(
    room: Room, umask: int, file_mode: int, directory_mode: int
) -> None:
    room.put("s3://bucket/k", "x")
    room.put("s3://bucket/d/deep/y", "y")
    before = os.umask(umask)
    try:
        room.stage(room.request(inputs(a=file("s3://bucket/k"), d=folder("s3://bucket/d"), n=number(1))))
    finally:
        os.umask(before)
    for path in [room.inputs, *room.inputs.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (directory_mode if path.is_dir() else file_mode), path


def test_what_else_is_in_the_directory_stays_and_an_earlier_result_makes_way(room: Room) -> None:
    room.inputs.mkdir()
    (room.inputs / "mine.txt").write_text("mine")
    room.put("s3://bucket/d/x", "x")
    room.stage(room.request(inputs(a=folder("s3://bucket/d"), b=number(1))))
    room.stage(room.request(inputs(a=number(2), b=folder("s3://bucket/d"))))
    assert room.values() == {"a": b"2", "b/x": b"x", "mine.txt": b"mine"}
    assert names_in(room.inputs) == ["a", "b", "inputs.json", "inputs.pb", "mine.txt"]


def test_inputs_pb_appears_last(room: Room) -> None:
    room.inputs.mkdir()
    room.put("s3://bucket/k", "x")
    room.stage(room.request(inputs(z=file("s3://bucket/k"), zz=number(1))))
    # A rename sets the time of the last change of what is renamed.
    changed = {path.name: path.stat().st_ctime_ns for path in room.inputs.iterdir()}
    assert changed["inputs.pb"] == max(changed.values())
    assert changed["inputs.json"] >= max(changed["z"], changed["zz"])


def test_the_interface_and_the_literals_are_compared(room: Room) -> None:
    there = inputs(n=number(1), extra=number(2))
    with pytest.raises(BadInputs, match=r"Input 'gone' is declared and no value was given for it \(there: 'extra', 'n'\)"):
        room.stage(room.request(there, interface=interface(n=INTEGER, gone=INTEGER)))
    assert not room.inputs.exists()
    room.stage(room.request(there, interface=interface(n=INTEGER, absent=OPTIONAL)))
    assert room.values() == {"n": b"1", "extra": b"2"}
    assert room.log.named("inputs.undeclared")[0].fields == {"inputs": ["extra"]}


# --- offloaded literals ---------------------------------------------------------------------------------------------


def test_an_offloaded_literal_may_hold_another(room: Room) -> None:
    room.put("s3://bucket/deep", number(7).SerializeToString())
    middle = idl.Literal(collection=idl.LiteralCollection(literals=[offloaded("s3://bucket/deep"), number(8)]))
    size_bytes = len(middle.SerializeToString())
    room.put("s3://bucket/list", middle.SerializeToString())
    listed = idl.LiteralType(collection_type=INTEGER)
    room.stage(room.request(inputs(l=offloaded("s3://bucket/list", size_bytes=size_bytes, inferred_type=listed))))
    assert room.values() == {"l/0": b"7", "l/1": b"8"}


@pytest.mark.parametrize(
    ("content", "said", "sentence"),
    [
        (b"\xff\xff", {}, "is no literal"),
        (b"\x0a\x02", {}, "is no literal"),
        (number(1).SerializeToString(), {"size_bytes": 99}, "has 6 bytes and was written with 99"),
        (number(1).SerializeToString(), {"size_bytes": 10**12}, "is the most that can still be held in memory"),
        (
            number(1).SerializeToString(),
            {"inferred_type": idl.LiteralType(collection_type=INTEGER)},
            "was written as a collection and holds a scalar",
        ),
        (offloaded("s3://bucket/o").SerializeToString(), {}, "times over"),
    ],
)
def test_an_offloaded_literal_that_is_not_what_was_said_is_refused(
    room: Room, content: bytes, said: dict[str, object], sentence: str
) -> None:
    room.put("s3://bucket/o", content)
    with pytest.raises(BadInputs, match=sentence) as caught:
        room.stage(room.request(inputs(x=offloaded("s3://bucket/o", **said))))
    assert "'x'" in caught.value.sentence()


def test_offloaded_literals_have_a_budget_in_memory(room: Room) -> None:
    room.put("s3://bucket/o", number(1).SerializeToString())
    request = room.request(inputs(a=offloaded("s3://bucket/o"), b=offloaded("s3://bucket/o")), max_literals_bytes=100)
    room.stage(request)
    with pytest.raises(BadInputs, match="is the most that is read into memory"):
        room.stage(replace(request, source="", literals=inputs(a=offloaded("s3://bucket/o")), max_literals_bytes=3))


@pytest.mark.parametrize(("memory", "budget"), [(None, 2**30), (128 * 2**20, 16 * 2**20), (2**30, 2**27), (2**40, 2**30)])
def test_the_budget_follows_the_containers_memory(memory: int | None, budget: int) -> None:
    assert literals_budget(memory) == budget


# --- what is there after a failure ----------------------------------------------------------------------------------


def nothing_is_left(room: Room) -> bool:
    return not room.inputs.exists() and not any(STAGING in name for name in names_in(room.inputs.parent))


def test_nothing_is_visible_when_one_of_many_is_missing(room: Room) -> None:
    room.put("s3://bucket/k", "x")
    request = room.request(inputs(a=file("s3://bucket/k"), b=file("s3://bucket/gone"), n=number(1)), control_dir=room.control)
    with pytest.raises(ObjectNotFound):
        room.stage(request)
    assert nothing_is_left(room)
    assert not room.control.exists()
    room.inputs.mkdir()
    with pytest.raises(ObjectNotFound):
        room.stage(request)
    assert names_in(room.inputs) == []


@pytest.mark.parametrize("key", ["d/../../evil", "d//evil", "d/./evil", "d/a\0b", "d/" + "n" * 256])
def test_fault_7_a_key_that_leads_out_is_refused_and_nothing_is_written(room: Room, key: str) -> None:
    room.stores.locate("s3://bucket/d").store.put(key, BytesSource(b"evil"))
    room.put("s3://bucket/d/good", "good")
    with pytest.raises(UnsafePath, match="cannot become a path"):
        room.stage(room.request(inputs(d=folder("s3://bucket/d"))))
    assert nothing_is_left(room)
    assert not list(room.inputs.parent.rglob("*evil*"))


def test_a_key_that_is_a_file_and_a_directory_is_a_clear_error(room: Room) -> None:
    room.put("s3://bucket/d/a", "file")
    room.put("s3://bucket/d/a/b", "below")
    with pytest.raises(UnsafePath, match="a file and a directory at once"):
        room.stage(room.request(inputs(d=folder("s3://bucket/d"))))
    assert nothing_is_left(room)


@pytest.mark.parametrize("name", ["inputs.json", "inputs.pb", ".copilot-staging"])
def test_an_input_cannot_take_the_name_of_a_document(room: Room, name: str) -> None:
    with pytest.raises(UnsafePath, match="copilot itself"):
        room.stage(room.request(idl.LiteralMap(literals={name: number(1)})))


@pytest.mark.parametrize("content", [b"\xff\xff\xff not a message", b"\x0a\x05\x0a\x01n", b"<html>404</html>"])
def test_what_is_no_inputs_pb_is_bad_inputs(room: Room, content: bytes) -> None:
    room.put("s3://bucket/bad.pb", content)
    with pytest.raises(BadInputs, match=r"s3://bucket/bad\.pb is no core\.LiteralMap"):
        room.stage(replace(room.request(), source="s3://bucket/bad.pb"))
    assert nothing_is_left(room)


@pytest.mark.parametrize("document", [Format.JSON, Format.YAML])
def test_a_float_no_document_can_hold_is_refused_with_the_way_out(room: Room, document: Format) -> None:
    literals = inputs(l=idl.Literal(collection=idl.LiteralCollection(literals=[number(1)])))
    literals.literals["l"].collection.literals.add().scalar.primitive.float_value = float("nan")
    with pytest.raises(BadInputs, match=r"Input 'l\[1\]' is NaN or infinite"):
        room.stage(room.request(literals, document=document))
    room.stage(room.request(literals, document=Format.PROTO))
    assert room.values()["l/1"] == b"NaN"


def test_streaming_is_refused_before_anything_is_read(room: Room) -> None:
    with pytest.raises(NotYet, match="DOWNLOAD_STREAM"):
        room.stage(room.request(mode=Mode.DOWNLOAD_STREAM))
    with pytest.raises(BadFlag, match="--download-mode cannot be 'SOMEHOW'"):
        choice(Mode, "SOMEHOW", "--download-mode")


def test_cancelling_leaves_nothing(room: Room) -> None:
    request = room.request(inputs(n=number(1)))
    todo = plan_inputs(request, transfer=room.transfer, cancel=room.cancel)
    assert todo.documents[-1].path == "inputs.pb"
    room.cancel.cancel("told to stop")
    with pytest.raises(Cancelled):
        room.stage(replace(request, literals=inputs(n=number(1))))
    assert nothing_is_left(room)


def test_a_file_where_the_directory_should_be_is_said(room: Room) -> None:
    room.inputs.write_text("a file")
    with pytest.raises(LocalIOError, match="is no directory"):
        room.stage(room.request(inputs(n=number(1))))
    assert room.inputs.read_text() == "a file"


# --- a second run ---------------------------------------------------------------------------------------------------


def test_a_second_run_of_a_finished_plan_does_nothing(room: Room) -> None:
    room.put("s3://bucket/k", "x")
    request = room.request(inputs(a=file("s3://bucket/k")), control_dir=room.control)
    first = room.stage(request)
    ready = json.loads((room.control / "READY").read_text())
    assert ready["plan"] == first.plan.digest
    assert (ready["objects"], ready["size_bytes"]) == (1, 1)
    (room.inputs / "a").write_text("the task was here")
    second = room.stage(request)
    assert second.already
    assert second.manifest is None
    assert room.values() == {"a": b"the task was here"}


def test_another_plan_for_a_finished_directory_is_refused(room: Room) -> None:
    room.stage(room.request(inputs(n=number(1)), control_dir=room.control))
    with pytest.raises(BadInputs, match="holds the inputs of another plan") as caught:
        room.stage(room.request(inputs(n=number(2)), control_dir=room.control))
    assert "READY" in caught.value.sentence()
    assert room.values() == {"n": b"1"}


@pytest.mark.parametrize("change", [{"document": Format.YAML}, {"mode": Mode.DO_NOT_DOWNLOAD}])
def test_whatever_changes_the_result_changes_the_plan(room: Room, change: dict[str, object]) -> None:
    room.put("s3://bucket/k", "x")
    one = plan_inputs(room.request(inputs(a=file("s3://bucket/k"))), transfer=room.transfer, cancel=room.cancel)
    again = plan_inputs(room.request(), transfer=room.transfer, cancel=room.cancel)
    other = plan_inputs(room.request(**change), transfer=room.transfer, cancel=room.cancel)
    assert one.digest == again.digest != other.digest


@pytest.mark.parametrize("marker", [b"", b"{}", b"[]", b"\xff", b'{"plan": "sha256:0"}'])
def test_a_marker_that_proves_nothing_is_not_believed(room: Room, marker: bytes) -> None:
    room.control.mkdir()
    (room.control / "READY").write_bytes(marker)
    assert not room.stage(room.request(inputs(n=number(1)), control_dir=room.control)).already
    assert room.values() == {"n": b"1"}


def test_what_a_killed_run_left_is_cleaned_up(room: Room) -> None:
    beside = room.inputs.parent / f"{STAGING}-inputs"
    (beside / "new").mkdir(parents=True)
    (beside / "new" / "half").write_text("half")
    room.stage(room.request(inputs(n=number(1))))
    inside = room.inputs / STAGING
    (inside / "new").mkdir(parents=True)
    (inside / "new" / "half").write_text("half")
    room.stage(room.request(inputs(n=number(2))))
    assert room.values() == {"n": b"2"}
    assert names_in(room.inputs.parent) == ["inputs"]
    assert len(room.log.named("inputs.left_over_removed")) == 2


# --- the disk -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB: a mount point, as the volume of a pod is."""
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=64k", "none", mount_point], check=True)
    try:
        yield mount_point
    finally:
        subprocess.run(["/bin/umount", "-l", mount_point], check=True)


def test_a_mount_point_is_filled_from_inside(room: Room, small_disk: Path) -> None:
    room.put("s3://bucket/d/x", "x")
    room.stage(replace(room.request(inputs(d=folder("s3://bucket/d"), n=number(1))), directory=small_disk))
    assert names_in(small_disk) == ["d", "inputs.json", "inputs.pb", "n"]


def test_what_is_known_not_to_fit_is_refused_before_a_byte_moves(room: Room, small_disk: Path) -> None:
    room.put("s3://bucket/k", b"x" * 40_000)
    request = replace(room.request(inputs(a=file("s3://bucket/k"), b=file("s3://bucket/k"))), directory=small_disk)
    moved = room.progress.moved_bytes
    with pytest.raises(NotEnoughSpace, match=r"The inputs need (80|76)\d{3} bytes at least and .* has 6\d{4} left"):
        room.stage(request, ask_sizes=True)
    size_of_inputs_pb = len(inputs(a=file("s3://bucket/k"), b=file("s3://bucket/k")).SerializeToString())
    assert room.progress.moved_bytes - moved == size_of_inputs_pb
    assert names_in(small_disk) == []


def test_a_disk_that_fills_up_is_disk_full_and_nothing_is_left(room: Room, small_disk: Path) -> None:
    for name in "abc":
        room.put(f"s3://bucket/d/{name}", b"x" * 40_000)
    with pytest.raises(DiskFull):
        room.stage(replace(room.request(inputs(d=folder("s3://bucket/d"))), directory=small_disk), ask_sizes=True)
    assert names_in(small_disk) == []


def test_values_that_fill_the_disk_are_disk_full_too(room: Room, small_disk: Path) -> None:
    literals = inputs()
    literals.literals["s"].scalar.primitive.string_value = "x" * 100_000
    with pytest.raises(DiskFull):
        room.stage(replace(room.request(literals), directory=small_disk))
    assert names_in(small_disk) == []


@pytest.mark.parametrize("name", ["", "not/there/yet"])
def test_a_directory_that_cannot_be_written_is_said(room: Room, small_disk: Path, name: str) -> None:
    subprocess.run(["/bin/mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(ReadOnlyPath) as caught:
        room.stage(replace(room.request(inputs(n=number(1))), directory=small_disk / name))
    assert str(small_disk) in caught.value.sentence()


@dataclass
class Mute:
    """Stores that answer no question about sizes."""

    inner: Stores

    def locate(self, uri: str) -> Location:
        location = self.inner.locate(uri)
        return replace(location, store=MuteStore(location.store))  # type: ignore[arg-type]


class MuteStore:
    """Refuses ``head`` and gives the rest."""

    def __init__(self, inner: object) -> None:
        self._inner = inner

    def head(self, key: str) -> ObjectInfo:
        raise ObjectNotFound(f"{key} is nowhere")

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


def test_a_store_that_tells_no_sizes_is_no_obstacle(room: Room) -> None:
    room.put("s3://bucket/k", "x")
    room.stores = Mute(room.stores)
    room.stage(room.request(inputs(a=file("s3://bucket/k"))), ask_sizes=True)
    assert room.values() == {"a": b"x"}
