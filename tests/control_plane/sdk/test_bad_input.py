"""Bad input over the wire, to a real server with its own limits: each has its code, and a sentence that says what is wrong."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.common.identifier_pb2 import RunIdentifier
from flyteidl2.dataproxy import dataproxy_service_pb2 as data
from flyteidl2.dataproxy.dataproxy_service_connect import DataProxyServiceClientSync
from flyteidl2.task.common_pb2 import Inputs
from flyteidl2.task.run_pb2 import RunSpec
from flyteidl2.workflow.run_service_connect import RunServiceClientSync
from flyteidl2.workflow.run_service_pb2 import CreateRunRequest

from copilot.testing.flyte_client import PROJECT, task_spec
from copilot.testing.server_process import PROGRAMS, ServerProcess

if TYPE_CHECKING:
    from flyteidl2.task.task_definition_pb2 import TaskSpec

TOO_MUCH = "x" * (33 * 1024 * 1024)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("server"), "")
    server.start()
    yield server
    server.stop()


def submit(
    server: ServerProcess, spec: TaskSpec | None = None, *, name: str = "", project: str = PROJECT.name, **more: object
) -> str:
    request = CreateRunRequest(task_spec=spec or task_spec(), **more)
    if name:
        request.run_id.CopyFrom(RunIdentifier(project=project, domain=PROJECT.domain, name=name))
    else:
        request.project_id.name, request.project_id.domain = project, PROJECT.domain
    return str(RunServiceClientSync(server.url).create_run(request, timeout_ms=60_000).run.action.id.run.name)


def location(server: ServerProcess, **more: object) -> data.CreateUploadLocationResponse:
    fields: dict[str, Any] = {
        "project": PROJECT.name,
        "domain": PROJECT.domain,
        "filename": "a.txt",
        "filename_root": "root",
        **more,
    }
    return DataProxyServiceClientSync(server.url).create_upload_location(data.CreateUploadLocationRequest(**fields))


def refused(work: Callable[..., object], *arguments: object, **more: object) -> tuple[Code, str]:
    with pytest.raises(ConnectError) as caught:
        work(*arguments, **more)
    return caught.value.code, caught.value.message


def test_an_unknown_project(server: ServerProcess) -> None:
    code, sentence = refused(submit, server, project="atlantis")
    assert (code, "'atlantis' not found" in sentence, "create project" in sentence) == (Code.NOT_FOUND, True, True)


def test_a_malformed_task(server: ServerProcess) -> None:
    spec = task_spec()
    spec.task_template.container.image = ""
    code, sentence = refused(submit, server, spec)
    assert (code, "container.image is required" in sentence) == (Code.INVALID_ARGUMENT, True)
    answer = httpx.post(
        f"{server.url}/flyteidl2.workflow.RunService/CreateRun",
        content=b"\xff\xff\xff",
        headers={"content-type": "application/proto"},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")


def test_oversized_inputs(server: ServerProcess) -> None:
    big = Inputs()
    big.literals.add(name="n").value.scalar.primitive.string_value = TOO_MUCH
    code, sentence = refused(submit, server, inputs=big)
    assert (code, "at most" in sentence) == (Code.RESOURCE_EXHAUSTED, True)


@pytest.mark.slow
def test_a_task_with_a_million_labels(server: ServerProcess) -> None:
    many = RunSpec()
    many.labels.values.update(dict.fromkeys(map(str, range(1_000_000)), "v"))
    code, sentence = refused(submit, server, run_spec=many)
    assert (code, "1000000 labels" in sentence, "at most 1000" in sentence) == (Code.INVALID_ARGUMENT, True, True)
    # It has cost nobody else anything.
    assert submit(server)


def test_a_run_name_that_is_taken_by_another_request(server: ServerProcess) -> None:
    assert submit(server, name="taken") == submit(server, name="taken")
    code, sentence = refused(submit, server, task_spec(version="v2"), name="taken")
    assert (code, "made by another request" in sentence) == (Code.ALREADY_EXISTS, True)


def test_a_command_that_is_not_on_this_machine(server: ServerProcess) -> None:
    ended = server.copilot("submit", "--image", "none", "--wait", "--", "no-such-program-here")
    assert ended.returncode == 23
    assert "no-such-program-here" in ended.stdout
    assert '"phase": "FAILED"' in ended.stdout


def test_a_file_with_a_wrong_type_and_a_right_one(server: ServerProcess, tmp_path: Path) -> None:
    task = tmp_path / "task.yaml"
    task.write_text("image: none\ncommand: [echo, hi]\nretries: many\n")
    ended = server.copilot("submit", str(task))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "retries is 'many'" in ended.stderr
    task.write_text(
        "image: none\ncommand: [sh, -c, 'cat /var/inputs/flag /var/inputs/s >/var/outputs/m']\n"
        "inputs: {flag: true, s: '05', xs: [1, 2]}\noutputs: {m: str}\n"
    )
    ended = server.copilot("submit", str(task), "--run-name", "typed", "--wait")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert json.loads(server.copilot("outputs", "typed").stdout) == {"m": "true05"}
    for number in ("99999999999", "-1", "many"):
        assert server.copilot("submit", "--image", "none", "--retries", number, "--", "true").returncode == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--resource", "memory=lots"], "'memory=lots' asks for nothing there is. Write it like memory=1Gi"),
        (["--resource", "cpu=-1"], "'cpu=-1' asks for nothing there is"),
        (["--resource", "teeth=2"], "there are cpu, memory, gpu, disk"),
        (["--env", "LEVEL"], "'LEVEL' is no variable. Write it as NAME=VALUE"),
    ],
)
def test_what_a_task_cannot_have_is_refused_before_it_is_sent(server: ServerProcess, flags: list[str], said: str) -> None:
    ended = server.copilot("submit", "--image", "none", *flags, "--", "true")
    assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr


def test_a_value_that_a_shell_reads_is_warned_of_when_it_is_submitted(server: ServerProcess) -> None:
    def said(text: str, *inputs: str) -> tuple[int, str]:
        given = [word for each in inputs for word in ("--input", each)]
        ended = server.copilot("submit", "--image", "none", *given, "--", "sh", "-c", text)
        warnings = [line for line in ended.stderr.splitlines() if not line.startswith("note: ")]
        return ended.returncode, "\n".join(warnings)

    code, warning = said("echo {{.inputs.s}}", "s:str=a b'c; rm x")
    assert (code, "warning: The value of input s" in warning, "{{.inputs.s | quote}}" in warning) == (0, True, True), warning
    assert said("echo {{.inputs.s | quote}}", "s:str=a b'c; rm x") == (0, "")
    assert said("echo {{.inputs.s}}", "s:str=harmless") == (0, "")
    code, refusal = said("echo {{.inputs.nosuch}}")
    assert code != 0
    assert "there is no such input" in refusal


def test_outputs_of_a_run_that_has_none_are_no_empty_outputs(server: ServerProcess) -> None:
    def outputs(run: str) -> tuple[int, str, str]:
        ended = server.copilot("outputs", run)
        return ended.returncode, ended.stdout, ended.stderr

    server.copilot("submit", "--image", "none", "--run-name", "goes-on", "--output", "m:int", "--", "sleep", "600")
    code, out, said = outputs("goes-on")
    assert (code, out, "copilot wait goes-on" in said) == (30, "", True), said
    server.copilot("abort", "goes-on")
    code, out, said = outputs("goes-on")
    assert (code, out, "is ABORTED: it has no outputs" in said) == (30, "", True), said
    server.copilot("submit", "--image", "none", "--run-name", "nothing", "--wait", "--", "true")
    assert outputs("nothing") == (0, "{}\n", "")


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"COPILOT_SERVER": "foo"}, "'foo' is no URL"),
        ({"COPILOT_SERVER": "localhost:8090"}, "is no URL"),
        ({"COPILOT_SERVER": "http://localhost:99999"}, "is no URL"),
        ({"COPILOT_TOKEN": "a\nb"}, "COPILOT_TOKEN is no token"),
    ],
)
def test_a_server_or_a_token_that_cannot_be_one_is_refused_before_anything_is_asked(environ: dict[str, str], said: str) -> None:
    command = [str(PROGRAMS / "copilot"), "runs"]
    ended = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, said in ended.stderr, "a\nb" in ended.stderr) == (2, True, False), ended.stderr


@pytest.mark.parametrize("token", ["nonsense", "cop_abc_def", "cop__", "x" * 5000, "cop_" + "0" * 12 + "_" + "0" * 32])
def test_a_wrong_token(server: ServerProcess, token: str) -> None:
    answer = httpx.post(
        f"{server.url}/flyteidl2.project.ProjectService/ListProjects", json={}, headers={"authorization": f"Bearer {token}"}
    )
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert "unknown, revoked or has ended" in answer.json()["message"]
    assert token not in answer.text


def test_a_url_that_has_expired(server: ServerProcess) -> None:
    request = data.CreateUploadLocationRequest(
        project=PROJECT.name, domain=PROJECT.domain, filename="a.txt", filename_root="root"
    )
    request.expires_in.FromSeconds(1)
    url = DataProxyServiceClientSync(server.url).create_upload_location(request).signed_url
    expires = float(next(values[0] for key, values in parse_qs(urlsplit(url).query).items() if key.startswith("expires")))
    while time.time() <= expires:
        time.sleep(0.05)
    answer = httpx.put(url, content=b"late")
    assert (answer.status_code, "expired" in answer.text) == (403, True)


def test_a_url_that_was_changed(server: ServerProcess) -> None:
    url = location(server).signed_url
    parts = urlsplit(url)
    last = parts.query[-1]
    for changed in (
        url[:-1] + ("a" if last != "a" else "b"),
        url.replace("expires=", "expires=9"),
        url.replace("method=PUT", "method=GET"),
        url.partition("?")[0],
        url.replace(parts.path, "/".join([*parts.path.split("/")[:-1], "ZmlsZTovLy9ldGMvcGFzc3dk"])),
    ):
        assert changed != url
        answer = httpx.put(changed, content=b"x")
        assert answer.status_code == 403, changed
        assert answer.text


@pytest.mark.parametrize("name", ["../../a", "..", "a/b", "/etc/passwd", "a\0b", "%2e%2e%2fa/../b", "x" * 300, "a\nb"])
def test_a_path_trick_in_the_name_of_an_upload(server: ServerProcess, name: str) -> None:
    code, sentence = refused(location, server, filename=name)
    assert (code, bool(sentence)) == (Code.INVALID_ARGUMENT, True)


def test_what_this_server_does_otherwise_is_said_at_submission(server: ServerProcess) -> None:
    submitted = server.copilot("submit", "--image", "alpine:3", "--", "true")
    assert submitted.returncode == 0
    assert "note: The image alpine:3 is not used: the command runs as it stands on this machine." in submitted.stderr


def test_a_store_that_is_away_is_not_taken_for_the_server(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    environ = {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    server = ServerProcess(tmp_path, "", flags=("--store", "s3://bucket/runs"), environ=environ)
    server.start()
    try:
        ended = server.copilot("doctor", "--json")
        said = {row["check"]: row for row in map(json.loads, ended.stdout.splitlines())}
        assert (ended.returncode, said["server"]["state"], said["store"]["state"]) == (30, "ok", "FAILED")
        assert said["store"]["said"].startswith("The store at 127.0.0.1 cannot be reached for s3://bucket/runs/")
    finally:
        server.stop()
