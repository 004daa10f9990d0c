from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flyteidl2.workflow.run_service_pb2 import AbortRunRequest
from google.protobuf.json_format import MessageToDict

from copilot.control_plane import tokens
from copilot.control_plane.api.hosts import answers_to
from copilot.control_plane.server import ControlPlane, check_exposure
from copilot.core.errors import BadFlag, LocalIOError
from copilot.core.idl_security import Secret as SecretMessage
from copilot.testing.control_plane import running_control_plane
from copilot.testing.flyte_client import FlyteClient, task_spec
from copilot.testing.recording import RecordingLog
from copilot.testing.server_process import until

if TYPE_CHECKING:
    from flyteidl2.task.task_definition_pb2 import TaskSpec

    from copilot.control_plane.settings import ServerSettings

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
RUNS = {"projectId": {"name": "flytesnacks", "domain": "development"}}
PLACE = {"project": "flytesnacks", "domain": "development"}
SECRET = {"name": "MY_SECRET", **PLACE}
OTHERS = {"projectId": {"name": "other", "domain": "development"}}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def admin(server: FlyteClient) -> dict[str, str]:
    return bearer((Path(server.plane.settings.data) / "admin.token").read_text().strip())


def new_token(server: FlyteClient, project: str = "") -> str:
    return server.plane.database.write_now(lambda unit: tokens.create_token(unit, "somebody", project=project, now=1.0))


def test_without_a_good_token_nobody_is_let_in(guarded: FlyteClient) -> None:
    for headers in ({}, bearer("cop_0_0"), bearer("nonsense"), {"authorization": "Basic eDp5"}, {"authorization": "Bearer"}):
        assert guarded.code("workflow.RunService/ListRuns", RUNS, headers=headers) == "unauthenticated"
    assert guarded.stream("workflow.RunService/WatchRuns", RUNS)[-1]["error"]["code"] == "unauthenticated"


def test_the_first_start_leaves_a_token_that_only_its_owner_can_read(guarded: FlyteClient) -> None:
    path = Path(guarded.plane.settings.data) / "admin.token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert guarded.code("workflow.RunService/ListRuns", RUNS, headers=admin(guarded)) == "ok"
    assert guarded.rpc("auth.IdentityService/UserInfo", headers=admin(guarded))[1]["subject"] == "admin"


def test_a_token_is_stored_as_a_hash_alone(guarded: FlyteClient) -> None:
    token = new_token(guarded)
    secret = token.split("_")[2].encode()
    for path in Path(guarded.plane.settings.data).glob("copilot.db*"):
        assert secret not in path.read_bytes()


def test_a_revoked_token_is_good_for_nothing(guarded: FlyteClient) -> None:
    token = new_token(guarded)
    assert guarded.code("workflow.RunService/ListRuns", RUNS, headers=bearer(token)) == "ok"
    guarded.plane.database.write_now(lambda unit: tokens.revoke_token(unit, token.split("_")[1], now=2.0))
    assert guarded.code("workflow.RunService/ListRuns", RUNS, headers=bearer(token)) == "unauthenticated"


def test_a_project_token_opens_its_own_project_only(guarded: FlyteClient) -> None:
    assert guarded.code("project.ProjectService/CreateProject", {"project": {"id": "other"}}, headers=admin(guarded)) == "ok"
    mine = bearer(new_token(guarded, "flytesnacks"))
    assert guarded.code("workflow.RunService/ListRuns", RUNS, headers=mine) == "ok"
    for method, message in (
        ("workflow.RunService/ListRuns", OTHERS),
        ("workflow.RunService/ListRuns", {"org": "x"}),
        ("workflow.RunService/AbortRun", {"runId": {"project": "other", "domain": "development", "name": "r"}}),
        ("secret.SecretService/ListSecrets", {}),
        ("secret.SecretService/CreateSecret", {"id": {"name": "s"}, "secretSpec": {"stringValue": "x"}}),
        ("project.ProjectService/CreateProject", {"project": {"id": "third"}}),
        ("project.ProjectService/GetProject", {"id": "other"}),
        ("dataproxy.DataProxyService/CreateUploadLocation", {"project": "other", "domain": "development", "filename": "a"}),
    ):
        assert guarded.code(method, message, headers=mine) == "permission_denied", method
    listed = guarded.rpc("project.ProjectService/ListProjects", {}, headers=mine)[1]["projects"]["projects"]
    assert [project["id"] for project in listed] == ["flytesnacks"]


