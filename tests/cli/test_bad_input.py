"""Bad input, each with its sentence and exit code, through the executable on a real server; and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core import idl
from copilot.testing.fault_proxy import fault_proxy
from copilot.testing.servers.web import Page

if TYPE_CHECKING:
    from tests.cli.conftest import Mount

    from copilot.testing.fault_proxy import Request
    from copilot.testing.servers.s3 import S3Server
    from copilot.testing.servers.web import WebServer

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("COPILOT_", "AWS_"))}
BOTH_NAMES = ("copilot", "flyte-copilot")
MIB = 1024 * 1024


class Pod:
    """One init container's surroundings, under one of our two names."""

    def __init__(self, home: Path, server: S3Server, bucket: str, name: str) -> None:
        self.home, self.server, self.bucket, self.name = home, server, bucket, name
        self.inputs = home / "in"
        self.meta = home / "meta"
        self.termination = home / "termination-log"

    def argv(self, source: str, *more: str) -> list[str]:
        if self.name == "copilot":
            places = ["init", "--inputs", source, "--to", str(self.inputs), "--errors-to", str(self.meta)]
        else:
            places = [
                "download",
                "--from-remote",
                source,
                "--to-local-dir",
                str(self.inputs),
                "--to-output-prefix",
                str(self.meta),
            ]
        return [str(Path(sys.executable).with_name(self.name)), *places, "--timeout", "20s", *more]

    def environ(self, **over: str) -> dict[str, str]:
        return {**CLEAN, **self.server.environ, "COPILOT_TERMINATION_LOG": str(self.termination), **over}

    def init(self, source: str, *more: str, **over: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(source, *more), capture_output=True, text=True, env=self.environ(**over), check=False, timeout=120
        )

    def put_blob_inputs(self, uri: str, *, tree: bool = False, variable: str = "x") -> str:
        literals = idl.LiteralMap()
        blob = literals.literals[variable].scalar.blob
        blob.uri = uri
        blob.metadata.type.dimensionality = idl.BlobType.MULTIPART if tree else idl.BlobType.SINGLE
        return self.put("inputs.pb", bytes(literals.SerializeToString()))

    def put(self, key: str, data: bytes) -> str:
        self.server.poke(self.bucket, key, data)
        return f"s3://{self.bucket}/{key}"

    def expect(self, ended: subprocess.CompletedProcess[str], exit_code: int, reason: str | set[str], *parts: str) -> None:
        """One sentence, in all four places, and nothing else: no input, no secret, no traceback."""
        told = json.loads(ended.stderr.splitlines()[-1])
        sentence = f"{told['reason']}: {told['message']}"
        assert told["reason"] in ({reason} if isinstance(reason, str) else reason), ended.stderr
        assert ended.returncode == (exit_code if self.name == "copilot" else 137), ended.stderr
        assert self.termination.read_text() == sentence
        for part in parts:
            assert part in sentence
        assert sorted(path.name for path in self.meta.iterdir()) == ["error.pb", "errors.pb"]
        for path in self.meta.iterdir():
            error = idl.ErrorDocument.FromString(path.read_bytes()).error
            assert (error.code, error.message) == ("InputDownloadFailed", sentence)
        assert "Traceback" not in ended.stderr
        assert self.server.secret_key not in ended.stderr + sentence
        left = [path.name for path in self.inputs.rglob("*")] if self.inputs.exists() else []
        assert left == []


@pytest.fixture(params=BOTH_NAMES)
def pod(request: pytest.FixtureRequest, tmp_path: Path, s3_server: S3Server, s3_bucket: str) -> Pod:
    return Pod(tmp_path, s3_server, s3_bucket, request.param)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_an_unreachable_endpoint(pod: Pod) -> None:
    ended = pod.init("s3://b/inputs.pb", "--timeout", "3s", AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}")
    pod.expect(ended, 13, "StoreUnreachable", "s3://b/inputs.pb")


def test_wrong_credentials(pod: Pod) -> None:
    ended = pod.init(pod.put("inputs.pb", b""), AWS_SECRET_ACCESS_KEY="wrong-secret-key")
    pod.expect(ended, 12, {"AccessDenied", "BadCredentials"}, pod.bucket)
    assert "wrong-secret-key" not in ended.stderr


