from __future__ import annotations

import threading

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.actions import actions_service_pb2 as pb
from flyteidl2.actions.actions_service_connect import ActionsServiceClientSync
from flyteidl2.common.identifier_pb2 import ActionIdentifier, RunIdentifier
from flyteidl2.core.literals_pb2 import Literal
from flyteidl2.task.task_definition_pb2 import TaskIdentifier
from flyteidl2.task.task_service_connect import TaskServiceClientSync
from flyteidl2.task.task_service_pb2 import DeployTaskRequest, GetTaskDetailsRequest
from flyteidl2.workflow import run_service_pb2
from google.protobuf.json_format import MessageToDict

from copilot.control_plane.lifecycle.phases import Phase
from copilot.testing.flyte_client import PROJECT, FlyteClient, task_spec


def child(run: RunIdentifier, name: str, **spec: object) -> pb.EnqueueRequest:
    request = pb.EnqueueRequest()
    action = request.action
    action.action_id.run.CopyFrom(run)
    action.action_id.run.org = "local"
    action.action_id.name, action.parent_action_name = name, "a0"
    if not spec:
        action.task.spec.CopyFrom(task_spec(name="child"))
    return request


def parent(server: FlyteClient) -> RunIdentifier:
    run = server.submit(task_spec(name="parent"))
    pod = server.pods.wait_created(1)[0]
    server.pods.start(pod)
    return run


def test_a_caller_hears_of_everything_that_is_then_the_sentinel_then_each_change(server: FlyteClient) -> None:
    run, actions = parent(server), ActionsServiceClientSync(server.url)
    actions.enqueue(child(run, "first"))
    seen: list[pb.WatchForUpdatesResponse] = []
    replayed, ended = threading.Event(), threading.Event()

    def watch() -> None:
        request = pb.WatchForUpdatesRequest(parent_action_id=ActionIdentifier(run=run, name="a0"))
        for message in actions.watch_for_updates(request, timeout_ms=30_000):
            seen.append(message)
            if message.control_message.sentinel:
                replayed.set()
            if message.action_update.action_id.name == "second" and Phase(message.action_update.phase or 1).terminal:
                ended.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert replayed.wait(20)
    before = [message.action_update.action_id.name for message in seen if not message.control_message.sentinel]
    assert "first" in before
    ActionsServiceClientSync(server.url).enqueue(child(run, "second"))
    for pod in server.pods.wait_created(3)[1:]:
        server.pods.start(pod)
        server.pods.finish(pod, 0 if "first" in pod else 3)
    assert ended.wait(20)
    server.pods.finish(server.pods.created[0], 0)
    watcher.join(20)
    last = {message.action_update.action_id.name: message.action_update for message in seen}
    assert last["first"].phase == Phase.SUCCEEDED
    assert last["first"].output_uri.endswith("/first/1")
    assert (last["second"].phase, last["second"].error.kind) == (Phase.FAILED, 1)


def test_the_same_action_again_already_exists_and_is_run_once(server: FlyteClient) -> None:
    run, actions = parent(server), ActionsServiceClientSync(server.url)
    actions.enqueue(child(run, "once"))
    with pytest.raises(ConnectError) as caught:
        actions.enqueue(child(run, "once"))
    assert caught.value.code == Code.ALREADY_EXISTS
    server.runs.abort_run(run_service_pb2.AbortRunRequest(run_id=run, reason="x"))


def test_a_run_that_has_ended_calls_nothing(server: FlyteClient) -> None:
    run = server.submit()
    server.finish(1)
    server.watch(run)
    with pytest.raises(ConnectError) as caught:
        ActionsServiceClientSync(server.url).enqueue(child(run, "late"))
    assert caught.value.code == Code.FAILED_PRECONDITION


def test_an_input_outside_the_run_is_refused(server: FlyteClient) -> None:
    run = parent(server)
    request = child(run, "thief")
    request.action.input_uri = "file:///etc/inputs.pb"
    with pytest.raises(ConnectError) as caught:
        ActionsServiceClientSync(server.url).enqueue(request)
    assert caught.value.code == Code.INVALID_ARGUMENT


