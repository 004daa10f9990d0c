"""Every RPC's answer to an empty message and to the recorded right and wrong ones, against what a real backend gave."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from copilot.testing.flyte_client import FlyteClient

RECORDINGS = Path(__file__).parents[2] / "golden" / "recordings" / "flyte"
_ROW = re.compile(r"\| (\S+)/(\w+) \| (unary|server|clientserver) \| (\d+) \| (.*) \|")

# Where ours answers an empty message otherwise than by the recorded code, and why.
BETTER = {
    "actions.ActionsService/Update": "unimplemented",  # between Flyte's own parts
    "dataproxy.DataProxyService/GetActionData": "invalid_argument",  # was "unavailable: unexpected EOF" after a panic
    "dataproxy.DataProxyService/TailLogs": "invalid_argument",
    "secret.SecretService/UpdateSecret": "invalid_argument",  # a name is required
    "secret.SecretService/GetSecret": "invalid_argument",
    "secret.SecretService/DeleteSecret": "invalid_argument",
    "task.TaskService/DeployTask": "invalid_argument",  # was 500
    "task.TaskService/GetTaskDetails": "invalid_argument",
    "task.TaskService/ListVersions": "invalid_argument",  # of which task?
    "workflow.RunService/ListActions": "invalid_argument",  # of which run?
    "workflow.RunService/WatchRuns": "unimplemented",  # by project only
    "workflow.RunService/WatchGroups": "unimplemented",  # a console's
    "auth.AuthMetadataService/GetOAuth2Metadata": "unimplemented",
}
SERVED = {
    "actions.ActionsService",
    "auth.AuthMetadataService",
    "auth.IdentityService",
    "cluster.ClusterService",
    "dataproxy.DataProxyService",
    "project.ProjectService",
    "secret.SecretService",
    "task.TaskService",
    "workflow.RunService",
}


def rows() -> list[tuple[str, str, str]]:
    found = []
    for line in (RECORDINGS / "rpc_table.md").read_text().splitlines():
        match = _ROW.match(line)
        if match:
            service, method, kind, _, said = match.groups()
            code = re.match(r"`(\w+)`", said)
            answer = code[1] if code else "ok" if said.startswith("ok") else "none"
            found.append((f"{service}/{method}", kind, answer))
    return found


def expected(rpc: str, recorded: str) -> str:
    if rpc.rpartition("/")[0] not in SERVED:
        return "unimplemented"
    # A panic and a plain 404 are no answers: an empty message is the client's mistake.
    return BETTER.get(rpc, {"none": "invalid_argument", "internal": "invalid_argument"}.get(recorded, recorded))


def test_an_empty_message_gets_an_answer_from_every_rpc(server: FlyteClient) -> None:
    answers = {}
    for rpc, kind, recorded in rows():
        if kind == "clientserver":
            continue
        code = server.stream(rpc)[-1].get("error", {}).get("code", "ok") if kind == "server" else server.code(rpc)
        if code != expected(rpc, recorded):
            answers[rpc] = (code, expected(rpc, recorded))
    assert answers == {}


def test_the_table_names_every_method_of_the_services_we_serve() -> None:
    listed = {rpc for rpc, _, _ in rows()}
    modules = {"workflow": "run_service_pb2", "dataproxy": "dataproxy_service_pb2", "actions": "actions_service_pb2"}
    for package, module in modules.items():
        descriptor = importlib.import_module(f"flyteidl2.{package}.{module}").DESCRIPTOR
        for service in descriptor.services_by_name.values():
            for method in service.methods:
                assert f"{package}.{service.name}/{method.name}" in listed


# Requests of the recordings that name things this server does not have, with the code that clients rely on.
RECORDED = [
    entry
    for entry in json.loads((RECORDINGS / "rpc_errors.json").read_text())
    if "rpc" in entry
    and entry["answer"].get("error", {}).get("code") in {"not_found", "invalid_argument"}
    # Abridged in the recording ("as in add"): these are made anew in test_runs.
    and "(as in add)" not in json.dumps(entry["request"])
]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_wrong_requests_get_the_recorded_code(server: FlyteClient) -> None:
    wrong = {}
    for number, entry in enumerate(RECORDED):
        rpc = entry["rpc"].removeprefix("flyteidl2.")
        said = entry["answer"]["error"]["code"]
        code = server.code(rpc, entry["request"])
        # Runs of the recording are unknown here, and so their 404 comes before anything else.
        if code != said and "rg8chmbtl6rzft8pd8b4" not in json.dumps(entry["request"]):
            wrong[f"{number} {rpc} {json.dumps(entry['request'])[:120]}"] = (code, said)
    assert wrong == {}