def test_an_unknown_access_key(pod: Pod) -> None:
    pod.expect(
        pod.init(pod.put("inputs.pb", b""), AWS_ACCESS_KEY_ID="nobody"), 12, {"AccessDenied", "BadCredentials"}, pod.bucket
    )


def test_a_missing_bucket(pod: Pod) -> None:
    pod.expect(pod.init("s3://no-such-bucket-here/inputs.pb"), 11, "BucketNotFound", "no-such-bucket-here")


def test_a_missing_key(pod: Pod) -> None:
    pod.expect(pod.init(f"s3://{pod.bucket}/none/inputs.pb"), 11, "ObjectNotFound", "none/inputs.pb")


def test_a_missing_input_object(pod: Pod) -> None:
    pod.expect(pod.init(pod.put_blob_inputs(f"s3://{pod.bucket}/gone.bin")), 11, "ObjectNotFound", "gone.bin")


def test_a_truncated_message(pod: Pod) -> None:
    literals = idl.LiteralMap()
    literals.literals["n"].scalar.primitive.string_value = "x" * 100
    pod.expect(pod.init(pod.put("inputs.pb", bytes(literals.SerializeToString())[:50])), 20, "BadInputs", "inputs.pb")


def test_an_unknown_literal(pod: Pod) -> None:
    literals = idl.LiteralMap()
    literals.literals["odd"].SetInParent()
    pod.expect(pod.init(pod.put("inputs.pb", bytes(literals.SerializeToString()))), 20, "UnknownLiteral", "odd")


def test_an_unknown_flag_value(pod: Pod) -> None:
    pod.expect(pod.init("s3://b/x", "--format", "JASON"), 2, "BadFlag", "--format", "Did you mean JSON?")


@pytest.mark.parametrize(
    ("status", "code", "reason"), [(403, 12, "AccessDenied"), (404, 11, "ObjectNotFound"), (401, 12, "BadCredentials")]
)
def test_an_error_page_of_a_web_server_never_becomes_an_input(
    pod: Pod, http_server: WebServer, status: int, code: int, reason: str
) -> None:
    http_server.pages["/page?token=t0ps3cret"] = Page(b"<html>no</html>", status=status)
    ended = pod.init(pod.put_blob_inputs(f"{http_server.url}/page?token=t0ps3cret"))
    pod.expect(ended, code, reason, "/page")
    assert "t0ps3cret" not in ended.stderr


def test_a_web_server_that_is_broken_is_asked_again_until_the_time_is_over(pod: Pod, http_server: WebServer) -> None:
    http_server.pages["/broken"] = Page(b"<html>oops</html>", status=500)
    ended = pod.init(pod.put_blob_inputs(f"{http_server.url}/broken"), "--timeout", "3s")
    pod.expect(ended, 13, "StoreFault", "/broken")
    assert len([request for request in http_server.requests if request.path == "/broken" and request.method == "GET"]) > 1


@pytest.mark.parametrize("key", ["tree/a/../../../evil", "tree/../evil", "tree//etc/evil", "tree/./evil", "tree/a/../evil"])
def test_a_key_that_would_be_written_elsewhere_is_refused(pod: Pod, moto_server: S3Server, key: str) -> None:
    pod.server, pod.bucket = moto_server, moto_server.new_bucket()
    pod.put("tree/ok", b"1")
    pod.put(key, b"2")
    ended = pod.init(pod.put_blob_inputs(f"s3://{pod.bucket}/tree", tree=True))
    pod.expect(ended, 20, "UnsafePath", "evil")
    assert not list(pod.home.rglob("evil"))
    assert not Path("/etc/evil").exists()


@pytest.mark.parametrize("variable", ["../evil", "/tmp/evil", "a/../../evil", "..", "nul\0evil"])
def test_a_variable_that_would_be_written_elsewhere_is_refused(pod: Pod, variable: str) -> None:
    pod.put("data", b"1")
    pod.expect(pod.init(pod.put_blob_inputs(f"s3://{pod.bucket}/data", variable=variable)), 20, "UnsafePath")
    assert not list(pod.home.rglob("evil"))
    assert not Path("/tmp/evil").exists()


def test_a_key_with_a_nul_byte_is_refused(pod: Pod) -> None:
    ended = pod.init(pod.put_blob_inputs(f"s3://{pod.bucket}/data\0evil"))
    pod.expect(ended, 20, "BadInputs", "'x'", "NUL")


