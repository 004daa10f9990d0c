"""Large texts and many objects: right, and in memory that does not grow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copilot.core import idl
from copilot.core.errors import BadOutput
from copilot.core.literal_frame import binary_frame, text_frame

if TYPE_CHECKING:
    from tests.upload.conftest import World

TEXT = idl.LiteralType(simple=idl.SimpleType.STRING)
BYTES = idl.LiteralType(simple=idl.SimpleType.BINARY)
MIB = 1024 * 1024

CHILD = """
import json, resource, sys
from pathlib import Path
from copilot.core import idl
from copilot.engine.budget import Limits
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.engine.transfer import Transfer
from copilot.stores.registry import open_stores
from copilot.testing.recording import RecordingLog
from copilot.upload.plan import OutputTarget
from copilot.upload.run import OutputRequest, publish_outputs
from copilot.upload.watchers.noop import NoopWatcher

class Quiet:
    def planned(self, objects, size_bytes): pass
    def moved(self, size_bytes): pass
    def finished(self, subject, size_bytes): pass

out, store = Path(sys.argv[1]), sys.argv[2]
interface = idl.TypedInterface()
for name, kind in json.loads(sys.argv[3]).items():
    entry = interface.outputs.variables.add()
    entry.key = name
    if kind == "directory":
        entry.value.type.blob.dimensionality = idl.BlobType.MULTIPART
    else:
        entry.value.type.simple = idl.SimpleType.STRING
clock, log = SystemClock(), RecordingLog()
transfer = Transfer(open_stores(), limits=Limits(max_workers=4), clock=clock, log=log, progress=Quiet())
request = OutputRequest(directory=out, interface=interface, target=OutputTarget(store + "/raw", store + "/meta"))
done = publish_outputs(
    request, transfer=transfer, watchers=[NoopWatcher(clock)], clock=clock, log=log, cancel=Token(clock, timeout_s=120)
)
print(json.dumps([done.totals.objects, done.totals.size_bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


@given(st.integers(0, 300) | st.sampled_from([2**14 - 1, 2**14, 70_000]))
def test_a_frame_is_what_protobuf_itself_would_write(size_bytes: int) -> None:
    content = b"x" * size_bytes
    frame = text_frame(size_bytes)
    assert frame.tail == b""
    assert idl.Literal.FromString(frame.head + content) == idl.Literal(
        scalar=idl.Scalar(primitive=idl.Primitive(string_value=content.decode()))
    )
    frame = binary_frame(size_bytes)
    assert idl.Literal.FromString(frame.head + content + frame.tail) == idl.Literal(
        scalar=idl.Scalar(binary=idl.Binary(value=content, tag="msgpack"))
    )


@given(before=st.text(alphabet=" \t\n", max_size=3), middle=st.text(max_size=60), after=st.text(alphabet=" \t\n", max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_a_text_that_is_streamed_is_the_text_that_would_be_read(world: World, before: str, middle: str, after: str) -> None:
    content = f"{before}{middle}{after}" or "\n"
    world.wrote({"t": content})
    world.publish({"t": TEXT}, max_literal_bytes=0, write_manifest=False, write_receipt=False)
    assert world.outputs()["t"].offloaded_metadata.uri == f"{world.raw}/_offloaded/t.pb"
    stored = idl.Literal.FromString(world.objects(world.raw)["_offloaded/t.pb"])
    assert stored.scalar.primitive.string_value == content.strip(" \t\n")


def test_blanks_longer_than_a_chunk_are_trimmed_as_well(world: World) -> None:
    world.wrote({"t": "\n" * 600_000 + "x y" + " " * 600_000, "blank": " " * 600_000})
    world.publish({"t": TEXT, "blank": TEXT}, max_literal_bytes=1000)
    stored = {name: idl.Literal.FromString(content) for name, content in world.objects(world.raw).items()}
    assert stored["_offloaded/t.pb"].scalar.primitive.string_value == "x y"
    assert stored["_offloaded/blank.pb"].scalar.primitive.string_value == ""


def test_large_bytes_are_offloaded_as_they_are(world: World) -> None:
    content = bytes(range(256)) * 8000
    world.wrote({"b": b" " + content})
    world.publish({"b": BYTES}, max_literal_bytes=1000)
    binary = idl.Literal.FromString(world.objects(world.raw)["_offloaded/b.pb"]).scalar.binary
    assert (binary.value, binary.tag) == (b" " + content, "msgpack")
    manifest = world.document("_manifest.json")
    assert manifest["objects"][0]["variable"] == "b"
    assert manifest["objects"][0]["digest"].startswith("crc32c:")


def test_a_large_text_that_is_not_utf_8_is_refused_before_anything_moves(world: World) -> None:
    world.wrote({"t": "é".encode() * 200_000 + b"\xff" + b"x" * 10})
    with pytest.raises(BadOutput, match="the bytes near number 400,001 are not UTF-8 text"):
        world.publish({"t": TEXT}, max_literal_bytes=1000)
    assert world.objects(world.raw) == {}


def test_a_text_cut_in_the_middle_of_a_character_is_refused(world: World) -> None:
    world.wrote({"t": "é".encode() * 2000 + b"\xc3"})
    with pytest.raises(BadOutput, match="are not UTF-8 text"):
        world.publish({"t": TEXT}, max_literal_bytes=1000)


def peak_kib(out: Path, store: Path, kinds: dict[str, str]) -> tuple[int, int, int]:
    arguments = [sys.executable, "-c", CHILD, str(out), str(store), json.dumps(kinds)]
    ran = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    objects, size_bytes, kib = json.loads(ran.stdout)
    return objects, size_bytes, kib


def test_memory_follows_neither_the_size_of_a_text_nor_the_number_of_objects(tmp_path: Path) -> None:
    small, big = tmp_path / "small", tmp_path / "big"
    for out, files, mib in ((small, 20, 1), (big, 5000, 192)):
        for part in range(10):
            (out / "v" / str(part)).mkdir(parents=True)
        for index in range(files):
            (out / "v" / str(index % 10) / f"{index}.txt").write_bytes(b"x" * 100)
        with (out / "t").open("wb") as file:
            for _ in range(mib):
                file.write(b"y" * MIB)
    kinds = {"v": "directory", "t": "text"}
    objects, _, kib_small = peak_kib(small, tmp_path / "store-small", kinds)
    assert objects == 20
    objects, size_bytes, kib_big = peak_kib(big, tmp_path / "store-big", kinds)
    assert (objects, size_bytes > 192 * MIB) == (5001, True)
    assert kib_big - kib_small < 32 * 1024, f"{kib_small} KiB became {kib_big} KiB"
