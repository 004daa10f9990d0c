"""What the reference did with outputs, replayed through the whole of this room over a store in memory."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format

from copilot.core import idl
from copilot.core.error_document import OUTPUT_UPLOAD_FAILED, error_document
from copilot.core.errors import CopilotError
from copilot.upload.plan import OutputTarget

if TYPE_CHECKING:
    from tests.upload.conftest import World

RECORDINGS = Path(__file__).parents[1] / "golden" / "recordings"
FLAGS = {
    "-i": "--interface",
    "-x": "--to-raw-output",
    "-o": "--to-output-prefix",
    "-t": "--timeout",
    "-u": "--upload-mode",
    "-f": "--from-local-dir",
    "-m": "--format",
}
# Decided before anything is asked of this room: by the flags.
BY_FLAGS = {"unknown-upload-mode", "unknown-watcher-type"}
CASES = sorted(path.stem for path in RECORDINGS.glob("sidecar-*.json") if not any(word in path.stem for word in BY_FLAGS))


def flags_of(argv: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    words = iter(argv[argv.index("sidecar") + 1 :])
    for word in words:
        name, equals, value = word.partition("=")
        found[FLAGS.get(name, name)] = value if equals else next(words)
    return found


def content_of(entry: Any) -> bytes | None:  # noqa: ANN401 — recorded JSON
    if entry == "directory":
        return None
    return base64.b64decode(entry["base64"]) if "base64" in entry else str(entry["text"]).encode()


@pytest.mark.parametrize("case", CASES)
def test_the_recorded_run_gives_the_same_objects(world: World, case: str) -> None:
    recorded = json.loads((RECORDINGS / f"{case}.json").read_text())
    flags = flags_of(recorded["argv"])
    world.raw, world.meta = (flags[name].replace("s3://", "memory://") for name in ("--to-raw-output", "--to-output-prefix"))
    world.wrote({name: content_of(entry) for name, entry in recorded["outputs"].items()})
    asked = idl.TypedInterface.FromString(base64.b64decode(flags.get("--interface", "")))
    target = OutputTarget(world.raw, world.meta, flags.get("--meta-output-name", "outputs.pb"))
    expected = recorded["expect"]
    if expected["failed"]:
        with pytest.raises(CopilotError) as caught:
            world.publish({}, interface=asked, target=target, write_receipt=False)
        written = idl.ErrorDocument.FromString(error_document(caught.value, OUTPUT_UPLOAD_FAILED)).error
        (document,) = expected["metadata"].values()
        assert written.code == document["ErrorDocument"]["code"]
        assert idl.ContainerError.Kind.Name(written.kind) == document["ErrorDocument"]["kind"]
        assert not [name for name in world.objects(world.meta) if not name.startswith("partial/")]
    else:
        world.publish({}, interface=asked, target=target, write_manifest=False, write_receipt=False)
        assert set(world.objects(world.meta)) == set(expected["metadata"])
        for name, document in expected["metadata"].items():
            wanted = json_format.ParseDict(document["LiteralMap"], idl.LiteralMap())
            published = idl.LiteralMap.FromString(world.objects(world.meta)[name])
            text = json_format.MessageToJson(published).replace("memory://", "s3://")
            assert json_format.Parse(text, idl.LiteralMap()) == wanted
    assert world.objects(world.raw) == {name: content_of(entry) for name, entry in expected["raw"].items()}