def test_no_header_makes_an_identity(server: FlyteClient) -> None:
    forged = {"authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.", "x-amzn-oidc-identity": "bob"}
    assert server.code("auth.IdentityService/UserInfo", headers=forged) == "unauthenticated"
    assert server.code("auth.IdentityService/UserInfo", headers={"x-amzn-oidc-identity": "bob"}) == "unauthenticated"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104 - nothing is bound
def test_nothing_listens_beyond_loopback_without_authentication_unless_told_so(host: str, settings: ServerSettings) -> None:
    with pytest.raises(BadFlag):
        check_exposure(replace(settings, host=host))
    check_exposure(replace(settings, host=host, require_auth=True))
    check_exposure(replace(settings, host=host, insecure=True))


@pytest.mark.parametrize(
    "host", ["evil.example.com", "evil.example.com:8090", "127.0.0.1.evil.example.com", "192.0.2.1", "[::2]:1", "["]
)
@pytest.mark.parametrize("path", ["/flyteidl2.project.ProjectService/ListProjects", "/copilot/v1/report", "/healthz"])
def test_a_page_that_points_its_own_name_at_this_machine_is_not_answered(server: FlyteClient, path: str, host: str) -> None:
    answer = server.http.post(path, json={}, headers={"host": host})
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert "--auth" in answer.json()["message"]


@pytest.mark.parametrize(
    ("host", "changed"),
    [
        ("localhost:8090", {}),
        ("127.0.0.9", {}),
        ("[::1]:8090", {}),
        ("a.localhost", {}),
        ("", {}),
        ("team.example.com", {"public_url": "https://team.example.com/x"}),
        ("any.example.com", {"require_auth": True}),
        ("any.example.com", {"insecure": True}),
    ],
)
def test_a_server_answers_to_its_own_names(settings: ServerSettings, host: str, changed: dict[str, Any]) -> None:
    assert answers_to(host, replace(settings, **changed))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
def test_loopback_needs_no_authentication(host: str, settings: ServerSettings) -> None:
    check_exposure(replace(settings, host=host))


def test_a_report_is_taken_from_its_own_attempt_while_it_lives(server: FlyteClient) -> None:
    run = server.submit(task_spec(outputs=("m",)))
    (pod,) = server.pods.wait_created(1)
    token = report_token(server, pod)
    told = {"step": "InputsReady", "message": "3 inputs are in place"}
    assert server.http.post("/copilot/v1/report", json=told, headers=bearer(token)).status_code == 204
    assert "3 inputs are in place" in [event.message for event in server.details(run).attempts[0].cluster_events]
    assert server.http.post("/copilot/v1/report", json=told, headers=bearer("other")).status_code == 401
    assert server.http.post("/copilot/v1/report", content=b"[]", headers=bearer(token)).status_code == 400
    server.runs.abort_run(AbortRunRequest(run_id=run, reason="done"))
    assert server.http.post("/copilot/v1/report", json=told, headers=bearer(token)).status_code == 401


