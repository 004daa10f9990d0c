"""The whole of it against a real S3 server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from copilot.core import idl
from copilot.core.values import FetchSpec
from copilot.engine.cancel import Token
from copilot.stores.registry import open_stores
from copilot.stores.settings import StoreSettings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.upload.conftest import World

    from copilot.testing.servers.s3 import S3Server

FOLDER = idl.LiteralType(blob=idl.BlobType(dimensionality=idl.BlobType.MULTIPART))
TEXT = idl.LiteralType(simple=idl.SimpleType.STRING)


def test_outputs_on_a_real_server_are_what_the_manifest_says(
    world: World, s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    world.stores = open_stores(StoreSettings(s3=s3_server.settings))
    world.raw, world.meta = f"s3://{s3_bucket}/run/raw", f"s3://{s3_bucket}/run/meta"
    names = ["a#b", "a?b", "a%20b", "a+b", "ž 日本.txt", "deep/er/x", "empty"]
    world.wrote({f"v/{name}": "" if name == "empty" else name * 1000 for name in names} | {"v/hollow": None, "t": "z" * 5000})
    world.publish({"v": FOLDER, "t": TEXT}, max_literal_bytes=1000)
    for name in names:
        expected = b"" if name == "empty" else name.encode() * 1000
        assert s3_server.peek(s3_bucket, f"run/raw/v/{name}") == expected, name
    outputs = idl.LiteralMap.FromString(s3_server.peek(s3_bucket, "run/meta/outputs.pb") or b"")
    assert outputs.literals["v"].scalar.blob.uri == f"{world.raw}/v"
    assert outputs.literals["t"].offloaded_metadata.uri == f"{world.raw}/_offloaded/t.pb"
    manifest = json.loads(s3_server.peek(s3_bucket, "run/meta/_manifest.json") or b"{}")
    assert {entry["path"] for entry in manifest["objects"] if "path" in entry} == {f"v/{name}" for name in names} | {
        "v/hollow/"
    }
    assert all(entry["etag"] for entry in manifest["objects"])
    back = tmp_path / "back"
    list(world.transfer.fetch([FetchSpec(f"{world.raw}/v", "v", tree=True)], back, Token(world.clock)))
    assert {str(path.relative_to(back / "v")) for path in (back / "v").rglob("*")} == {*names, "hollow", "deep", "deep/er"}
    assert (back / "v" / "hollow").is_dir()