def test_a_trace_is_recorded_as_it_ended(server: FlyteClient) -> None:
    run = parent(server)
    request = child(run, "traced", kind="trace")
    request.action.trace.name, request.action.trace.phase = "step", int(Phase.SUCCEEDED)
    request.action.trace.start_time.FromSeconds(1_700_000_000)
    request.action.trace.end_time.FromSeconds(1_700_000_003)
    ActionsServiceClientSync(server.url).enqueue(request)
    details = server.details(run, "traced")
    assert (details.status.phase, details.status.duration_ms) == (Phase.SUCCEEDED, 3000)
    assert details.metadata.action_type == 2


def test_a_condition_waits_for_its_signal(server: FlyteClient) -> None:
    run, actions = parent(server), ActionsServiceClientSync(server.url)
    request = child(run, "approval", kind="condition")
    request.action.condition.name = "approve?"
    actions.enqueue(request)
    assert server.details(run, "approval").status.phase == Phase.PAUSED
    value = Literal()
    value.scalar.primitive.boolean = True
    signal = pb.SignalRequest(action_id=ActionIdentifier(run=run, name="approval"), value=value)
    actions.signal(signal)
    details = server.details(run, "approval")
    assert details.status.phase == Phase.SUCCEEDED
    assert details.signal_info.output == value
    with pytest.raises(ConnectError) as caught:
        actions.signal(signal)
    assert caught.value.code == Code.FAILED_PRECONDITION


def test_a_deployed_task_is_run_by_its_identifier_and_a_version_is_never_rewritten(server: FlyteClient) -> None:
    tasks = TaskServiceClientSync(server.url)
    identifier = TaskIdentifier(project=PROJECT.name, domain=PROJECT.domain, name="t", version="v1")
    for _ in range(2):
        tasks.deploy_task(DeployTaskRequest(task_id=identifier, spec=task_spec()))
    assert tasks.get_task_details(GetTaskDetailsRequest(task_id=identifier)).details.spec == task_spec()
    other = task_spec(outputs=("m",))
    with pytest.raises(ConnectError) as caught:
        tasks.deploy_task(DeployTaskRequest(task_id=identifier, spec=other))
    assert caught.value.code == Code.ALREADY_EXISTS
    foreign = task_spec(name="somebody-elses")
    with pytest.raises(ConnectError) as caught:
        tasks.deploy_task(DeployTaskRequest(task_id=identifier, spec=foreign))
    assert caught.value.code == Code.INVALID_ARGUMENT
    run = server.runs.create_run(run_service_pb2.CreateRunRequest(project_id=PROJECT, task_id=identifier)).run.action.id.run
    server.finish(1)
    assert server.watch(run)[-1].status.phase == Phase.SUCCEEDED
    listed = server.rpc("task.TaskService/ListTasks", {"projectId": MessageToDict(PROJECT)})[1]
    assert [task["taskId"]["name"] for task in listed["tasks"]] == ["t"]


@pytest.mark.parametrize("identifier", ["Bad_ID!", "x" * 200, "-a", "a-", "../a", ""])
def test_a_project_id_that_cannot_be_one_is_refused(server: FlyteClient, identifier: str) -> None:
    message = {"project": {"id": identifier, "name": "x"}}
    assert server.code("project.ProjectService/CreateProject", message) == "invalid_argument"


def test_projects_are_made_changed_archived_and_listed(server: FlyteClient) -> None:
    create = {"project": {"id": "p1", "name": "P One", "labels": {"values": {"team": "a"}}}}
    assert server.code("project.ProjectService/CreateProject", create) == "ok"
    assert server.code("project.ProjectService/CreateProject", create) == "already_exists"
    archived = {"project": {"id": "p1", "name": "P One", "state": "PROJECT_STATE_ARCHIVED"}}
    assert server.code("project.ProjectService/UpdateProject", archived) == "ok"
    listed = server.rpc("project.ProjectService/ListProjects", {"filters": "eq(state, 0)"})[1]["projects"]["projects"]
    assert [project["id"] for project in listed] == ["flytesnacks"]
    message = {"projectId": {"name": "p1", "domain": "development"}, "taskSpec": MessageToDict(task_spec())}
    assert server.code("workflow.RunService/CreateRun", message) == "not_found"
