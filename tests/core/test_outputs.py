"""Texts, JSON and trees → literals, without a file system."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.core import gotext, idl
from copilot.core.errors import BadOutput
from copilot.core.output_literals import absent, is_uri
from copilot.core.output_place import Place, shown
from copilot.core.outputs import LiteralBuilder
from copilot.core.types_text import type_text

S = idl.SimpleType
BLANKS = st.text(alphabet=" \t\n", max_size=5)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def simple(kind: int) -> idl.LiteralType:
    return idl.LiteralType(simple=kind)


@dataclass
class Tree:
    """A file (bytes) or a directory (entries by name)."""

    name: str
    content: bytes | dict[str, bytes] = b""
    is_directory: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_directory = isinstance(self.content, dict)

    @property
    def shown(self) -> str:
        return f"/out/{self.name}"

    def read(self) -> bytes:
        assert isinstance(self.content, bytes)
        return self.content

    def entries(self) -> Sequence[Tree]:
        assert isinstance(self.content, dict)
        return [Tree(name, content) for name, content in sorted(self.content.items())]

    def beside(self, path: str) -> Tree | None:
        return Tree(path, b"") if path.startswith("ok") else None


def literal(literal_type: idl.LiteralType, content: str | bytes | dict[str, bytes]) -> idl.Literal:
    raw = content.encode() if isinstance(content, str) else content
    return LiteralBuilder().build(Place("v", "v", "/out/v", "s3://b/raw/v"), literal_type, Tree("v", raw))


def refused(literal_type: idl.LiteralType, content: str | bytes | dict[str, bytes]) -> BadOutput:
    with pytest.raises(BadOutput) as caught:
        literal(literal_type, content)
    return caught.value


@given(BLANKS, st.integers(-(2**63), 2**63 - 1), BLANKS)
def test_every_64_bit_integer_between_blanks_is_read(before: str, value: int, after: str) -> None:
    assert literal(simple(S.INTEGER), f"{before}{value}{after}").scalar.primitive.integer == value


@given(st.text())
def test_a_text_loses_blanks_tabs_and_newlines_at_its_ends_and_nothing_else(text: str) -> None:
    read = literal(simple(S.STRING), text.encode("utf-8", "replace")).scalar.primitive.string_value
    assert read == text.encode("utf-8", "replace").decode().strip(" \t\n")


@given(st.floats(allow_nan=False))
def test_every_float_comes_back_from_gos_own_text(value: float) -> None:
    text = gotext.format_float(value)
    assert literal(simple(S.FLOAT), text).scalar.primitive.float_value == value


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_duration_comes_back_from_its_text_and_from_nanoseconds_in_json(nanoseconds: int) -> None:
    duration = literal(simple(S.DURATION), gotext.format_duration(nanoseconds)).scalar.primitive.duration
    assert duration.seconds * 10**9 + duration.nanos == nanoseconds
    assert duration.seconds * duration.nanos >= 0
    in_json = literal(idl.LiteralType(collection_type=simple(S.DURATION)), f"[{nanoseconds}]")
    assert in_json.collection.literals[0].scalar.primitive.duration == duration


@given(st.integers(-62_135_596_800, 253_402_300_799), st.integers(0, 999_999_999))
def test_every_time_comes_back_from_its_text(seconds: int, nanoseconds: int) -> None:
    read = literal(simple(S.DATETIME), gotext.format_timestamp(seconds, nanoseconds)).scalar.primitive.datetime
    assert (read.seconds, read.nanos) == (seconds, nanoseconds)


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=4))
def test_a_json_object_becomes_the_same_struct(value: dict[str, object]) -> None:
    from google.protobuf import json_format  # noqa: PLC0415 — as Flyte reads it

    struct = literal(simple(S.STRUCT), json.dumps(value)).scalar.generic
    assert json_format.MessageToDict(struct) == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    "text", ["[1]", "1", '"x"', "null", "{", "", '{"a":1}x', '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}']
)
def test_a_struct_is_one_json_object(text: str) -> None:
    refused(simple(S.STRUCT), text)


def test_an_integer_too_large_for_a_float_is_refused_in_a_struct() -> None:
    assert "does not fit" in refused(simple(S.STRUCT), '{"a": 1' + "0" * 400 + "}").message


def test_half_a_surrogate_pair_becomes_the_replacement_character_as_in_go() -> None:
    assert literal(simple(S.STRUCT), r'{"a": "x\ud800y\ud83d\ude00"}').scalar.generic.fields["a"].string_value == "x\ufffdy😀"


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        (S.INTEGER, "4.5", "'4.5' is not an integer"),
        (S.INTEGER, "1_000", "'1_000' is not an integer"),
        (S.INTEGER, "", "an empty text is not an integer"),
        (S.INTEGER, "٣", "'٣' is not an integer"),
        (S.INTEGER, str(2**63), f"'{2**63}' does not fit a signed 64-bit integer"),
        (S.FLOAT, "abc", "'abc' is not a number"),
        (S.BOOLEAN, "yes", "'yes' is not a boolean"),
        (S.DATETIME, "2024-01-02 03:04:05", "is not an RFC 3339 time"),
        (S.DURATION, "5 minutes", "is not a duration"),
    ],
)
def test_an_ill_typed_text_is_named_with_its_path_its_type_and_a_cure(kind: int, text: str, problem: str) -> None:
    error = refused(simple(kind), text)
    assert problem in error.message
    assert error.message.startswith(f"output 'v' should be {type_text(simple(kind))}, but in /out/v ")
    assert error.hint.startswith("Write ")
    assert error.subject == "v"


def test_bytes_that_are_no_text_are_pointed_at() -> None:
    error = refused(simple(S.STRING), b"abc\xff")
    assert "byte 4 (0xff) is not UTF-8 text" in error.message


def test_what_is_shown_of_a_value_is_short_and_printable() -> None:
    assert len(shown("x" * 10_000)) < 60
    assert shown("a\nb\x1b[31m") == r"'a\nb\x1b[31m'"
    assert len(shown(b"\xff" * 10_000)) < 60


def test_a_directory_for_a_scalar_is_refused() -> None:
    assert "there is a directory" in refused(simple(S.INTEGER), {"a": b"1"}).message


def test_bytes_are_taken_as_they_are() -> None:
    binary = literal(simple(S.BINARY), b" \x00\xff\n").scalar.binary
    assert (binary.value, binary.tag) == (b" \x00\xff\n", "msgpack")


@given(st.lists(st.text()))
def test_a_json_list_of_texts_keeps_them_verbatim(texts: list[str]) -> None:
    built = literal(idl.LiteralType(collection_type=simple(S.STRING)), json.dumps(texts))
    assert [one.scalar.primitive.string_value for one in built.collection.literals] == texts


def test_json_values_of_every_simple_type() -> None:
    values = {
        S.NONE: ("null", "none_type"),
        S.INTEGER: ("7", "primitive"),
        S.FLOAT: ("7", "primitive"),
        S.STRING: ('"7"', "primitive"),
        S.BOOLEAN: ("true", "primitive"),
        S.DATETIME: ('"2026-01-02T03:04:05Z"', "primitive"),
        S.DURATION: ('"90s"', "primitive"),
        S.BINARY: ('"AP8="', "binary"),
        S.ERROR: ('"no"', "error"),
        S.STRUCT: ('{"a": []}', "generic"),
    }
    for kind, (text, arm) in values.items():
        built = literal(idl.LiteralType(map_value_type=simple(kind)), f'{{"k": {text}}}')
        assert built.map.literals["k"].scalar.WhichOneof("value") == arm, kind
        wrong = "[]" if kind != S.STRUCT else "1"
        assert "output 'v.k' should be" in refused(idl.LiteralType(map_value_type=simple(kind)), f'{{"k": {wrong}}}').message


def test_base64_inside_json_is_checked() -> None:
    assert "not base64" in refused(idl.LiteralType(collection_type=simple(S.BINARY)), '["???"]').message


def test_nested_places_are_named() -> None:
    deep = idl.LiteralType(map_value_type=idl.LiteralType(collection_type=simple(S.INTEGER)))
    assert "output 'v.train[1]' should be integer" in refused(deep, '{"train": [1, "x"]}').message


def test_a_key_that_cannot_be_part_of_an_objects_name_cannot_hold_a_file() -> None:
    files = idl.LiteralType(map_value_type=idl.LiteralType(blob=idl.BlobType()))
    for key in ("..", "a/b", "", "."):
        assert "cannot be part of an object's name" in refused(files, json.dumps({key: "ok"})).message
    numbers = idl.LiteralType(map_value_type=simple(S.INTEGER))
    assert literal(numbers, '{"../x": 1}').map.literals["../x"].scalar.primitive.integer == 1


def test_an_absent_value_is_none_only_where_none_is_a_value() -> None:
    optional = idl.LiteralType(union_type=idl.UnionType(variants=[simple(S.INTEGER), simple(S.NONE)]))
    nothing = absent(optional)
    assert nothing is not None
    assert nothing.scalar.union.type == simple(S.NONE)
    assert absent(simple(S.NONE)) is not None
    assert absent(simple(S.INTEGER)) is None
    assert absent(idl.LiteralType(collection_type=optional)) is None


def test_an_undeclared_type_is_refused() -> None:
    assert "the interface gives no type that is known here" in refused(idl.LiteralType(), "1").message


def test_types_have_words() -> None:
    none = simple(S.NONE)
    optional = idl.LiteralType(union_type=idl.UnionType(variants=[simple(S.STRING), none]))
    many = idl.LiteralType(enum_type=idl.EnumType(values=[str(index) for index in range(9)]))
    assert (
        type_text(idl.LiteralType(map_value_type=idl.LiteralType(collection_type=optional)))
        == "map of text to list of optional text"
    )
    assert type_text(many) == "one of '0', '1', '2', '3', '4', '5' and 3 more"
    assert type_text(idl.LiteralType()) == "value of an unknown type"


@pytest.mark.parametrize(
    ("text", "answer"), [("s3://b/k", True), ("a/b", False), ("://x", False), ("s3://", False), ("s3://a b", False)]
)
def test_what_counts_as_a_uri(text: str, *, answer: bool) -> None:
    assert is_uri(text) is answer