def test_the_token_of_a_running_task_is_good_for_its_own_run_and_nothing_else(guarded: FlyteClient) -> None:
    headers = admin(guarded)
    for name in ("mine", "other"):
        message = {"runId": {**PLACE, "name": name}, "taskSpec": MessageToDict(task_spec(outputs=("m",)))}
        assert guarded.code("workflow.RunService/CreateRun", message, headers=headers) == "ok"
    pods = guarded.pods.wait_created(2)
    task = bearer(report_token(guarded, next(pod for pod in pods if pod.startswith("mine-"))))

    def about(run: str, name: str = "a0") -> dict[str, object]:
        return {"run": {**PLACE, "name": run}, "name": name}

    def child(run: str, task_project: str = "flytesnacks") -> dict[str, object]:
        spec = {"id": {"project": task_project, "domain": "development", "name": "t", "version": "v1"}}
        return {"action": {"actionId": about(run, "child"), "parentActionName": "a0", "task": spec}}

    assert guarded.code("workflow.RunService/GetActionDetails", {"actionId": about("mine")}, headers=task) == "ok"
    assert guarded.code("task.TaskService/ListTasks", {"projectId": RUNS["projectId"]}, headers=task) == "ok"
    # It may ask for a task of its project, which is not there.
    assert guarded.code("actions.ActionsService/Enqueue", child("mine"), headers=task) == "not_found"
    for method, message in (
        ("actions.ActionsService/Enqueue", child("other")),
        ("actions.ActionsService/Enqueue", child("mine", "elsewhere")),
        ("actions.ActionsService/Abort", {"actionId": about("other")}),
        ("workflow.RunService/GetRunDetails", {"runId": {**PLACE, "name": "other"}}),
        ("workflow.RunService/ListRuns", RUNS),
        ("workflow.RunService/CreateRun", {"projectId": RUNS["projectId"], "taskSpec": MessageToDict(task_spec())}),
        ("workflow.RunService/AbortRun", {"runId": {**PLACE, "name": "mine"}}),
        ("secret.SecretService/ListSecrets", {}),
        ("secret.SecretService/DeleteSecret", {"id": SECRET}),
        ("dataproxy.DataProxyService/CreateUploadLocation", {**PLACE, "filename": "a"}),
        ("task.TaskService/ListTasks", {"projectId": {"name": "other", "domain": "development"}}),
        ("task.TaskService/DeployTask", {"taskId": {**PLACE, "name": "t", "version": "v"}}),
        ("project.ProjectService/CreateProject", {"project": {"id": "third"}}),
    ):
        assert guarded.code(method, message, headers=task) == "permission_denied", method


def report_token(server: FlyteClient, pod: str) -> str:
    """The token, from the Secret object that came with the pod."""
    for secret in server.pods.secrets[pod]:
        encoded: dict[str, str] = dict(secret.get("data") or {})  # type: ignore[call-overload]  # a Secret's JSON
        plain: dict[str, str] = dict(secret.get("stringData") or {})  # type: ignore[call-overload]  # a Secret's JSON
        plain |= {key: base64.b64decode(value).decode() for key, value in encoded.items()}
        for key, value in plain.items():
            if "TOKEN" in key.upper():
                return value
    raise AssertionError(f"no token came with {pod}: {server.pods.secrets[pod]}")


def test_secrets_go_in_and_never_come_out(server: FlyteClient) -> None:
    identifier = {"name": "MY_SECRET", "project": "flytesnacks", "domain": "development"}
    create = {"id": identifier, "secretSpec": {"stringValue": "s3cr3t-value"}}
    assert server.code("secret.SecretService/CreateSecret", create) == "ok"
    assert server.code("secret.SecretService/CreateSecret", create) == "already_exists"
    assert server.code(
        "secret.SecretService/CreateSecret", {"id": {"name": "x", "project": "p"}, "secretSpec": {"stringValue": ""}}
    ) == ("invalid_argument")
    for method, message in (("GetSecret", {"id": identifier}), ("ListSecrets", {})):
        status, answer = server.rpc(f"secret.SecretService/{method}", message)
        assert status == 200
        assert "s3cr3t" not in str(answer)
    for path in Path(server.plane.settings.data).glob("copilot.db*"):
        assert b"s3cr3t-value" not in path.read_bytes()
    assert server.code("secret.SecretService/DeleteSecret", {"id": identifier}) == "ok"
    assert server.code("secret.SecretService/GetSecret", {"id": identifier}) == "not_found"


def with_secrets(*keys: str) -> TaskSpec:
    spec = task_spec()
    for key in keys:
        spec.task_template.security_context.secrets.add(key=key, env_var=key, mount_requirement=SecretMessage.ENV_VAR)
    return spec


