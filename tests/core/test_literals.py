import base64
import json
import math

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from copilot.core import idl
from copilot.core.errors import BadInputs, CopilotError, UnknownLiteral, UnsafePath
from copilot.core.literals import Layout, Rendering, render
from copilot.core.values import FetchSpec

MULTIPART = idl.BlobMetadata(type=idl.BlobType(dimensionality=idl.BlobType.MULTIPART))


def primitive(**value: object) -> idl.Literal:
    return idl.Literal(scalar=idl.Scalar(primitive=idl.Primitive(**value)))


def file(uri: str) -> idl.Literal:
    return idl.Literal(scalar=idl.Scalar(blob=idl.Blob(uri=uri)))


def folder(uri: str) -> idl.Literal:
    return idl.Literal(scalar=idl.Scalar(blob=idl.Blob(uri=uri, metadata=MULTIPART)))


def union(literal: idl.Literal) -> idl.Literal:
    return idl.Literal(scalar=idl.Scalar(union=idl.Union(value=literal)))


def many(*literals: idl.Literal) -> idl.Literal:
    return idl.Literal(collection=idl.LiteralCollection(literals=literals))


def mapping(**literals: idl.Literal) -> idl.Literal:
    return idl.Literal(map=idl.LiteralMap(literals=literals))


NONE = idl.Literal(scalar=idl.Scalar(none_type=idl.Void()))


def rendered(layout: Layout = Layout.DIRECT, *, references: bool = False, **literals: idl.Literal) -> Rendering:
    return render(idl.LiteralMap(literals=literals), input_dir="/in", layout=layout, references=references)


def texts(rendering: Rendering) -> dict[str, bytes]:
    return {file.path: file.content for file in rendering.files}


def targets(rendering: Rendering) -> list[tuple[str, str, bool]]:
    return [(spec.uri, spec.target, spec.tree) for spec in rendering.fetches]


@pytest.mark.parametrize(
    ("literal", "text", "value"),
    [
        (primitive(integer=-7), b"-7", -7),
        (primitive(float_value=2.0), b"2", 2.0),
        (primitive(string_value="a\nb "), b"a\nb ", "a\nb "),
        (primitive(boolean=False), b"false", False),
        (primitive(datetime=Timestamp(seconds=1, nanos=5_000_000)), b"1970-01-01T00:00:01.005Z", "1970-01-01T00:00:01.005Z"),
        (primitive(duration=Duration(seconds=-1, nanos=-500_000_000)), b"-1.5s", -1_500_000_000),
        (primitive(duration=Duration(seconds=315_576_000_000)), b"87660000h0m0s", 315_576_000_000 * 10**9),
        (idl.Literal(scalar=idl.Scalar(binary=idl.Binary(value=b"\x00\xff"))), b"\x00\xff", "AP8="),
        (idl.Literal(scalar=idl.Scalar(binary=idl.Binary(tag="msgpack"))), b"", None),
        (idl.Literal(scalar=idl.Scalar(error=idl.Error(message="no <x>"))), b"no <x>", "no <x>"),
        (NONE, b"null", None),
        (union(union(NONE)), b"null", None),
        (union(primitive(integer=5)), b"5", 5),
    ],
)
def test_a_scalar_is_a_file_with_its_text(literal: idl.Literal, text: bytes, value: object) -> None:
    rendering = rendered(x=literal)
    assert texts(rendering) == {"x": text}
    assert rendering.values == {"x": value}
    assert rendering.literals.literals["x"] == literal


def test_an_untyped_struct_is_a_file_of_json_and_a_value_as_deep_as_it_is() -> None:
    struct = idl.Struct()
    struct.update({"b": [1, 2.5, None, {"<": True}], "a": {}, "n": 1e21})
    rendering = rendered(x=idl.Literal(scalar=idl.Scalar(generic=struct)))
    assert texts(rendering)["x"] == b'{"a":{},"b":[1,2.5,null,{"\\u003c":true}],"n":1e+21}'
    assert rendering.values["x"] == {"a": {}, "b": [1, 2.5, None, {"<": True}], "n": 1e21}


def test_an_empty_list_and_an_empty_map_are_empty_directories() -> None:
    rendering = rendered(x=many(), y=mapping(), z=many(many()))
    assert rendering.directories == ["x", "y", "z/0"]
    assert rendering.values == {"x": [], "y": {}, "z": [[]]}


