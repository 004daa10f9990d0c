"""What the reference did, replayed against the use-case (the command line has its own replay)."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format

from copilot.core import idl
from copilot.core.errors import CopilotError, Kind
from copilot.core.literals import Layout
from copilot.download.plan import Format, Mode, choice
from copilot.download.run import InputRequest

if TYPE_CHECKING:
    from tests.download.conftest import Room

RECORDINGS = Path(__file__).parents[1] / "golden" / "recordings"
# Spellings of flags are the command line's; the last two need a web server, and a directory the recording cannot show.
NOT_OURS = ("download-flags-", "download-fails-with-an-error-document-http-", "download-the-local-directory")
CASES = [path for path in sorted(RECORDINGS.glob("download-*.json")) if not path.name.startswith(NOT_OURS)]


FAILS = "fails-with-an-error-document"


def name_of(path: Path) -> str:
    return path.stem.removeprefix("download-")


def options_of(argv: list[str]) -> dict[str, str]:
    words = argv[argv.index("download") + 1 :]
    return {name: value for name, value in pairwise(words) if name.startswith("--")}


def content_of(spec: dict[str, Any]) -> bytes:
    if "text" in spec:
        return str(spec["text"]).encode()
    if "base64" in spec:
        return base64.b64decode(spec["base64"])
    message: bytes = json_format.ParseDict(spec["LiteralMap"], idl.LiteralMap()).SerializeToString()
    return message


def replay(path: Path, room: Room) -> dict[str, Any]:
    case = json.loads(path.read_text())
    options = options_of(case["argv"])
    for uri, spec in case["objects"].items():
        room.put(uri, content_of(spec))
    room.stage(
        InputRequest(
            directory=options["--to-local-dir"].replace("{in}", str(room.inputs)),
            source=options["--from-remote"],
            interface=idl.VariableMap.FromString(base64.b64decode(options["--input-interface"])),
            document=choice(Format, options["--format"], "--format"),
            layout=choice(Layout, options["--file-input-layout"], "--file-input-layout"),
            mode=choice(Mode, options.get("--download-mode", "DOWNLOAD_EAGER"), "--download-mode"),
        )
    )
    expected: dict[str, Any] = json.loads(json.dumps(case["expect"]).replace("{in}", str(room.inputs)))
    return expected


@pytest.mark.parametrize("path", [path for path in CASES if FAILS not in path.name], ids=name_of)
def test_the_directory_is_the_one_the_reference_made(path: Path, room: Room) -> None:
    expect = replay(path, room)
    assert not expect["failed"]
    there = {name: content for name, content in room.tree().items() if name != "inputs.pb"}
    assert there == {name: None if spec == "directory" else content_of(spec) for name, spec in expect["tree"].items()}
    assert room.literals() == json_format.ParseDict(expect["inputs.pb"]["LiteralMap"], idl.LiteralMap())


@pytest.mark.parametrize("path", [path for path in CASES if FAILS in path.name], ids=name_of)
def test_what_failed_there_fails_here_and_leaves_nothing(path: Path, room: Room) -> None:
    assert json.loads(path.read_text())["expect"]["failed"]
    with pytest.raises(CopilotError) as caught:
        replay(path, room)
    assert caught.value.kind is Kind.USER
    assert not room.inputs.exists()
