"""Outputs of every kind, published through the whole of this room."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core import idl
from copilot.core.errors import BadOutput, CopilotError, MissingOutput, ReservedName, TaskFailed, UnreadableOutput
from copilot.upload.plan import OutputTarget, UploadMode, plan_outputs

if TYPE_CHECKING:
    from tests.upload.conftest import World

S = idl.SimpleType
INTEGER = idl.LiteralType(simple=S.INTEGER)
TEXT = idl.LiteralType(simple=S.STRING)
FILE = idl.LiteralType(blob=idl.BlobType(format="csv"))
FOLDER = idl.LiteralType(blob=idl.BlobType(dimensionality=idl.BlobType.MULTIPART))
NONE = idl.LiteralType(simple=S.NONE)


def list_of(literal_type: idl.LiteralType) -> idl.LiteralType:
    return idl.LiteralType(collection_type=literal_type)


def map_of(literal_type: idl.LiteralType) -> idl.LiteralType:
    return idl.LiteralType(map_value_type=literal_type)


def either(*variants: idl.LiteralType) -> idl.LiteralType:
    return idl.LiteralType(union_type=idl.UnionType(variants=variants))


def test_a_list_of_files_and_a_map_of_lists_of_integers_are_published(world: World) -> None:
    world.wrote({"parts/0.csv": "a", "parts/1": "b", "m/x": "[1, 2]", "m/y/0": "3"})
    world.publish({"parts": list_of(FILE), "m": map_of(list_of(INTEGER))})
    outputs = world.outputs()
    assert [one.scalar.blob.uri for one in outputs["parts"].collection.literals] == [
        f"{world.raw}/parts/0",
        f"{world.raw}/parts/1",
    ]
    assert {one.scalar.blob.metadata.type.format for one in outputs["parts"].collection.literals} == {"csv"}
    table = outputs["m"].map.literals
    assert [one.scalar.primitive.integer for one in table["x"].collection.literals] == [1, 2]
    assert [one.scalar.primitive.integer for one in table["y"].collection.literals] == [3]
    assert world.objects(world.raw) == {"parts/0": b"a", "parts/1": b"b"}


def test_a_list_keeps_the_order_of_numbers_and_not_of_texts(world: World) -> None:
    world.wrote({f"n/{index}": str(index) for index in range(12)})
    world.publish({"n": list_of(INTEGER)})
    assert [one.scalar.primitive.integer for one in world.outputs()["n"].collection.literals] == list(range(12))


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"n/0": "1", "n/2": "3"}, "element 1 is missing among 2"),
        ({"n/0": "1", "n/a": "3"}, "'a' is not the number of an element"),
        ({"n/00": "1"}, "'00' is not the number of an element"),
        ({"n/0": "1", "n/0.txt": "3"}, "'0' and '0.txt' are both element 0"),
        ({"n": '{"a": 1}'}, "there is an object with 1 keys"),
        ({"n": "[1, true]"}, "output 'n[1]' should be integer"),
        ({"n": "[1"}, "is not JSON (line 1"),
        ({"n": "[NaN]"}, "a number that JSON does not have"),
        ({"n": f"[{2**63}]"}, "does not fit 64 bits"),
    ],
)
def test_a_list_that_is_none_says_which_element(world: World, files: dict[str, str], sentence: str) -> None:
    world.wrote(files)
    with pytest.raises(BadOutput) as caught:
        world.publish({"n": list_of(INTEGER)})
    assert sentence in caught.value.message
    assert str(world.out / "n") in caught.value.message


def test_a_json_list_names_files_of_the_output_directory_and_things_in_stores(world: World) -> None:
    world.wrote({"l": f'["sub/a.csv", "s3://elsewhere/b.csv", "{world.out}/c.csv"]', "sub/a.csv": "A", "c.csv": "C"})
    world.publish({"l": list_of(FILE)})
    uris = [one.scalar.blob.uri for one in world.outputs()["l"].collection.literals]
    assert uris == [f"{world.raw}/l/0", "s3://elsewhere/b.csv", f"{world.raw}/l/2"]
    assert world.objects(world.raw) == {"l/0": b"A", "l/2": b"C"}


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "nowhere.csv", "", "."])
def test_a_json_list_cannot_name_what_is_outside(world: World, path: str) -> None:
    (world.out.parent / "secret").write_text("s")
    world.wrote({"l": f'["{path}"]'})
    with pytest.raises(BadOutput, match="names no file of the output directory"):
        world.publish({"l": list_of(FILE)})
    assert world.objects(world.raw) == {}


def test_an_optional_that_was_not_written_is_none_and_one_that_was_is_its_value(world: World) -> None:
    world.wrote({"there": "5", "null": "null", "file": "x"})
    optional = either(INTEGER, NONE)
    world.publish(
        {"there": optional, "null": optional, "gone": optional, "file": either(FILE, NONE), "nofile": either(FILE, NONE)}
    )
    outputs = world.outputs()
    assert outputs["there"].scalar.union.value.scalar.primitive.integer == 5
    assert outputs["there"].scalar.union.type == INTEGER
    for name in ("null", "gone", "nofile"):
        assert outputs[name].scalar.union.value.scalar.HasField("none_type"), name
        assert outputs[name].scalar.union.type == NONE
    assert outputs["file"].scalar.union.value.scalar.blob.uri == f"{world.raw}/file"
    assert world.objects(world.raw) == {"file": b"x"}


def test_a_union_takes_the_first_variant_that_fits_and_sends_nothing_for_the_others(world: World) -> None:
    world.wrote({"a": "x", "b/0": "1", "c/k": "v"})
    kind = either(INTEGER, list_of(FILE), FOLDER, FILE)
    world.publish({"a": kind, "b": kind, "c": kind})
    outputs = world.outputs()
    assert outputs["a"].scalar.union.type == FILE
    assert outputs["b"].scalar.union.type == list_of(FILE)
    assert outputs["c"].scalar.union.type == FOLDER
    assert world.objects(world.raw) == {"a": b"x", "b/0": b"1", "c/k": b"v"}


def test_a_union_that_nothing_fits_says_why(world: World) -> None:
    world.wrote({"u": "x"})
    with pytest.raises(BadOutput, match=r"nothing fits any variant .*'x' is not an integer.*'x' is not a boolean"):
        world.publish({"u": either(INTEGER, idl.LiteralType(simple=S.BOOLEAN))})


def test_an_enum_takes_its_values_and_no_other(world: World) -> None:
    kind = idl.LiteralType(enum_type=idl.EnumType(values=["low", "high"]))
    world.wrote({"e": " high\n", "bad": "medium"})
    world.publish({"e": kind})
    assert world.outputs()["e"].scalar.primitive.string_value == "high"
    with pytest.raises(BadOutput, match=r"should be one of 'low', 'high', but .* 'medium' is none of them"):
        world.publish({"bad": kind})


def test_a_structured_dataset_and_a_schema_are_uploaded_and_carry_their_columns(world: World) -> None:
    columns = [idl.StructuredDatasetType.DatasetColumn(name="a", literal_type=INTEGER)]
    dataset = idl.LiteralType(structured_dataset_type=idl.StructuredDatasetType(format="parquet", columns=columns))
    loose = idl.LiteralType(structured_dataset_type=idl.StructuredDatasetType())
    schema = idl.LiteralType(schema=idl.SchemaType())
    world.wrote({"d/part-0": "P", "f.csv": "a,b", "s/x": "S"})
    world.publish({"d": dataset, "f": loose, "s": schema})
    outputs = world.outputs()
    assert outputs["d"].scalar.structured_dataset.uri == f"{world.raw}/d"
    assert outputs["d"].scalar.structured_dataset.metadata.structured_dataset_type == dataset.structured_dataset_type
    assert outputs["f"].scalar.structured_dataset.metadata.structured_dataset_type.format == "csv"
    assert outputs["s"].scalar.schema.uri == f"{world.raw}/s"
    assert world.objects(world.raw) == {"d/part-0": b"P", "f": b"a,b", "s/x": b"S"}


def test_empty_files_and_empty_directories_arrive(world: World, tmp_path: Path) -> None:
    from copilot.core.values import FetchSpec  # noqa: PLC0415 — only here the other direction is needed
    from copilot.engine.cancel import Token  # noqa: PLC0415 — as above

    world.wrote({"v/empty": "", "v/sub/hollow": None, "w": None})
    world.publish({"v": FOLDER, "w": FOLDER})
    assert world.objects(world.raw) == {"v/empty": b"", "v/sub/hollow/": b"", "w/": b""}
    back = tmp_path / "back"
    specs = [FetchSpec(f"{world.raw}/{name}", name, tree=True) for name in ("v", "w")]
    list(world.transfer.fetch(specs, back, Token(world.clock)))
    assert sorted(str(path.relative_to(back)) for path in back.rglob("*")) == ["v", "v/empty", "v/sub", "v/sub/hollow", "w"]


def test_names_stay_verbatim(world: World) -> None:
    names = ["a#b", "a?b", "a%20b", "a:b", "a+b", "ž 日本", "-dash", "a\\b", "tab\there"]
    world.wrote({f"v/{name}": name for name in names})
    world.publish({"v": FOLDER})
    assert world.objects(world.raw) == {f"v/{name}": name.encode() for name in names}
    assert {entry["path"] for entry in world.document("_manifest.json")["objects"]} == {f"v/{name}" for name in names}


def test_a_file_name_that_is_not_utf_8_is_refused_with_a_sentence(world: World) -> None:
    world.wrote({"v/ok": "x"})
    Path(os.fsdecode(os.fsencode(world.out / "v") + b"/bad\xff")).write_text("x")
    with pytest.raises(UnreadableOutput, match=r"is not UTF-8"):
        world.publish({"v": FOLDER})
    assert "outputs.pb" not in world.objects(world.meta)


@pytest.mark.parametrize("place", ["v", "v/inside", "v/dir/deep"])
def test_a_link_out_of_the_output_directory_is_refused(world: World, place: str) -> None:
    secret = world.out.parent / "secret"
    secret.write_text("s")
    link = world.out / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(secret)
    with pytest.raises(UnreadableOutput, match=r"a link to .*secret, outside the output directory"):
        world.publish({"v": FOLDER})
    assert b"s" not in world.objects(world.raw).values()
    assert "outputs.pb" not in world.objects(world.meta)


def test_a_link_inside_the_output_directory_is_followed(world: World) -> None:
    world.wrote({"real/data": "d", "real/sub/x": "x"})
    (world.out / "v").mkdir()
    (world.out / "v" / "file").symlink_to("../real/data")
    (world.out / "v" / "tree").symlink_to("../real/sub")
    (world.out / "n").symlink_to("real/data")
    world.publish({"v": FOLDER, "n": FILE})
    assert world.objects(world.raw) == {"v/file": b"d", "v/tree/x": b"x", "n": b"d"}


def test_a_link_in_a_circle_is_refused(world: World) -> None:
    world.wrote({"v/a/x": "1", "v/b/y": "1"})
    (world.out / "v" / "a" / "over").symlink_to("../b")
    (world.out / "v" / "b" / "back").symlink_to("../a")
    with pytest.raises(UnreadableOutput, match="is a link to a directory that holds it"):
        world.publish({"v": FOLDER})


@pytest.mark.parametrize("depth", ["", "/in"])
def test_devices_pipes_sockets_and_dead_links_are_refused(world: World, depth: str) -> None:
    def refuse(sentence: str) -> None:
        with pytest.raises(CopilotError, match=sentence):
            world.publish({"v": FOLDER})
        path.unlink()

    path = Path(f"{world.out / 'v'}{depth}")
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    refuse("is a named pipe, not a file")
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket is short by law
        bound.bind(path.name)
        os.chdir(here)
        refuse("is a socket, not a file")
    path.symlink_to("nowhere")
    refuse("was not written" if not depth else "is a link to nothing")


def test_a_link_that_leads_to_itself_is_unreadable(world: World) -> None:
    (world.out / "n").symlink_to("n")
    with pytest.raises(UnreadableOutput, match=r"cannot be read \(too many levels of symbolic links\)"):
        world.publish({"n": INTEGER})


def test_a_missing_output_says_what_was_looked_for_and_what_is_there(world: World) -> None:
    world.wrote({"score": "1", "other.txt": "2"})
    with pytest.raises(MissingOutput) as caught:
        world.publish({"gone": INTEGER})
    assert caught.value.message == (
        f"output 'gone' (integer) was not written: there is no {world.out}/gone and no {world.out}/gone.*, "
        "the directory holds 'other.txt', 'score'"
    )


def test_an_output_directory_that_is_not_there_is_said_to_be_missing(world: World) -> None:
    world.out.rmdir()
    with pytest.raises(MissingOutput, match="the directory does not exist"):
        world.publish({"n": INTEGER})


def test_an_output_directory_that_cannot_be_listed_is_said_to_be_so(world: World) -> None:
    loop = world.out.parent / "loop"
    loop.symlink_to("loop")
    with pytest.raises(UnreadableOutput, match=r"the output directory .*loop cannot be read \(too many levels"):
        world.publish({"n": INTEGER}, directory=loop)


def test_what_is_no_output_is_left_alone_whatever_it_is(world: World) -> None:
    world.wrote({"n": "1", "core.123": "dump", "tmp/x": "1"})
    os.mkfifo(world.out / "pipe")
    (world.out / "away").symlink_to("/etc/passwd")
    Path(os.fsdecode(os.fsencode(world.out) + b"/bad\xff")).write_text("x")
    world.publish({"n": INTEGER})
    assert set(world.outputs()) == {"n"}
    assert world.objects(world.raw) == {}


def test_the_file_of_another_output_is_not_taken_for_ones_own(world: World) -> None:
    world.wrote({"a.b": "1"})
    with pytest.raises(MissingOutput, match="output 'a'"):
        world.publish({"a": INTEGER, "a.b": INTEGER})


@pytest.mark.parametrize("name", ["outputs.pb", "error.pb", "errors.pb", "_manifest.json", "_receipt.json", "partial"])
def test_an_output_may_not_take_the_place_of_a_file_of_the_protocol(world: World, name: str) -> None:
    world.wrote({name: "1"})
    world.raw = world.meta + "/"
    with pytest.raises(ReservedName, match=f"an output called '{name}' would take the place"):
        world.publish({name: INTEGER})
    world.raw = "memory://bucket/apart"
    world.publish({name: INTEGER})
    assert world.outputs()[name].scalar.primitive.integer == 1


@pytest.mark.parametrize("name", ["_ERROR", "_SUCCESS"])
def test_an_output_may_not_be_called_like_a_marker(world: World, name: str) -> None:
    with pytest.raises(ReservedName):
        plan_outputs(world.out, {name: INTEGER}, OutputTarget(world.raw, world.meta))


def test_raw_data_below_the_output_prefix_and_the_reverse_cannot_collide(world: World) -> None:
    world.wrote({"x/outputs.pb": "1"})
    with pytest.raises(ReservedName):
        world.publish({"x": FOLDER}, target=OutputTarget("memory://b/p", "memory://b/p/x"))


@pytest.mark.parametrize("name", ["a/b", "..", ".", ""])
def test_a_name_that_is_no_file_name_is_refused(world: World, name: str) -> None:
    with pytest.raises(CopilotError) as caught:
        world.publish({name: INTEGER})
    assert caught.value.exit_code == 21


def test_do_not_upload_publishes_values_and_the_uris_the_task_wrote(world: World) -> None:
    world.wrote({"n": "1", "f": "gs://mine/data.csv\n", "v": "s3://mine/tree"})
    world.publish({"n": INTEGER, "f": FILE, "v": FOLDER}, mode=UploadMode.NONE)
    outputs = world.outputs()
    assert outputs["f"].scalar.blob.uri == "gs://mine/data.csv"
    assert outputs["v"].scalar.blob.metadata.type.dimensionality == idl.BlobType.MULTIPART
    assert world.objects(world.raw) == {}


def test_do_not_upload_refuses_a_file_with_data_in_it(world: World) -> None:
    world.wrote({"f": "a,b\n1,2", "v/x": "1"})
    with pytest.raises(BadOutput, match="is no URI, and nothing is uploaded in this mode"):
        world.publish({"f": FILE}, mode=UploadMode.NONE)
    with pytest.raises(BadOutput, match="there is a directory, and nothing is uploaded"):
        world.publish({"v": FOLDER}, mode=UploadMode.NONE)


def test_a_literal_beyond_the_size_is_an_object_of_its_own(world: World) -> None:
    world.wrote({"small": "x", "big": "y" * 5000})
    world.publish({"small": TEXT, "big": TEXT}, max_literal_bytes=1000)
    outputs = world.outputs()
    assert outputs["small"].scalar.primitive.string_value == "x"
    offloaded = outputs["big"].offloaded_metadata
    assert offloaded.uri == f"{world.raw}/_offloaded/big.pb"
    assert offloaded.inferred_type == TEXT
    content = world.objects(world.raw)["_offloaded/big.pb"]
    assert offloaded.size_bytes == len(content)
    assert idl.Literal.FromString(content).scalar.primitive.string_value == "y" * 5000


def test_several_literals_beyond_the_size_together_are_offloaded_largest_first(world: World) -> None:
    world.wrote({"a": "a" * 600, "b": "b" * 700, "c": "c" * 300})
    world.publish({"a": TEXT, "b": TEXT, "c": TEXT}, max_literal_bytes=1100)
    outputs = world.outputs()
    assert [name for name in "abc" if outputs[name].HasField("offloaded_metadata")] == ["b"]


@pytest.mark.parametrize("depth", [60, 300, 700, 2000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]")])
def test_json_too_deep_for_any_reader_is_refused_before_it_is_published(
    world: World, depth: int, opening: str, closing: str
) -> None:
    world.wrote({"g": '{"b": ' + opening * depth + "1" + closing * depth + "}"})
    with pytest.raises(BadOutput, match="nested too deeply"):
        world.publish({"g": idl.LiteralType(simple=S.STRUCT)})
    assert "outputs.pb" not in world.objects(world.meta)


def test_the_plan_can_be_printed_without_moving_anything(world: World) -> None:
    world.wrote({"n": "1", "v/x": "1"})
    plan = plan_outputs(world.out, {"n": INTEGER, "v": FOLDER, "o": either(INTEGER, NONE)}, OutputTarget(world.raw, world.meta))
    text = str(plan)
    assert f"read    n: integer from {world.out}/n" in text
    assert f"send    {world.out}/v/ -> {world.raw}/v" in text
    assert "read    o: optional integer from (not written: None)" in text
    assert f"-> {world.meta}/outputs.pb" in text
    assert world.objects(world.raw) == {}


def test_what_the_task_wrote_in_error_is_the_users_error(world: World) -> None:
    world.wrote({"n": "1", "_ERROR": "  the data set has no rows\n"})
    with pytest.raises(TaskFailed) as caught:
        world.publish({"n": INTEGER})
    assert caught.value.message == "the data set has no rows"
    assert set(world.objects(world.meta)) == {"_receipt.json", "partial/_receipt.json", "partial/_ERROR", "partial/n"}
    receipt = world.document("_receipt.json")
    assert receipt["published"] is False
    assert receipt["failure"]["reason"] == "TaskFailed"
    assert receipt["verdict"]["outcome"] == "failed"


def test_an_error_marker_beyond_a_mib_is_cut_and_an_empty_one_still_fails(world: World) -> None:
    world.wrote({"_ERROR": "x" * (1024 * 1024 + 10)})
    with pytest.raises(TaskFailed, match=r"the first 1,048,576 of 1,048,586 bytes"):
        world.publish({"n": INTEGER})
    world.wrote({"_ERROR": ""})
    with pytest.raises(TaskFailed, match="the task wrote an empty _ERROR"):
        world.publish({"n": INTEGER})


def test_an_interface_without_outputs_ends_at_once_and_asks_nobody(world: World) -> None:
    done = world.publish({}, watchers=[])
    assert done.published is None
    assert world.objects("memory://bucket/") == {}
