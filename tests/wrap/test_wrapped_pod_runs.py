"""A wrapped pod's containers, run here: real init container, wrapper and sidecar, on a real S3 server."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from copilot.control_plane.executors.process import ProcessExecutor
from copilot.control_plane.pods import PodSettings
from copilot.control_plane.pods.manifests import wrap_documents
from copilot.control_plane.pods.wrapping import WrapRequest
from copilot.core import idl
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock

if TYPE_CHECKING:
    from copilot.testing.servers.s3 import S3Server

Json = Any

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: wrap
  annotations:
    copilot.dev/inputs: |
      words: s3://{bucket}/in/words.txt
      tree: s3://{bucket}/in/tree/
      times: 2
    copilot.dev/outputs: s3://{bucket}/out/$(COPILOT_POD_NAME)
    copilot.dev/env-from: store-keys
    copilot.dev/secrets: |
      TOKEN: file://{home}/secret.json#/token
      {home}/mounted/key: file://{home}/secret.json#/key
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 60
  containers:
    - name: main
      image: busybox
      command: [/bin/sh, -c]
      args: ['{script}']
"""
SCRIPT = (
    "cd /var/flyte/outputs && cat /var/flyte/inputs/words /var/flyte/inputs/words >both.txt && "
    "expr $(cat /var/flyte/inputs/times) + 1 >next && cp -r /var/flyte/inputs/tree kept && "
    'test "$TOKEN" = t0ken-value && test $(cat {home}/mounted/key) = k3y-value && test -z "$AWS_SECRET_ACCESS_KEY"'
)


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessExecutor]:
    with ProcessExecutor(tmp_path_factory.mktemp("pods")) as executor:
        yield executor


@pytest.fixture
def run(executor: ProcessExecutor, s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> Any:  # noqa: ANN401 - a function
    (tmp_path / "secret.json").write_text('{"token": "t0ken-value", "key": "k3y-value"}')
    s3_server.poke(s3_bucket, "in/words.txt", b"one two\n")
    s3_server.poke(s3_bucket, "in/tree/a/b.txt", b"deep\n")
    keys = {name: base64.b64encode(value.encode()).decode() for name, value in s3_server.environ.items()}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": "store-keys", "namespace": "wrap"},
        "data": keys,
    }

    def run(name: str, script: str) -> Json:
        text = POD.format(name=name, bucket=s3_bucket, home=tmp_path, script=script.replace("'", "''"))
        request = WrapRequest(pods=PodSettings().for_processes())
        (manifest,) = wrap_documents(list(yaml.safe_load_all(text)), request).documents
        executor.create(manifest, secrets=[secret])
        for kind, pod in executor.watch("wrap", Token(SystemClock(), timeout_s=90)):
            named = kind != "BOOKMARK" and pod["metadata"]["name"] == name
            if named and pod["status"]["phase"] in {"Succeeded", "Failed"}:
                return pod
        raise AssertionError(executor.get("wrap", name)["status"])

    return run


def told(executor: ProcessExecutor, pod: Json) -> str:
    names = [each["name"] for each in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]]
    token = Token(SystemClock(), timeout_s=30)
    return str(
        {
            name: b"".join(executor.logs("wrap", pod["metadata"]["name"], name, follow=False, cancel=token)).decode()
            for name in names
        }
    )


def test_inputs_by_lines_come_in_and_whatever_is_left_goes_out(
    run: Any,  # noqa: ANN401 - a function
    executor: ProcessExecutor,
    s3_server: S3Server,
    s3_bucket: str,
    tmp_path: Path,
) -> None:
    pod = run("adds", SCRIPT.replace("{home}", str(tmp_path)))
    outputs = s3_server.peek(s3_bucket, "out/adds/outputs.pb")
    assert outputs is not None, told(executor, pod)
    assert pod["status"]["phase"] == "Succeeded"
    literals = idl.LiteralMap.FromString(outputs).literals
    assert sorted(literals) == ["both.txt", "kept", "next"]
    assert literals["next"].scalar.primitive.integer == 3
    assert literals["both.txt"].scalar.blob.uri == f"s3://{s3_bucket}/out/adds/both.txt"
    assert s3_server.peek(s3_bucket, "out/adds/both.txt") == b"one two\none two\n"
    assert s3_server.peek(s3_bucket, "out/adds/kept/a/b.txt") == b"deep\n"


def test_a_task_that_fails_publishes_no_outputs_but_its_error(
    run: Any,  # noqa: ANN401 - a function
    executor: ProcessExecutor,
    s3_server: S3Server,
    s3_bucket: str,
) -> None:
    pod = run("fails", "echo 1 >/var/flyte/outputs/n; exit 3")
    assert pod["status"]["phase"] == "Failed", told(executor, pod)
    assert s3_server.peek(s3_bucket, "out/fails/outputs.pb") is None
    error = s3_server.peek(s3_bucket, "out/fails/error.pb")
    assert error is not None
    assert "exit code 3" in idl.ErrorDocument.FromString(error).error.message