def test_an_input_that_is_larger_than_the_disk_is_refused_before_it_moves(pod: Pod, mount: Mount) -> None:
    pod.put("big", bytes(6 * MIB))
    source = pod.put_blob_inputs(f"s3://{pod.bucket}/big")
    pod.inputs = mount(pod.home / "small", "size=2m") / "in"
    pod.expect(pod.init(source), 22, "NotEnoughSpace", str(pod.home / "small"))
    assert list((pod.home / "small").iterdir()) == []


def test_a_disk_that_fills_up_on_the_way(pod: Pod, mount: Mount, http_server: WebServer) -> None:
    """Nobody said how large it is, so nobody could know."""
    http_server.pages["/endless"] = Page(bytes(6 * MIB), length=False, ranges=False, head=False)
    source = pod.put_blob_inputs(f"{http_server.url}/endless")
    pod.inputs = mount(pod.home / "small", "size=2m") / "in"
    pod.expect(pod.init(source), 22, "DiskFull", str(pod.home / "small"))


def test_a_read_only_volume(pod: Pod, mount: Mount) -> None:
    source = pod.put("inputs.pb", b"")
    pod.inputs = mount(pod.home / "fixed", "ro") / "in"
    pod.expect(pod.init(source), 22, "ReadOnlyPath", str(pod.home / "fixed"))


def test_an_object_that_changes_during_a_ranged_read_is_noticed_and_started_again(pod: Pod) -> None:
    before, after = os.urandom(24 * MIB), os.urandom(24 * MIB)
    pod.put("changing", before)
    source = pod.put_blob_inputs(f"s3://{pod.bucket}/changing")
    seen: list[str] = []

    def change(request: Request) -> None:
        if request.method == "GET" and request.path.startswith(f"/{pod.bucket}/changing"):
            seen.append(request.headers.get("range", ""))
            if len(seen) == 2:
                pod.put("changing", after)

    with fault_proxy(pod.server.endpoint, change) as proxy:
        ended = pod.init(source, AWS_ENDPOINT_URL=proxy.endpoint)
    assert ended.returncode == 0, ended.stderr
    assert (pod.inputs / "x").read_bytes() == after
    assert len({wanted for wanted in seen if wanted}) > 1
    assert "ObjectChanged" in ended.stderr or "changed" in ended.stderr


def test_an_unknown_scheme(pod: Pod) -> None:
    ended = pod.init("nonsense://b/x")
    pod.expect(ended, 2, "BadFlag", "nonsense")


def test_streaming_is_not_yet_there(pod: Pod) -> None:
    pod.expect(pod.init(pod.put("inputs.pb", b""), "--mode", "DOWNLOAD_STREAM"), 2, "NotYetSupported", "DOWNLOAD_STREAM")


def test_the_error_document_is_written_into_the_same_store(pod: Pod) -> None:
    flag = "--errors-to" if pod.name == "copilot" else "--to-output-prefix"
    ended = pod.init(f"s3://{pod.bucket}/none.pb", flag, f"s3://{pod.bucket}/{pod.name}")
    assert ended.returncode == (11 if pod.name == "copilot" else 137)
    for name in ("errors.pb", "error.pb"):
        data = pod.server.peek(pod.bucket, f"{pod.name}/{name}")
        assert data is not None
        error = idl.ErrorDocument.FromString(data).error
        assert (error.code, error.message.partition(":")[0]) == ("InputDownloadFailed", "ObjectNotFound")


@pytest.mark.parametrize(("number", "code", "reason"), [(signal.SIGTERM, 143, "Cancelled"), (signal.SIGINT, 130, "Cancelled")])
def test_a_signal_stops_init_at_once_and_leaves_nothing(pod: Pod, number: int, code: int, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            pod.argv("s3://b/inputs.pb"),
            stderr=subprocess.PIPE,
            text=True,
            env=pod.environ(AWS_ENDPOINT_URL=endpoint),
        )
        connection, _ = silent.accept()
        with connection:
            began = time.monotonic()
            process.send_signal(number)
            _, told = process.communicate(timeout=30)
        assert time.monotonic() - began < 5
    pod.expect(subprocess.CompletedProcess([], process.returncode, "", told), code, reason)
