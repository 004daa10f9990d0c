"""The official SDK's own converters declare the types, and read back what is published: values, files, errors."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]  # ships no types
import pytest
from flyteidl2.core import literals_pb2, types_pb2
from flyteidl2.task import common_pb2

from copilot.core import idl
from copilot.core.error_document import OUTPUT_UPLOAD_FAILED, error_document
from copilot.core.errors import MissingOutput

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK's own deprecations are not ours to mend
    from flyte._internal.runtime import convert, io
    from flyte.io import Dir, File
    from flyte.models import NativeInterface
    from flyte.types import TypeEngine

if TYPE_CHECKING:
    from tests.upload.conftest import World


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


@dataclass
class Score:
    accuracy: float
    labels: list[str]
    rows: int


CASES: list[tuple[str, Any, dict[str, str | bytes | None], Any]] = [
    ("int", int, {"o0": "42\n"}, 42),
    ("float", float, {"o0": "0.25"}, 0.25),
    ("str", str, {"o0": "žluť 🐎"}, "žluť 🐎"),
    ("bool", bool, {"o0": "True"}, True),
    ("datetime", dt.datetime, {"o0": "2026-01-02T03:04:05.5Z"}, dt.datetime(2026, 1, 2, 3, 4, 5, 500_000, dt.UTC)),
    ("timedelta", dt.timedelta, {"o0": "-1h30m0.5s"}, -dt.timedelta(minutes=90, milliseconds=500)),
    ("list", list[int], {"o0": "[1, 2, 3]"}, [1, 2, 3]),
    ("list as a directory", list[str], {"o0/0": "a", "o0/1": "b"}, ["a", "b"]),
    ("nested", dict[str, list[float]], {"o0": '{"a": [1, 2.5], "b": []}'}, {"a": [1.0, 2.5], "b": []}),
    ("map as a directory", dict[str, int], {"o0/x": "1", "o0/y": "2"}, {"x": 1, "y": 2}),
    ("optional, there", int | None, {"o0": "7"}, 7),
    ("optional, null", int | None, {"o0": "null"}, None),
    ("optional, absent", int | None, {}, None),
    ("union", int | str, {"o0": "seven"}, "seven"),
    ("list of optionals", list[int | None], {"o0": "[1, null, 3]"}, [1, None, 3]),
    ("enum", Level, {"o0": "HIGH"}, Level.HIGH),
    ("dict", dict, {"o0": '{"a": {"b": [1, "x", null, true]}}'}, {"a": {"b": [1, "x", None, True]}}),
    ("dataclass", Score, {"o0": '{"accuracy": 0.5, "labels": ["a"], "rows": 3}'}, Score(0.5, ["a"], 3)),
]


def literal_type(python_type: Any) -> idl.LiteralType:  # noqa: ANN401 — any type the SDK knows
    return idl.LiteralType.FromString(TypeEngine.to_literal_type(python_type).SerializeToString())


def read_back(world: World, python_type: Any) -> Any:  # noqa: ANN401 — whatever the SDK makes of it
    interface = NativeInterface.from_types({}, {"o0": python_type})

    async def load() -> Any:  # noqa: ANN401 — as above
        # The backend hands outputs.pb on as named literals; the SDK's reader takes those.
        published = literals_pb2.LiteralMap.FromString((Path(world.meta) / "outputs.pb").read_bytes())
        outputs = common_pb2.Outputs(
            literals=[common_pb2.NamedLiteral(name=name, value=value) for name, value in published.literals.items()]
        )
        return await convert.convert_outputs_to_native(interface, convert.Outputs(proto_outputs=outputs))

    return asyncio.run(load())


@pytest.fixture
def on_disk(world: World, tmp_path: Path) -> World:
    world.raw, world.meta = str(tmp_path / "store" / "raw"), str(tmp_path / "store" / "meta")
    return world


@pytest.mark.parametrize(("name", "python_type", "files", "value"), CASES, ids=[case[0] for case in CASES])
def test_the_sdk_reads_the_value_it_declared(
    on_disk: World,
    name: str,
    python_type: Any,  # noqa: ANN401 — any type the SDK knows
    files: dict[str, str | bytes | None],
    value: object,
) -> None:
    del name
    on_disk.wrote(files)
    on_disk.publish({"o0": literal_type(python_type)})
    assert read_back(on_disk, python_type) == value


@pytest.mark.parametrize("limit", [10_000_000, 100])
def test_the_sdk_reads_a_large_text_also_when_it_is_an_object_of_its_own(on_disk: World, limit: int) -> None:
    on_disk.wrote({"o0": "x" * 3000})
    on_disk.publish({"o0": literal_type(str)}, max_literal_bytes=limit)
    assert read_back(on_disk, str) == "x" * 3000


def test_the_sdk_reads_a_file(on_disk: World) -> None:
    on_disk.wrote({"o0": "rows"})
    on_disk.publish({"o0": literal_type(File)})
    assert Path(read_back(on_disk, File).path).read_text() == "rows"


def test_the_sdk_reads_a_directory(on_disk: World) -> None:
    on_disk.wrote({"o0/a": "A", "o0/b/c": "C"})
    on_disk.publish({"o0": literal_type(Dir)})
    assert (Path(read_back(on_disk, Dir).path) / "b" / "c").read_text() == "C"


def test_the_sdk_reads_a_list_of_files(on_disk: World) -> None:
    on_disk.wrote({"o0/0": "A", "o0/1": "B"})
    on_disk.publish({"o0": literal_type(list[File])})
    assert [Path(file.path).read_text() for file in read_back(on_disk, list[File])] == ["A", "B"]


def test_the_sdk_takes_bytes_in_msgpack_for_a_dataclass_of_its_own(on_disk: World) -> None:
    on_disk.wrote({"o0": msgpack.dumps({"accuracy": 0.5, "labels": ["a"], "rows": 3})})
    on_disk.publish({"o0": idl.LiteralType(simple=types_pb2.SimpleType.BINARY)})
    assert read_back(on_disk, Score) == Score(0.5, ["a"], 3)


def test_the_sdk_raises_our_error_document_as_the_users_error(tmp_path: Path) -> None:
    path = tmp_path / "error.pb"
    path.write_bytes(error_document(MissingOutput("output 'n' was not written"), OUTPUT_UPLOAD_FAILED))
    loaded = asyncio.run(io.load_error(str(path)))
    error = convert.convert_error_to_native(loaded)
    assert type(error).__name__ == "RuntimeUserError"
    assert "MissingOutput: output 'n' was not written." in str(error)
