"""Bad outputs, and stores that do not take good ones, through both executables: the reason everywhere, nothing published."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core import idl

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Mount

    from copilot.testing.servers.s3 import S3Server

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("COPILOT_", "AWS_"))}


class Pod:
    """One sidecar's surroundings, under one of our two names; its task has ended."""

    def __init__(self, home: Path, server: S3Server, bucket: str, name: str) -> None:
        self.home, self.server, self.name = home, server, name
        self.prefix = f"s3://{bucket}/{name}/{home.name}"
        self.outputs = home / "out"
        self.outputs.mkdir()
        self.termination = home / "termination-log"

    def publish(self, *more: str, output: str = "n", prefix: str = "", **over: str) -> subprocess.CompletedProcess[str]:
        interface = idl.TypedInterface()
        wanted = interface.outputs.variables.add(key=output).value.type
        if output == "n":
            wanted.simple = idl.SimpleType.INTEGER
        else:
            wanted.blob.SetInParent()
        argv = [
            str(Path(sys.executable).with_name(self.name)), "sidecar", "--from-local-dir", str(self.outputs),
            "--to-output-prefix", prefix or self.prefix, "--to-raw-output", prefix or self.prefix,
            "--interface", base64.b64encode(interface.SerializeToString()).decode(), "--timeout", "20s",
            "--start-watcher-type", "noop", "--exit-watcher-type", "noop", *more,
        ]  # fmt: skip
        environ = {**CLEAN, **self.server.environ, "COPILOT_TERMINATION_LOG": str(self.termination), **over}
        return subprocess.run(argv, capture_output=True, text=True, env=environ, check=False, timeout=120)

    def expect(self, ended: subprocess.CompletedProcess[str], exit_code: int, reason: str | set[str], *parts: str) -> None:
        told = json.loads(ended.stderr.splitlines()[-1])
        sentence = f"{told['reason']}: {told['message']}"
        assert told["reason"] in ({reason} if isinstance(reason, str) else reason), ended.stderr
        assert ended.returncode == (exit_code if self.name == "copilot" else 137), ended.stderr
        assert self.termination.read_text() == sentence
        for part in parts:
            assert part in sentence
        assert "Traceback" not in ended.stderr
        assert self.server.secret_key not in ended.stderr + sentence
        assert self.peek("outputs.pb") is None
        assert self.peek("_manifest.json") is None

    def expect_document(self) -> None:
        """The error document says the same, under both names; what the task said ends as the task ended it."""
        for name in ("errors.pb", "error.pb"):
            data = self.peek(name)
            assert data is not None
            error = idl.ErrorDocument.FromString(data).error
            assert (error.code, error.message) in {
                ("OutputUploadFailed", self.termination.read_text().removesuffix(end)) for end in ("", ".")
            }

    def peek(self, name: str) -> bytes | None:
        bucket, _, key = self.prefix.removeprefix("s3://").partition("/")
        return self.server.peek(bucket, f"{key}/{name}")


@pytest.fixture(params=["copilot", "flyte-copilot"])
def pod(request: pytest.FixtureRequest, tmp_path: Path, s3_server: S3Server, s3_bucket: str) -> Pod:
    return Pod(tmp_path, s3_server, s3_bucket, request.param)


def nothing(_place: Path) -> None:
    """The task wrote none."""


def words(place: Path) -> None:
    (place / "n").write_text("many")


def a_link_to_nowhere(place: Path) -> None:
    (place / "n").symlink_to(place / "nowhere")


def a_socket(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(place / "n"))  # the path may be too long for a socket


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (nothing, "MissingOutput"),
        (words, "BadOutput"),
        (a_link_to_nowhere, {"MissingOutput", "UnreadableOutput"}),
        (a_socket, "UnreadableOutput"),
    ],
)
def test_an_output_that_cannot_be_published_is_one_sentence_with_variable_and_path(
    pod: Pod, write: Callable[[Path], None], reason: str | set[str]
) -> None:
    write(pod.outputs)
    pod.expect(pod.publish(), 21, reason, "'n'", str(pod.outputs))
    pod.expect_document()


def test_an_output_with_a_name_of_ours_is_refused(pod: Pod) -> None:
    (pod.outputs / "_manifest.json").write_text("5")
    pod.expect(pod.publish(output="_manifest.json"), 21, "ReservedName", "_manifest.json")
    pod.expect_document()


def test_a_task_that_says_it_failed_is_told_in_its_own_words(pod: Pod) -> None:
    (pod.outputs / "_ERROR").write_text("the model did not converge")
    pod.expect(pod.publish(), 23, "TaskFailed", "the model did not converge")
    pod.expect_document()


def test_a_bucket_that_is_not_there(pod: Pod) -> None:
    (pod.outputs / "n").write_text("5")
    pod.expect(pod.publish(prefix="s3://no-such-bucket-here/x"), 11, "BucketNotFound", "no-such-bucket-here")


def test_wrong_credentials(pod: Pod) -> None:
    (pod.outputs / "n").write_text("5")
    ended = pod.publish(AWS_SECRET_ACCESS_KEY="wrong-secret-key")
    pod.expect(ended, 12, {"AccessDenied", "BadCredentials"}, pod.prefix)
    assert "wrong-secret-key" not in ended.stderr


def test_a_store_that_does_not_answer(pod: Pod) -> None:
    (pod.outputs / "n").write_text("5")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    ended = pod.publish("--timeout", "2s", AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")
    pod.expect(ended, 13, "StoreUnreachable", pod.prefix)


def test_the_document_is_under_the_one_name_that_was_asked_for(pod: Pod) -> None:
    pod.expect(pod.publish("--err-output-name", "mine.pb"), 21, "MissingOutput")
    assert pod.peek("mine.pb")
    assert pod.peek("error.pb") is None


@pytest.mark.parametrize("options", ["size=2m", "ro"])
def test_a_disk_that_cannot_take_the_outputs(pod: Pod, mount: Mount, options: str) -> None:
    disk = mount(pod.home / "disk", options)
    (pod.outputs / "big").write_bytes(bytes(6 * 1024 * 1024))
    pod.expect(
        pod.publish(output="big", prefix=str(disk / "published")), 22, {"DiskFull", "NotEnoughSpace", "ReadOnlyPath"}, str(disk)
    )
    assert not {path.name for path in disk.rglob("*") if path.is_file()} - {"error.pb", "errors.pb", "_receipt.json"}
