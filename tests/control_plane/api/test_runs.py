from __future__ import annotations

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.common.identifier_pb2 import ProjectIdentifier
from flyteidl2.common.list_pb2 import Filter, ListRequest
from flyteidl2.common.run_pb2 import OffloadedInputData
from flyteidl2.core.literals_pb2 import Literal
from flyteidl2.dataproxy.dataproxy_service_pb2 import GetActionDataRequest, UploadInputsRequest
from flyteidl2.task.common_pb2 import Inputs
from flyteidl2.task.run_pb2 import RunSpec
from flyteidl2.workflow import run_service_pb2 as pb

from copilot.control_plane.lifecycle.phases import Phase
from copilot.testing.flyte_client import PROJECT, FlyteClient, task_spec


def integer(value: int) -> Literal:
    literal = Literal()
    literal.scalar.primitive.integer = value
    return literal


def inputs(**values: int) -> Inputs:
    message = Inputs()
    for name, value in values.items():
        message.literals.add(name=name, value=integer(value))
    return message


def code_of(call: object, *arguments: object) -> Code:
    with pytest.raises(ConnectError) as caught:
        call(*arguments)  # type: ignore[operator]  # a client's method
    return caught.value.code


def test_the_same_name_with_the_same_request_is_the_same_run(server: FlyteClient) -> None:
    first = server.submit(name="twice")
    assert server.submit(name="twice") == first
    server.finish(1)
    server.watch(first)
    assert server.submit(name="twice") == first
    assert len(server.pods.created) == 1


def test_the_same_name_with_another_request_already_exists(server: FlyteClient) -> None:
    run = server.submit(name="taken")
    with pytest.raises(ConnectError) as caught:
        server.submit(task_spec(version="v2"), name="taken")
    assert caught.value.code == Code.ALREADY_EXISTS
    assert server.details(run).metadata.task.id.version == "v1"


def test_a_run_name_that_cannot_be_is_refused(server: FlyteClient) -> None:
    for name in ("UPPER_Case Bad name!", "x" * 31, "-a", "a-", "../x"):
        with pytest.raises(ConnectError) as caught:
            server.submit(name=name)
        assert caught.value.code == Code.INVALID_ARGUMENT


def test_an_unknown_project_and_an_unknown_domain_are_not_found(server: FlyteClient) -> None:
    for place in (
        ProjectIdentifier(name="nosuch", domain="development"),
        ProjectIdentifier(name="flytesnacks", domain="nosuch"),
    ):
        request = pb.CreateRunRequest(project_id=place, task_spec=task_spec())
        assert code_of(server.runs.create_run, request) == Code.NOT_FOUND


def test_an_unknown_task_is_not_found(server: FlyteClient) -> None:
    request = pb.CreateRunRequest(project_id=PROJECT)
    request.task_id.name, request.task_id.version = "nosuch.task", "v1"
    request.task_id.project, request.task_id.domain = PROJECT.name, PROJECT.domain
    assert code_of(server.runs.create_run, request) == Code.NOT_FOUND


def test_a_malformed_task_is_refused_with_what_is_wrong(server: FlyteClient) -> None:
    nothing = task_spec()
    nothing.task_template.ClearField("container")
    nameless = task_spec(name="")
    imageless = task_spec()
    imageless.task_template.container.image = ""
    for spec in (nothing, nameless, imageless):
        assert code_of(server.submit, spec) == Code.INVALID_ARGUMENT


def test_a_task_with_a_million_labels_is_refused(server: FlyteClient) -> None:
    labels = RunSpec()
    labels.labels.values.update({f"k{number}": "v" for number in range(5_000)})
    assert code_of(lambda: server.submit(run_spec=labels)) == Code.INVALID_ARGUMENT
    labels.labels.values.update({f"label-number-{number}": "v" * 40 for number in range(60_000)})
    assert code_of(lambda: server.submit(run_spec=labels)) == Code.RESOURCE_EXHAUSTED


def test_a_missing_required_input_is_refused_before_anything_runs(server: FlyteClient) -> None:
    spec = task_spec(inputs=("n", "k"))
    with pytest.raises(ConnectError) as caught:
        server.submit(spec, inputs=inputs(n=1))
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert "'k'" in caught.value.message
    request = UploadInputsRequest(project_id=PROJECT, task_spec=spec, inputs=inputs(n=1))
    assert code_of(server.data.upload_inputs, request) == Code.INVALID_ARGUMENT
    assert server.pods.created == []


def test_offloaded_inputs_come_back_as_they_were(server: FlyteClient) -> None:
    spec = task_spec(inputs=("n",))
    uploaded = server.data.upload_inputs(UploadInputsRequest(project_id=PROJECT, task_spec=spec, inputs=inputs(n=41)))
    run = server.submit(spec, offloaded_input_data=uploaded.offloaded_input_data)
    request = GetActionDataRequest()
    request.action_id.run.CopyFrom(run)
    request.action_id.name = "a0"
    data = server.data.get_action_data(request)
    assert data.inputs == inputs(n=41)
    assert data.inputs_uri == f"{uploaded.offloaded_input_data.uri}/inputs.pb"
    assert not data.outputs_uri


