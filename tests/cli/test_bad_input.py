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
from copilot.testing.servers.web import Page

if TYPE_CHECKING:
    from copilot.testing.servers.s3 import S3Server
    from copilot.testing.servers.web import WebServer

EXECUTABLE = Path(sys.executable).with_name("copilot")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("COPILOT_", "AWS_"))}


class Pod:
    """One init container's surroundings."""

    def __init__(self, home: Path, server: S3Server, bucket: str) -> None:
        self.home, self.server, self.bucket = home, server, bucket
        self.inputs = home / "in"
        self.termination = home / "termination-log"

    def flags(self, source: str, *more: str) -> list[str]:
        return ["init", "--inputs", source, "--to", str(self.inputs), "--timeout", "20s", *more]

    def environ(self, **over: str) -> dict[str, str]:
        return {**CLEAN, **self.server.environ, "COPILOT_TERMINATION_LOG": str(self.termination), **over}

    def init(self, source: str, *more: str, **over: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [EXECUTABLE, *self.flags(source, *more)],
            capture_output=True,
            text=True,
            env=self.environ(**over),
            check=False,
            timeout=120,
        )

    def put_blob_inputs(self, uri: str, *, tree: bool = False) -> str:
        literals = idl.LiteralMap()
        blob = literals.literals["x"].scalar.blob
        blob.uri = uri
        blob.metadata.type.dimensionality = idl.BlobType.MULTIPART if tree else idl.BlobType.SINGLE
        return self.put("inputs.pb", bytes(literals.SerializeToString()))

    def put(self, key: str, data: bytes) -> str:
        self.server.poke(self.bucket, key, data)
        return f"s3://{self.bucket}/{key}"

    def expect(self, ended: subprocess.CompletedProcess[str], exit_code: int, reason: str, *parts: str) -> None:
        told = json.loads(ended.stderr.splitlines()[-1])
        assert (ended.returncode, told["reason"]) == (exit_code, reason), ended.stderr
        assert "Traceback" not in ended.stderr
        assert self.termination.read_text().startswith(f"{reason}: ")
        for part in parts:
            assert part in told["message"]
        assert self.server.secret_key not in ended.stderr
        left = [path.name for path in self.inputs.rglob("*")] if self.inputs.exists() else []
        assert left == []


@pytest.fixture
def pod(tmp_path: Path, s3_server: S3Server, s3_bucket: str) -> Pod:
    return Pod(tmp_path, s3_server, s3_bucket)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_an_unreachable_endpoint(pod: Pod) -> None:
    ended = pod.init("s3://b/inputs.pb", "--timeout", "3s", AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}")
    told = json.loads(ended.stderr.splitlines()[-1])
    assert told["reason"] in {"StoreUnreachable", "DeadlineExceeded"}
    assert ended.returncode in {13, 26}


def test_wrong_credentials(pod: Pod) -> None:
    source = pod.put("inputs.pb", b"")
    ended = pod.init(source, AWS_SECRET_ACCESS_KEY="wrong")
    told = json.loads(ended.stderr.splitlines()[-1])
    pod.expect(ended, 12, told["reason"], pod.bucket)
    assert told["reason"] in {"AccessDenied", "BadCredentials"}


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
    told = json.loads(ended.stderr.splitlines()[-1])
    pod.expect(ended, ended.returncode, told["reason"])
    assert told["reason"] in {"StoreFault", "DeadlineExceeded"}
    assert len([request for request in http_server.requests if request.path == "/broken" and request.method == "GET"]) > 1


def test_a_key_that_leads_out_of_the_directory_is_refused(pod: Pod, moto_server: S3Server, moto_bucket: str) -> None:
    pod.server, pod.bucket = moto_server, moto_bucket
    moto_server.poke(moto_bucket, "tree/ok", b"1")
    moto_server.poke(moto_bucket, "tree/a/../../../evil", b"2")
    ended = pod.init(pod.put_blob_inputs(f"s3://{moto_bucket}/tree", tree=True))
    pod.expect(ended, 20, "UnsafePath", "evil")
    assert not list(pod.home.rglob("evil"))


def test_an_unknown_scheme(pod: Pod) -> None:
    ended = pod.init("nonsense://b/x")
    assert ended.returncode == 2, ended.stderr
    assert "nonsense" in ended.stderr.splitlines()[-1]


def test_a_read_only_directory(pod: Pod) -> None:
    pod.inputs = Path("/proc/nowhere/in")
    ended = pod.init(pod.put("inputs.pb", b""))
    assert ended.returncode == 22, ended.stderr
    assert "/proc" in pod.termination.read_text()


def test_streaming_is_not_yet_there(pod: Pod) -> None:
    pod.expect(pod.init(pod.put("inputs.pb", b""), "--mode", "DOWNLOAD_STREAM"), 2, "NotYetSupported", "DOWNLOAD_STREAM")


def test_the_error_document_is_written_where_it_was_asked_for(pod: Pod) -> None:
    prefix = f"s3://{pod.bucket}/meta"
    ended = pod.init(f"s3://{pod.bucket}/none.pb", "--errors-to", prefix)
    assert ended.returncode == 11
    for name in ("meta/errors.pb", "meta/error.pb"):
        data = pod.server.peek(pod.bucket, name)
        assert data is not None
        error = idl.ErrorDocument.FromString(data).error
        assert (error.code, error.message.partition(":")[0]) == ("InputDownloadFailed", "ObjectNotFound")


@pytest.mark.parametrize(("number", "code", "reason"), [(signal.SIGTERM, 143, "Cancelled"), (signal.SIGINT, 130, "Cancelled")])
def test_a_signal_stops_init_at_once_and_leaves_nothing(pod: Pod, number: int, code: int, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [EXECUTABLE, *pod.flags("s3://b/inputs.pb")],
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
