"""Requests that no schema forbids and no database keeps: the same answer with either database, and nothing half done."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.actions import actions_service_pb2
from flyteidl2.actions.actions_service_connect import ActionsServiceClientSync
from flyteidl2.common.list_pb2 import Filter, ListRequest
from flyteidl2.dataproxy.dataproxy_service_pb2 import GetActionDataRequest
from flyteidl2.task.common_pb2 import Inputs
from flyteidl2.task.run_pb2 import RunSpec
from flyteidl2.task.task_definition_pb2 import TaskIdentifier, TaskSpec
from flyteidl2.task.task_service_connect import TaskServiceClientSync
from flyteidl2.task.task_service_pb2 import DeployTaskRequest
from flyteidl2.workflow import run_service_pb2 as pb

from copilot.control_plane.lifecycle.phases import Phase
from copilot.testing.flyte_client import PROJECT, FlyteClient, task_spec

TOO_MANY = 2**31
TOO_LONG_S = 2**62


def refused(work: Callable[..., object], *arguments: object, **more: object) -> tuple[Code, str]:
    with pytest.raises(ConnectError) as caught:
        work(*arguments, **more)
    return caught.value.code, caught.value.message


def number(value: int) -> Inputs:
    message = Inputs()
    message.literals.add(name="n").value.scalar.primitive.integer = value
    return message


def test_a_request_that_is_refused_for_its_name_leaves_the_inputs_of_the_run_that_has_it(server: FlyteClient) -> None:
    spec = task_spec(inputs=("n",))
    run = server.submit(spec, name="mine", inputs=number(1))
    assert refused(server.submit, spec, name="mine", inputs=number(2))[0] == Code.ALREADY_EXISTS
    request = GetActionDataRequest()
    request.action_id.run.CopyFrom(run)
    request.action_id.name = "a0"
    assert server.data.get_action_data(request).inputs == number(1)


def changed(change: Callable[[TaskSpec], object]) -> TaskSpec:
    spec = task_spec()
    change(spec)
    return spec


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda spec: setattr(spec.task_template.metadata.retries, "retries", TOO_MANY), "retries is"),
        (lambda spec: spec.task_template.metadata.timeout.FromSeconds(-5), "timeout is -5 s"),
        (lambda spec: setattr(spec.task_template.metadata.timeout, "seconds", TOO_LONG_S), "timeout is"),
        (lambda spec: setattr(spec.task_template.metadata.timeouts.deadline, "seconds", TOO_LONG_S), "deadline is"),
        (lambda spec: setattr(spec.task_template.metadata.retries.backoff.base, "seconds", TOO_LONG_S), "backoff.base is"),
        (lambda spec: spec.task_template.container.args.append("a\0b"), "the character NUL"),
        (lambda spec: spec.task_template.container.env.add(key="A", value="\0"), "the character NUL"),
        (lambda spec: setattr(spec.task_template.id, "name", "a\0b"), "the character NUL"),
        (lambda spec: setattr(spec.task_template.id, "project", "p" * 64), "at most 63"),
        (lambda spec: setattr(spec.task_template.id, "version", "v" * 256), "at most 255"),
    ],
)
def test_a_task_with_a_number_or_a_text_that_cannot_be_is_refused_with_what_is_wrong(
    server: FlyteClient, change: Callable[[TaskSpec], object], said: str
) -> None:
    code, sentence = refused(server.submit, changed(change))
    assert (code, said in sentence) == (Code.INVALID_ARGUMENT, True), sentence


def test_a_run_with_a_number_or_a_label_that_cannot_be_is_refused(server: FlyteClient) -> None:
    labelled = RunSpec()
    labelled.labels.values["k"] = "v" * 256
    for run_spec in (RunSpec(max_action_concurrency=TOO_MANY), labelled):
        assert refused(server.submit, run_spec=run_spec)[0] == Code.INVALID_ARGUMENT


def test_a_version_that_is_too_long_is_not_deployed(server: FlyteClient) -> None:
    identifier = TaskIdentifier(project=PROJECT.name, domain=PROJECT.domain, name="t", version="v" * 256)
    spec = changed(lambda spec: spec.task_template.id.ClearField("version"))
    request = DeployTaskRequest(task_id=identifier, spec=spec)
    assert refused(TaskServiceClientSync(server.url).deploy_task, request)[0] == Code.INVALID_ARGUMENT


def test_the_character_nul_where_people_write_is_kept_as_what_stands_for_it(server: FlyteClient) -> None:
    labelled = RunSpec()
    labelled.labels.values["k\0"] = "v\0"
    run = server.submit(run_spec=labelled)
    server.runs.abort_run(pb.AbortRunRequest(run_id=run, reason="why\0not"))
    assert server.details(run).abort_info.reason == "why\ufffdnot"
    nobody = Filter(function=Filter.EQUAL, field="name", values=["a\0"])
    assert not server.runs.list_runs(pb.ListRunsRequest(request=ListRequest(filters=[nobody]), project_id=PROJECT)).runs


def test_a_reason_that_a_task_gives_with_the_character_nul_is_told(server: FlyteClient) -> None:
    run = server.submit()
    pod = server.pods.wait_created(1)[0]
    server.pods.start(pod)
    server.pods.finish(pod, 3, reason="Odd\0")
    last = server.watch(run)[-1]
    assert (last.status.phase, last.attempts[0].error_info.code) == (Phase.FAILED, "Odd\ufffd")


@pytest.mark.parametrize("field", ["phase", "created_at"])
def test_a_filter_for_texts_on_what_is_none_is_refused(server: FlyteClient, field: str) -> None:
    value = "RUNNING" if field == "phase" else "2026-01-01T00:00:00Z"
    odd = Filter(function=Filter.CONTAINS, field=field, values=[value])
    request = pb.ListRunsRequest(request=ListRequest(filters=[odd]), project_id=PROJECT)
    code, sentence = refused(server.runs.list_runs, request)
    assert (code, "does not apply" in sentence) == (Code.INVALID_ARGUMENT, True)


def test_a_trace_of_no_time_or_no_phase_is_refused(server: FlyteClient) -> None:
    run = server.submit()
    server.pods.start(server.pods.wait_created(1)[0])
    timeless, phaseless = actions_service_pb2.EnqueueRequest(), actions_service_pb2.EnqueueRequest()
    timeless.action.trace.start_time.seconds = TOO_LONG_S
    phaseless.action.trace.phase = 99
    for request in (timeless, phaseless):
        request.action.action_id.run.CopyFrom(run)
        request.action.action_id.name = "traced"
        assert refused(ActionsServiceClientSync(server.url).enqueue, request)[0] == Code.INVALID_ARGUMENT