def test_inputs_outside_the_servers_store_are_not_read(server: FlyteClient) -> None:
    for uri in ("file:///etc", f"{server.plane.settings.store_base}/uploads/../../x", "s3://elsewhere/x"):
        data = OffloadedInputData(uri=uri, inputs_hash="x")
        assert code_of(lambda data=data: server.submit(offloaded_input_data=data)) == Code.INVALID_ARGUMENT


def test_inputs_that_are_too_large_say_so(server: FlyteClient) -> None:
    big = Inputs()
    big.literals.add(name="n").value.scalar.primitive.string_value = "x" * 300_000
    assert code_of(server.data.upload_inputs, UploadInputsRequest(project_id=PROJECT, inputs=big)) == Code.RESOURCE_EXHAUSTED


def test_an_abort_of_a_succeeded_run_changes_nothing(server: FlyteClient) -> None:
    run = server.submit()
    server.finish(1)
    before = server.watch(run)[-1]
    server.runs.abort_run(pb.AbortRunRequest(run_id=run, reason="late"))
    after = server.details(run)
    assert after.status == before.status
    assert not after.HasField("abort_info")


def test_an_abort_is_seen_at_once_with_its_reason(server: FlyteClient) -> None:
    run = server.submit()
    server.pods.wait_created(1)
    server.runs.abort_run(pb.AbortRunRequest(run_id=run, reason="because I said so"))
    details = server.details(run)
    assert (details.status.phase, details.abort_info.reason) == (Phase.ABORTED, "because I said so")
    assert details.status.HasField("end_time")
    server.pods.wait_empty()


def test_runs_are_listed_by_phase_name_label_and_page(server: FlyteClient) -> None:
    labelled = RunSpec()
    labelled.labels.values["team"] = "a"
    ids = [
        server.submit(task_spec(name=f"t{number % 2}"), run_spec=labelled if number == 0 else RunSpec()) for number in range(5)
    ]
    server.pods.wait_created(5)
    server.runs.abort_run(pb.AbortRunRequest(run_id=ids[3], reason="x"))

    def names(*filters: Filter, **request: object) -> list[str]:
        asked = pb.ListRunsRequest(request=ListRequest(filters=filters, **request), project_id=PROJECT)
        return [run.action.id.run.name for run in server.runs.list_runs(asked).runs]

    newest_first = [run.name for run in reversed(ids)]
    assert names() == newest_first
    assert names(Filter(function=Filter.EQUAL, field="task_name", values=["t1"])) == [ids[3].name, ids[1].name]
    # The recorded backend answered 500 to this one.
    assert names(Filter(function=Filter.VALUE_IN, field="phase", values=["7"])) == [ids[3].name]
    assert names(Filter(function=Filter.EQUAL, field="labels.team", values=["a"])) == [ids[0].name]
    assert names(Filter(function=Filter.EXISTS, field="labels.team")) == [ids[0].name]
    first = server.runs.list_runs(pb.ListRunsRequest(request=ListRequest(limit=2), project_id=PROJECT))
    second = server.runs.list_runs(pb.ListRunsRequest(request=ListRequest(limit=3, token=first.token), project_id=PROJECT))
    assert [run.action.id.run.name for run in (*first.runs, *second.runs)] == newest_first
    assert (first.token, second.token) == ("2", "")


def test_attempts_and_times_are_true(server: FlyteClient) -> None:
    run = server.submit()
    server.finish(1)
    details = server.watch(run)[-1]
    (attempt,) = details.attempts
    start, end = details.status.start_time.ToMicroseconds(), details.status.end_time.ToMicroseconds()
    assert start % 1_000_000 != 0 or attempt.start_time.ToMicroseconds() % 1_000_000 != 0
    assert details.status.duration_ms == round((end - start) / 1000)
    assert attempt.end_time == details.status.end_time
    phases = [(each.phase, each.start_time.ToMicroseconds()) for each in attempt.phase_transitions]
    assert [phase for phase, _ in phases] == [Phase.QUEUED, Phase.INITIALIZING, Phase.RUNNING, Phase.SUCCEEDED]
    assert phases == sorted(phases)


def test_a_failing_container_is_a_failure_and_uses_its_retries(server: FlyteClient) -> None:
    spec = task_spec()
    spec.task_template.metadata.retries.retries = 1
    run = server.submit(spec)
    server.finish(1, exit_code=3)
    server.finish(2, exit_code=3)
    details = server.watch(run)[-1]
    assert details.status.phase == Phase.FAILED
    assert [attempt.phase for attempt in details.attempts] == [Phase.FAILED, Phase.FAILED]
    assert all("3" in attempt.error_info.message for attempt in details.attempts)
    assert details.error_info.kind == 1


def test_a_task_without_outputs_succeeds(server: FlyteClient) -> None:
    run = server.submit(task_spec())
    server.finish(1)
    assert server.watch(run)[-1].status.phase == Phase.SUCCEEDED