def test_a_pod_fetches_what_its_task_declares_and_nobody_else_gets_anything(guarded: FlyteClient) -> None:
    headers = admin(guarded)
    for name, value in (("MY_SECRET", "s3cr3t-value"), ("OTHER", "s3cr3t-other")):
        message = {"id": {**SECRET, "name": name}, "secretSpec": {"stringValue": value}}
        assert guarded.code("secret.SecretService/CreateSecret", message, headers=headers) == "ok"
    message = {"projectId": RUNS["projectId"], "taskSpec": MessageToDict(with_secrets("MY_SECRET"))}
    assert guarded.code("workflow.RunService/CreateRun", message, headers=headers) == "ok"
    (pod,) = guarded.pods.wait_created(1)
    mine = bearer(report_token(guarded, pod))

    def asked(name: str, headers: dict[str, str], method: str = "GET") -> tuple[int, bytes]:
        answer = guarded.http.request(method, f"/copilot/v1/secrets/{name}", headers=headers)
        return answer.status_code, answer.content

    status, content = asked("MY_SECRET", mine)
    assert (status, base64.b64decode(json.loads(content)["value"])) == (200, b"s3cr3t-value")
    for name, who, method, expected in (
        ("OTHER", mine, "GET", 403),
        ("MY_SECRET", headers, "GET", 401),
        ("MY_SECRET", bearer(new_token(guarded, "flytesnacks")), "GET", 401),
        ("MY_SECRET", {}, "GET", 401),
        ("MY_SECRET", mine, "POST", 400),
        ("..%2f..%2fsecret.keys", mine, "GET", 403),
        ("", mine, "GET", 403),
    ):
        status, content = asked(name, who, method)
        assert (status, b"s3cr3t" in content) == (expected, False), (name, method)
    # What the cluster keeps of the pod holds no value, encoded or not.
    kept = json.dumps([guarded.pods.get("copilot", pod), *guarded.pods.secrets[pod]])
    for form in ("s3cr3t-value", base64.b64encode(b"s3cr3t-value").decode()):
        assert form not in kept
    guarded.pods.start(pod)
    guarded.pods.finish(pod, 0)
    until(lambda: asked("MY_SECRET", mine)[0] == 401, "the token has ended with its attempt")
    assert isinstance(guarded.plane.log, RecordingLog)
    told = json.dumps([(event.name, event.fields) for event in guarded.plane.log.events], default=str)
    assert "secret.fetched" in told
    assert "s3cr3t" not in told


def test_a_secret_that_is_not_there_is_said_before_a_pod_is_made(server: FlyteClient) -> None:
    details = server.watch(server.submit(with_secrets("NOT_THERE")))[-1]
    assert "there is no secret called NOT_THERE" in details.error_info.message
    assert "copilot secrets set NOT_THERE" in details.error_info.message


def test_a_task_gets_the_secret_of_the_nearest_scope(server: FlyteClient) -> None:
    vault, database = server.plane.office.vault, server.plane.database
    scopes = {("", ""): b"everybody", ("", "development"): b"domain", ("flytesnacks", "development"): b"project"}
    for (project, domain), value in scopes.items():
        database.write_now(partial(vault.put, secret=(project, domain, "k"), value=value, kind=0, now=1.0))

    def found(project: str, domain: str) -> bytes | None:
        return database.read_now(lambda session: vault.resolve(session, project, domain, "k"))

    assert found("flytesnacks", "development") == b"project"
    assert found("other", "development") == b"domain"
    assert found("other", "staging") == b"everybody"


def test_keys_are_rotated_and_the_old_one_may_go(settings: ServerSettings, make_plane: Callable[..., ControlPlane]) -> None:

    old, new = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
    for keys, rotate in (((old,), False), ((new, old), True), ((new,), False)):
        with running_control_plane(partial(make_plane, replace(settings, secret_keys=keys))) as running:
            vault, database = running.plane.office.vault, running.plane.database
            if keys == (old,):
                database.write_now(partial(vault.put, secret=("", "", "k"), value=b"value", kind=0, now=1.0))
            if rotate:
                assert database.write_now(vault.rotate) == 1
            assert database.read_now(partial(vault.resolve, project="", domain="", name="k")) == b"value"


def test_two_servers_do_not_share_one_sqlite(
    server: FlyteClient, settings: ServerSettings, make_plane: Callable[..., ControlPlane]
) -> None:
    assert server.code("project.ProjectService/ListProjects") == "ok"
    with pytest.raises(LocalIOError) as caught:
        make_plane(settings)
    assert "PostgreSQL" in caught.value.hint
