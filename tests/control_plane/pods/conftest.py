"""Attempts made from the requests that the official SDK sent in the recordings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flyteidl2.core.literals_pb2 import LiteralMap
from flyteidl2.task.run_pb2 import RunSpec
from flyteidl2.task.task_definition_pb2 import TaskSpec
from google.protobuf import json_format

from copilot.control_plane.lifecycle.work import AttemptWork
from copilot.control_plane.pods import PodSettings, load_templates

RECORDINGS = Path(__file__).parents[2] / "golden" / "recordings" / "flyte"
MakeWork = Callable[..., AttemptWork]
Json = Any


def messages(case: str, rpc: str, kind: str) -> list[dict[str, Any]]:
    lines = (RECORDINGS / "rpc" / f"{case}.jsonl").read_text().splitlines()
    exchanges = [json.loads(line) for line in lines]
    return [each["msg"] for each in exchanges if each["rpc"].endswith(rpc) and each["kind"] == kind and "msg" in each]


@pytest.fixture
def recorded_pod() -> Callable[[str], Any]:
    return lambda case: json.loads((RECORDINGS / "pods" / f"{case}.json").read_text())


def recorded_work(case: str, **changes: Json) -> AttemptWork:
    request = messages(case, "RunService/CreateRun", "req")[0]
    uploads = messages(case, "DataProxyService/UploadInputs", "req")
    inputs = LiteralMap()
    for each in uploads[0].get("inputs", {}).get("literals", []) if uploads else []:
        json_format.ParseDict(each.get("value", {}), inputs.literals[each["name"]], ignore_unknown_fields=True)
    work = AttemptWork(
        project="flytesnacks",
        domain="development",
        run="r4jhp4qbtssczx8tkldc",
        action="a0",
        attempt=1,
        parent="",
        spec=json_format.ParseDict(request["taskSpec"], TaskSpec(), ignore_unknown_fields=True),
        run_spec=json_format.ParseDict(request.get("runSpec", {}), RunSpec(), ignore_unknown_fields=True),
        inputs=inputs,
        input_uri="s3://flyte-data/uploads/flytesnacks/development/offloaded-inputs/abc/inputs.pb" if inputs.literals else "",
        output_prefix="s3://flyte-data/flytesnacks/development/r4jhp4qbtssczx8tkldc/a0/1",
        previous_prefix="",
        run_output_base="s3://flyte-data/flytesnacks/development/r4jhp4qbtssczx8tkldc/",
        run_start_s=1795332083.0,
        namespace="copilot",
        pod_name="r4jhp4qbtssczx8tkldc-a0-0-1a2b3c4d",
        report_url="http://10.244.0.1:8090/report",
        report_token="attempt-token",
        endpoint="10.244.0.1:8090",
        pod_env={"COPILOT_ENDPOINT": "http://10.244.0.1:9000", "AWS_SECRET_ACCESS_KEY": "store-key-of-ours"},
        task_env={"FLYTE_AWS_ENDPOINT": "http://10.244.0.1:9000", "FLYTE_AWS_SECRET_ACCESS_KEY": "store-key-of-ours"},
    )
    return replace(work, **changes)


@pytest.fixture
def work() -> MakeWork:
    return recorded_work


@pytest.fixture(scope="session")
def settings() -> PodSettings:
    return PodSettings(image="registry.example/copilot:1", templates=load_templates())