def test_files_and_directories_are_fetched_under_their_entries_and_become_local_paths() -> None:
    schema = idl.Literal(scalar=idl.Scalar(schema=idl.Schema(uri="s3://b/schema")))
    frame = idl.Literal(scalar=idl.Scalar(structured_dataset=idl.StructuredDataset(uri="s3://b/frame")))
    rendering = rendered(
        f=file("s3://b/k/x.gz"), d=folder("s3://b/dir"), s=schema, q=frame, m=mapping(k=many(file("gs://c/y")))
    )
    assert targets(rendering) == [
        ("s3://b/dir", "d", True),
        ("s3://b/k/x.gz", "f", False),
        ("gs://c/y", "m/k/0", False),
        ("s3://b/frame", "q", True),
        ("s3://b/schema", "s", True),
    ]
    assert rendering.values == {"d": "/in/d", "f": "/in/f", "m": {"k": ["/in/m/k/0"]}, "q": "/in/q", "s": "/in/s"}
    out = rendering.literals.literals
    assert out["s"].scalar.schema.uri == "/in/s"
    assert out["q"].scalar.structured_dataset.uri == "/in/q"
    assert out["m"].map.literals["k"].collection.literals[0].scalar.blob.uri == "/in/m/k/0"
    assert rendering.fetches[0] == FetchSpec("s3://b/dir", "d", tree=True, variable="d")


def test_named_dir_keeps_a_files_own_name_and_puts_the_index_before_a_repeated_one() -> None:
    rendering = rendered(
        Layout.NAMED_DIR,
        f=file("https://host/path/data.csv?token=secret#frag"),
        l=many(
            file("s3://b/x/r.gz"), union(file("s3://b/y/r.gz")), file("s3://b/z/1_r.gz"), primitive(integer=1), file("s3://b/3")
        ),
        u=union(file("s3://b/o.txt")),
        d=folder("s3://b/dir"),
        m=mapping(k=file("s3://b/100%#?.txt")),
    )
    assert [target for _, target, _ in targets(rendering)] == [
        "d",
        "f/data.csv",
        "l/r.gz",
        "l/1_r.gz",
        "l/2_1_r.gz",
        "l/4_3",
        "m/k/100%#?.txt",
        "u/o.txt",
    ]
    assert texts(rendering) == {"l/3": b"1"}
    assert rendering.values["l"] == ["/in/l/r.gz", "/in/l/1_r.gz", "/in/l/2_1_r.gz", 1, "/in/l/4_3"]


def test_references_only_leaves_files_where_they_are() -> None:
    rendering = rendered(
        Layout.NAMED_DIR, references=True, f=file("s3://b/k"), l=many(folder("s3://b/d")), n=primitive(integer=1)
    )
    assert rendering.fetches == []
    assert rendering.values == {"f": "s3://b/k", "l": ["s3://b/d"], "n": 1}
    assert rendering.literals.literals["f"].scalar.blob.uri == "s3://b/k"
    assert texts(rendering) == {"n": b"1"}


def test_a_hash_and_metadata_survive() -> None:
    literal = primitive(integer=1)
    literal.hash = "h"
    literal.metadata["a"] = "b"
    assert rendered(x=literal).literals.literals["x"] == literal


@pytest.mark.parametrize(
    ("literal", "sentence"),
    [
        (idl.Literal(), "Input 'l\\[2\\].x' holds a literal without a value"),
        (idl.Literal(scalar=idl.Scalar()), "Input 'l\\[2\\].x' holds a scalar without a value"),
        (primitive(), "Input 'l\\[2\\].x' holds a primitive without a value"),
        (union(idl.Literal()), "Input 'l\\[2\\].x' holds a literal without a value"),
        (
            idl.Literal(offloaded_metadata=idl.LiteralOffloadedMetadata(uri="s3://b/k")),
            "Input 'l\\[2\\].x' holds an offloaded literal that was not read",
        ),
        (
            idl.Literal(scalar=idl.Scalar(generic=idl.Struct(fields={"a": idl.Value()}))),
            "Input 'l\\[2\\].x' holds a Struct with a field without a value",
        ),
    ],
)
def test_an_unknown_literal_is_named_with_its_variable_and_the_place_in_it(literal: idl.Literal, sentence: str) -> None:
    with pytest.raises(UnknownLiteral, match=sentence):
        rendered(l=many(NONE, NONE, mapping(x=literal)))


