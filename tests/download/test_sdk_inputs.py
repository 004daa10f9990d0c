"""Inputs written by the official Flyte SDK's own converters, and the ``inputs.pb`` we write, read back by them."""

from __future__ import annotations

import asyncio
import inspect
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest

from copilot.core import idl

if TYPE_CHECKING:
    from types import ModuleType

    from tests.download.conftest import Room

# The SDK, and the libraries below it, use deprecated parts of one another.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    label: str


@pytest.fixture(scope="module")
def sdk() -> ModuleType:
    """Importing the SDK takes seconds: only when a test runs."""
    from flyte._internal.runtime import convert  # noqa: PLC0415 — as said

    return convert


def interface_of(types: dict[str, type]) -> Any:  # noqa: ANN401 — the SDK has no types
    from flyte.models import NativeInterface  # noqa: PLC0415 — as above

    return NativeInterface.from_types({name: (kind, inspect.Parameter.empty) for name, kind in types.items()}, {})


TYPES: dict[str, Any] = {
    "n": int,
    "f": float,
    "t": str,
    "b": bool,
    "when": datetime,
    "took": timedelta,
    "l": list[int],
    "m": dict[str, float],
    "nested": list[dict[str, str]],
    "maybe": int | None,
    "colour": Colour,
}
VALUES: dict[str, Any] = {
    "n": -7,
    "f": 1.5,
    "t": "žluť\n",
    "b": True,
    "when": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    "took": timedelta(hours=1, milliseconds=1),
    "l": [1, 2],
    "m": {"a": 0.5},
    "nested": [{"k": "v"}],
    "maybe": None,
    "colour": Colour.RED,
}


def test_what_the_sdk_writes_is_read_and_what_we_write_it_reads_back(sdk: ModuleType, room: Room) -> None:
    native = interface_of(TYPES)
    written = asyncio.run(sdk.convert_from_native_to_inputs(native, custom_context={"who": "a test"}, **VALUES))
    assert written.proto_inputs.context
    room.put("s3://bucket/in/inputs.pb", written.proto_inputs.SerializeToString())
    room.stage(room.request())
    assert room.values() == {
        "n": b"-7",
        "f": b"1.5",
        "t": "žluť\n".encode(),
        "b": b"true",
        "when": b"2026-01-02T03:04:05.000006Z",
        "took": b"1h0m0.001s",
        "l/0": b"1",
        "l/1": b"2",
        "m/a": b"0.5",
        "nested/0/k": b"v",
        "maybe": b"null",
        "colour": b"RED",
    }
    assert json.loads((room.inputs / "inputs.json").read_bytes()) == {
        "n": -7,
        "f": 1.5,
        "t": "žluť\n",
        "b": True,
        "when": "2026-01-02T03:04:05.000006Z",
        "took": 3_600_001_000_000,
        "l": [1, 2],
        "m": {"a": 0.5},
        "nested": [{"k": "v"}],
        "maybe": None,
        "colour": "RED",
    }
    ours = type(written.proto_inputs).FromString((room.inputs / "inputs.pb").read_bytes())
    assert not ours.context
    assert asyncio.run(sdk.convert_inputs_to_native(sdk.Inputs(ours), native)) == VALUES


def test_files_and_directories_of_the_sdk_come_down(sdk: ModuleType, room: Room) -> None:
    from flyte.io import Dir, File  # noqa: PLC0415 — as above

    native = interface_of({"file": File, "folder": Dir, "files": list[File]})
    room.put("s3://bucket/a/x.csv", "x")
    room.put("s3://bucket/d/deep/y", "y")
    written = asyncio.run(
        sdk.convert_from_native_to_inputs(
            native,
            file=File.from_existing_remote("s3://bucket/a/x.csv"),
            folder=Dir.from_existing_remote("s3://bucket/d"),
            files=[File.from_existing_remote("s3://bucket/a/x.csv")],
        )
    )
    room.put("s3://bucket/in/inputs.pb", written.proto_inputs.SerializeToString())
    room.stage(room.request())
    assert room.values() == {"file": b"x", "folder/deep/y": b"y", "files/0": b"x"}
    ours = type(written.proto_inputs).FromString((room.inputs / "inputs.pb").read_bytes())
    back = asyncio.run(sdk.convert_inputs_to_native(sdk.Inputs(ours), native))
    assert back["file"].path == str(room.inputs / "file")
    assert back["folder"].path == str(room.inputs / "folder")


def test_a_dataclass_of_the_sdk_is_its_bytes(sdk: ModuleType, room: Room) -> None:
    native = interface_of({"p": Point})
    written = asyncio.run(sdk.convert_from_native_to_inputs(native, p=Point(1, "one")))
    room.put("s3://bucket/in/inputs.pb", written.proto_inputs.SerializeToString())
    room.stage(room.request())
    literals = idl.LiteralMap.FromString(written.proto_inputs.SerializeToString())
    assert room.values() == {"p": literals.literals["p"].scalar.binary.value}
    ours = type(written.proto_inputs).FromString((room.inputs / "inputs.pb").read_bytes())
    assert asyncio.run(sdk.convert_inputs_to_native(sdk.Inputs(ours), native))["p"] == Point(1, "one")
