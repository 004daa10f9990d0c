"""One task whose inputs lie in several clouds and buckets, configured as Flyte configures them, through the executables."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core import idl
from copilot.testing.servers.web import Page

if TYPE_CHECKING:
    from copilot.testing.servers.azure import AzureServer
    from copilot.testing.servers.gcs import GcsServer
    from copilot.testing.servers.redis import RedisServer
    from copilot.testing.servers.s3 import S3Server
    from copilot.testing.servers.web import WebServer

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("COPILOT_", "AWS_", "AZURE_", "GOOGLE_"))}


def run(name: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    argv = [str(Path(sys.executable).with_name(name)), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, env={**CLEAN, **environ}, check=False, timeout=120)


def configure(where: Path, s3: S3Server, other: S3Server, azure: AzureServer) -> str:
    """Flyte's storage section: S3 for everything, a scheme of its own for another S3 server and for Azure."""
    where.mkdir()
    keys = {"auth_type": "accesskey", "access_key_id": s3.access_key, "secret_key": s3.secret_key, "endpoint": s3.endpoint}
    others = {**keys, "access_key_id": other.access_key, "secret_key": other.secret_key, "endpoint": other.endpoint}
    first = {"storage": {"type": "stow", "stow": {"kind": "s3", "config": {**keys, "region": s3.region}}}}
    blobs = {"account": azure.account, "key": azure.key, "base_url": azure.endpoint}
    schemes = {"s3a": {"kind": "s3", "config": {**others, "region": other.region}}, "abfs": {"kind": "azure", "config": blobs}}
    (where / "1.yaml").write_text(json.dumps(first))
    (where / "2.yaml").write_text(json.dumps({"storage": {"schemes": schemes}}))
    return str(where / "*.yaml")


def inputs(**uris: str) -> bytes:
    literals = idl.LiteralMap()
    for name, uri in uris.items():
        blob = literals.literals[name].scalar.blob
        blob.uri = uri
        blob.metadata.type.dimensionality = idl.BlobType.MULTIPART if uri.endswith("/") else idl.BlobType.SINGLE
    return bytes(literals.SerializeToString())


@pytest.mark.parametrize("name", ["copilot", "flyte-copilot"])
def test_inputs_from_five_clouds_and_a_disk_are_one_directory_and_outputs_go_to_two_of_them(  # noqa: PLR0917 - one server each
    name: str,
    tmp_path: Path,
    s3_server: S3Server,
    moto_server: S3Server,
    gcs_server: GcsServer,
    azure_server: AzureServer,
    redis_server: RedisServer,
    http_server: WebServer,
) -> None:
    first, second, third = s3_server.new_bucket(), s3_server.new_bucket(), moto_server.new_bucket()
    bucket, container = gcs_server.new_bucket(), azure_server.new_container()
    s3_server.poke(first, "a/x.txt", b"from s3")
    s3_server.poke(second, "tree/b/y.txt", b"from another bucket")
    moto_server.poke(third, "z.txt", b"from another s3")
    gcs_server.poke(bucket, "g.txt", b"from google")
    azure_server.poke(container, "dir/w.txt", b"from azure")
    http_server.pages["/h.txt"] = Page(b"from the web")
    (tmp_path / "f.txt").write_bytes(b"from a disk")
    literals = inputs(
        s3=f"s3://{first}/a/x.txt",
        tree=f"s3://{second}/tree/",
        other=f"s3a://{third}/z.txt",
        google=f"gs://{bucket}/g.txt",
        azure=f"abfs://{container}/dir/",
        web=f"{http_server.url}/h.txt",
        disk=f"file://{tmp_path}/f.txt",
    )
    redis_server.poke("run/inputs.pb", literals)
    environ = {
        "STORAGE_EMULATOR_HOST": gcs_server.endpoint,
        "STORAGE.REDIS.ADDR": redis_server.addr,
        "STORAGE.REDIS.PASSWORD": redis_server.password,
    }
    config = ["--config", configure(tmp_path / "config", s3_server, moto_server, azure_server)]
    into, out = tmp_path / "in", tmp_path / "out"
    staged = run(
        name, *config, "download", "--from-remote", "redis:///run/inputs.pb", "--to-local-dir", str(into),
        "--to-output-prefix", f"s3://{first}/out", **environ,
    )  # fmt: skip
    assert staged.returncode == 0, staged.stderr
    found = {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*.txt") if path.is_file()}
    found |= {path.name: path.read_bytes() for path in into.iterdir() if path.is_file() and not path.name.startswith("inputs.")}
    assert found == {
        "s3": b"from s3",
        "tree/b/y.txt": b"from another bucket",
        "other": b"from another s3",
        "google": b"from google",
        "azure/w.txt": b"from azure",
        "web": b"from the web",
        "disk": b"from a disk",
    }
    out.mkdir()
    (out / "copy").write_bytes(b"back")
    (out / "_SUCCESS").touch()
    interface = idl.TypedInterface()
    interface.outputs.variables.add(key="copy").value.type.blob.SetInParent()
    published = run(
        name, *config, "sidecar", "--from-local-dir", str(out), "--to-output-prefix", f"gs://{bucket}/meta",
        "--to-raw-output", f"abfs://{container}/raw", "--interface", base64.b64encode(interface.SerializeToString()).decode(),
        "--start-watcher-type", "noop", "--exit-watcher-type", "noop", **environ,
    )  # fmt: skip
    assert published.returncode == 0, published.stderr
    assert azure_server.peek(container, "raw/copy") == b"back"
    outputs = gcs_server.peek(bucket, "meta/outputs.pb")
    assert outputs is not None
    assert idl.LiteralMap.FromString(outputs).literals["copy"].scalar.blob.uri == f"abfs://{container}/raw/copy"
    told = staged.stderr + published.stderr
    for secret in (s3_server.secret_key, moto_server.secret_key, azure_server.key, redis_server.password):
        assert secret not in told