@pytest.mark.parametrize(
    ("literal", "sentence"),
    [
        (file(""), "Input 'x' holds a file or directory without a URI"),
        (file("s3://"), "Input 'x' holds a file or directory whose URI cannot be"),
        (
            primitive(datetime=Timestamp(seconds=-(10**12))),
            "Input 'x' holds a datetime that is a time outside the years 1 to 9999",
        ),
        (
            idl.Literal(scalar=idl.Scalar(generic=idl.Struct(fields={"a": idl.Value(number_value=math.nan)}))),
            "Input 'x' holds a number that no JSON can hold",
        ),
    ],
)
def test_what_cannot_be_used_is_one_sentence(literal: idl.Literal, sentence: str) -> None:
    with pytest.raises(BadInputs, match=sentence):
        rendered(x=literal)


@pytest.mark.parametrize("name", ["..", "../x", "a/../b", "/etc/x", "a//b", "a\0b", "", "x" * 256])
def test_a_name_that_leads_out_is_refused_as_variable_and_as_key(name: str) -> None:
    with pytest.raises(UnsafePath):
        render(idl.LiteralMap(literals={name: NONE}), input_dir="/in", layout=Layout.DIRECT)
    with pytest.raises(UnsafePath):
        rendered(m=idl.Literal(map=idl.LiteralMap(literals={name: file("s3://b/k")})))


def test_a_message_is_one_line_whatever_a_key_holds() -> None:
    with pytest.raises(UnknownLiteral) as caught:
        rendered(m=idl.Literal(map=idl.LiteralMap(literals={"a\nž\x1b": idl.Literal()})))
    assert caught.value.message == "Input 'm.a\\nž\\x1b' holds a literal without a value"


@pytest.mark.parametrize("uri", ["s3://b/a/..", "s3://b/.", "s3://b/", "s3://b/" + "n" * 256])
def test_a_file_whose_own_name_leads_out_is_refused(uri: str) -> None:
    with pytest.raises(UnsafePath):
        rendered(Layout.NAMED_DIR, x=file(uri))


def test_two_inputs_never_meet_in_one_path() -> None:
    literals = {"a": mapping(), "b": NONE}
    literals["a"].map.literals["k"].CopyFrom(folder("s3://b/d"))
    literals["a"].map.literals["k/x"].CopyFrom(NONE)
    with pytest.raises(UnsafePath, match=r"'a/k' is wanted by input 'a.k/x' and is already a directory of input 'a.k'"):
        render(idl.LiteralMap(literals=literals), input_dir="/in", layout=Layout.DIRECT)


literals = st.recursive(
    st.one_of(
        st.integers(-(2**63), 2**63 - 1).map(lambda value: primitive(integer=value)),
        st.floats(allow_nan=False, allow_infinity=False).map(lambda value: primitive(float_value=value)),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(lambda value: primitive(string_value=value)),
        st.booleans().map(lambda value: primitive(boolean=value)),
        st.binary(max_size=10).map(lambda value: idl.Literal(scalar=idl.Scalar(binary=idl.Binary(value=value)))),
        st.just(NONE),
        st.text("abc./", min_size=1, max_size=8).map(lambda key: file(f"s3://b/{key}")),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: many(*items)),
        st.dictionaries(st.text("ab./\0", max_size=4), inner, max_size=3).map(
            lambda items: idl.Literal(map=idl.LiteralMap(literals=items))
        ),
        inner.map(union),
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc._/", min_size=1, max_size=4), literals, max_size=4), st.sampled_from(Layout))
def test_no_path_escapes_and_none_is_used_twice(inputs: dict[str, idl.Literal], layout: Layout) -> None:
    try:
        rendering = render(idl.LiteralMap(literals=inputs), input_dir="/in", layout=layout)
    except CopilotError as error:
        assert error.sentence().endswith(".")  # noqa: PT017 — refusing is one of the two right ends
        return
    paths = [file.path for file in rendering.files] + [spec.target for spec in rendering.fetches]
    assert len(paths) == len(set(paths))
    for path in paths:
        assert not path.startswith("/")
        assert not {"", ".", ".."} & set(path.split("/"))
        assert not any(other.startswith(f"{path}/") for other in paths)


@given(st.binary(max_size=40), st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_files_hold_what_the_literals_hold(content: bytes, text: str) -> None:
    rendering = rendered(b=idl.Literal(scalar=idl.Scalar(binary=idl.Binary(value=content))), t=primitive(string_value=text))
    assert texts(rendering) == {"b": content, "t": text.encode()}
    assert base64.b64decode(str(rendering.values["b"] or "")) == content
    assert json.loads(json.dumps(rendering.values["t"])) == text
