"""Every recorded run of the reference, made again with the installed ``flyte-copilot`` on a real S3 server, compared whole.

Messages are compared, not bytes; where the reference fails, the error document's code and kind are compared, and ours ends
with 137 where the reference ended with 0. Beside what was recorded, ours may leave what the documentation says it leaves:
the error document under its second name, ``_manifest.json`` and ``_receipt.json``, and ``partial/`` for what is not published.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import pytest
from google.protobuf import json_format

from copilot.core import idl

if TYPE_CHECKING:
    from copilot.testing.servers.s3 import S3Server

RECORDINGS = Path(__file__).parent / "recordings"
CASES = sorted(path.stem for path in RECORDINGS.glob("*.json"))
TRIED_FOR_HALF_A_MINUTE = {"download-fails-with-an-error-document-http-server-refuses-connections"}
EXECUTABLE = Path(sys.executable).with_name("flyte-copilot")
OURS_BESIDE = {"_manifest.json", "_receipt.json"}
PATIENCE_S = 120.0


@dataclass
class Run:
    case: Mapping[str, Any]
    inputs: Path
    exit_code: int
    stderr: str
    termination: str
    metadata: dict[str, bytes] = field(default_factory=dict)
    raw: dict[str, bytes] = field(default_factory=dict)
    fill: Callable[[str], str] = str


class Replay:
    """Runs recordings; several at once, unless this is one of several workers already."""

    def __init__(self, server: S3Server, directory: Path) -> None:
        self._server = server
        self._directory = directory
        self._client = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            region_name=server.region,
        )
        for bucket in ("dropin-a", "dropin-b"):
            server.new_bucket(bucket)
        self._pool = ThreadPoolExecutor(4)
        self._futures: dict[str, Future[Run]] = {}

    def start(self, names: list[str]) -> None:
        # Those that wait for something first: they cost time, not processors.
        for name in sorted(names, key=lambda name: ("refuses" not in name, name)):
            self._futures[name] = self._pool.submit(self._run, name)

    def result(self, name: str) -> Run:
        return self._futures[name].result() if name in self._futures else self._run(name)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._client.close()

    def _run(self, name: str) -> Run:
        case = json.loads((RECORDINGS / f"{name}.json").read_text())
        home = self._directory / name
        places = {key: home / key for key in ("in", "out", "config", "work", "control")}
        for key in ("out", "config", "work"):
            places[key].mkdir(parents=True)
        fill = self._filler(places)
        self._put_objects(case["objects"], fill)
        for key in ("config", "work"):
            for relative, content in case.get(key, {}).items():
                write(places[key] / relative, fill(content if isinstance(content, str) else content["text"]).encode())
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "COPILOT_"))},
            **{key: fill(value) for key, value in case["env"].items()},
            "COPILOT_CONTROL_DIR": str(places["control"]),
            "COPILOT_TERMINATION_LOG": str(home / "termination-log"),
        }
        if not case.get("sigterm"):
            write_outputs(places["out"], case.get("outputs", {}))
        with (home / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [str(EXECUTABLE), *map(fill, case["argv"])],
                env=environ,
                cwd=home,
                umask=0o022,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        try:
            if case.get("sigterm"):
                wait_for(lambda: (places["control"] / "ARMED").exists() or process.poll() is not None)
                write_outputs(places["out"], case["outputs"])
                process.send_signal(signal.SIGTERM)
            exit_code = process.wait(PATIENCE_S)
        finally:
            process.kill()
            process.wait()
        termination = home / "termination-log"
        return Run(
            case,
            places["in"],
            exit_code,
            (home / "stderr").read_text(),
            termination.read_text() if termination.exists() else "",
            self._objects_below(case["argv"], "--to-output-prefix", "-o", "sidecar"),
            self._objects_below(case["argv"], "--to-raw-output", "-x", "sidecar"),
            fill,
        )

    def _filler(self, places: Mapping[str, Path]) -> Callable[[str], str]:
        odd_key, odd_secret = next(iter(self._server.identities.items()))
        words = {
            "endpoint": self._server.endpoint,
            "address": urlsplit(self._server.endpoint).netloc,
            "access_key": self._server.access_key,
            "secret_key": self._server.secret_key,
            "odd_access_key": odd_key,
            "odd_secret_key": odd_secret,
            **{key: str(path) for key, path in places.items()},
        }

        def fill(text: str) -> str:
            for word, value in words.items():
                text = text.replace(f"{{{word}}}", value)
            return text

        return fill

    def _put_objects(self, objects: Mapping[str, Any], fill: Callable[[str], str]) -> None:
        for uri, content in objects.items():
            bucket, _, key = uri.removeprefix("s3://").partition("/")
            self._client.put_object(Bucket=bucket, Key=key, Body=content_bytes(content, fill))

    def _objects_below(self, argv: list[str], long: str, short: str, short_of: str) -> dict[str, bytes]:
        prefix = value_of(argv, long, short if short_of in argv else "")
        if not prefix:
            return {}
        bucket, _, key = prefix.removeprefix("s3://").partition("/")
        key = key if key.endswith("/") else f"{key}/"
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return {name[len(key) :]: self._client.get_object(Bucket=bucket, Key=name)["Body"].read() for name in keys}


def value_of(argv: list[str], long: str, short: str) -> str:
    found = ""
    for index, argument in enumerate(argv):
        if argument.startswith(f"{long}="):
            found = argument.partition("=")[2]
        elif argument == long or (short and argument == short):
            found = argv[index + 1]
    return found


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def content_bytes(content: Mapping[str, Any], fill: Callable[[str], str]) -> bytes:
    ((kind, value),) = content.items()
    if kind == "text":
        return str(value).encode()
    if kind == "base64":
        return base64.b64decode(value)
    return bytes(message(kind, value, fill).SerializeToString())


def message(kind: str, value: object, fill: Callable[[str], str]) -> Any:  # noqa: ANN401 - the messages ship no types
    return json_format.ParseDict(json.loads(fill(json.dumps(value))), getattr(idl, kind)())


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_outputs(directory: Path, outputs: Mapping[str, Any]) -> None:
    for relative, content in outputs.items():
        if content == "directory":
            (directory / relative).mkdir(parents=True, exist_ok=True)
        else:
            write(directory / relative, content_bytes(content, str))


def tree_of(directory: Path) -> dict[str, bytes | str]:
    found: dict[str, bytes | str] = {}
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory).as_posix()
        if path.is_dir():
            if not any(path.iterdir()):
                found[relative] = "directory"
        elif relative != "inputs.pb":
            found[relative] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def replay(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Replay]:
    made = Replay(s3_server, tmp_path_factory.mktemp("replay"))
    if "PYTEST_XDIST_WORKER" not in os.environ:
        wanted = [
            item.callspec.params["name"]
            for item in request.session.items
            if getattr(item, "fspath", None) == request.node.fspath and hasattr(item, "callspec")
        ]
        made.start(wanted)
    yield made
    made.close()


def test_there_are_as_many_recordings_as_were_made() -> None:
    assert len(CASES) == 123


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in TRIED_FOR_HALF_A_MINUTE else name for name in CASES]
)
def test_what_the_reference_did_is_what_we_do(replay: Replay, name: str) -> None:
    run = replay.result(name)
    expect = run.case["expect"]
    assert run.exit_code == (137 if expect["failed"] else 0), run.stderr
    check_metadata(run)
    assert run.raw == {key: content_bytes(value, run.fill) for key, value in expect.get("raw", {}).items()}
    if "tree" in expect:
        check_inputs(run)
    check_telling(run)


def check_metadata(run: Run) -> None:
    expected = run.case["expect"]["metadata"]
    found = {name: data for name, data in run.metadata.items() if name not in OURS_BESIDE and not name.startswith("partial/")}
    if "errors.pb" in expected:
        assert found.pop("error.pb", None) == found["errors.pb"]
    assert sorted(found) == sorted(expected)
    for name, content in expected.items():
        ((kind, value),) = content.items()
        read = getattr(idl, kind).FromString(found[name])
        if kind != "ErrorDocument":
            assert read == message(kind, value, run.fill)
            continue
        assert (read.error.code, idl.ContainerError.Kind.Name(read.error.kind)) == (value["code"], value["kind"])
        assert read.error.message


def check_inputs(run: Run) -> None:
    expect = run.case["expect"]
    tree: dict[str, bytes | str] = {}
    for path, content in expect["tree"].items():
        if isinstance(content, str):
            tree[path] = content
        else:
            data = content_bytes(content, run.fill)
            tree[path] = run.fill(data.decode()).encode() if "text" in content else data
    assert tree_of(run.inputs) == tree
    assert (run.inputs / "inputs.pb").exists() == ("inputs.pb" in expect)
    if "inputs.pb" in expect:
        ((kind, value),) = expect["inputs.pb"].items()
        assert getattr(idl, kind).FromString((run.inputs / "inputs.pb").read_bytes()) == message(kind, value, run.fill)
    for path in run.inputs.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = 0o5 if path.is_dir() else 0o4
        assert mode & wanted == wanted, path
        assert not mode & 0o002, path


def check_telling(run: Run) -> None:
    """A failure leaves one sentence with its reason code for the pod; no secret is ever told."""
    assert bool(run.termination) == run.case["expect"]["failed"]
    assert "\n" not in run.termination
    for line in run.stderr.splitlines():
        json.loads(line)
    assert "Traceback" not in run.stderr
    assert not [word for word in map(run.fill, ("{secret_key}", "{odd_secret_key}")) if word in run.stderr + run.termination]
