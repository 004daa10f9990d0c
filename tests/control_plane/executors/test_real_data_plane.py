"""A pod as the server makes it, run here with the real init container and sidecar, on a store of files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flyteidl2.core.execution_pb2 import ExecutionError
from flyteidl2.core.interface_pb2 import VariableEntry
from flyteidl2.core.literals_pb2 import LiteralMap
from flyteidl2.core.types_pb2 import LiteralType, SimpleType
from flyteidl2.task.run_pb2 import RunSpec
from flyteidl2.task.task_definition_pb2 import TaskSpec

from copilot.control_plane.executors.process import ProcessExecutor
from copilot.control_plane.lifecycle.outcome import attempt_outcome
from copilot.control_plane.lifecycle.phases import Phase
from copilot.control_plane.lifecycle.work import AttemptWork, Published
from copilot.control_plane.pods import PodSettings, build_pod, load_templates
from copilot.core.idl import ErrorDocument
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock

Json = Any
INTEGER = SimpleType.INTEGER
SETTINGS = PodSettings(templates=load_templates()).for_processes()


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessExecutor]:
    with ProcessExecutor(tmp_path_factory.mktemp("pods")) as executor:
        yield executor


Attempt = Callable[..., AttemptWork]


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    store = tmp_path / "store"

    def make(script: str, *, inputs: Mapping[str, int], outputs: list[str], name: str) -> AttemptWork:
        spec = TaskSpec()
        template = spec.task_template
        template.id.name, template.type = name, "raw-container"
        template.container.image = "busybox"
        template.container.args.extend(["/bin/sh", "-c", script])
        config = template.container.data_config
        config.enabled, config.input_path, config.output_path = True, "/var/inputs", "/var/outputs"
        for interface, names in ((template.interface.inputs, inputs), (template.interface.outputs, outputs)):
            for each in names:
                entry = VariableEntry(key=each)
                entry.value.type.CopyFrom(LiteralType(simple=INTEGER))
                interface.variables.append(entry)
        literals = LiteralMap()
        for key, value in inputs.items():
            literals.literals[key].scalar.primitive.integer = value
        (store / "in").mkdir(parents=True, exist_ok=True)
        (store / "in" / "inputs.pb").write_bytes(literals.SerializeToString())
        return AttemptWork(
            project="p",
            domain="d",
            run="r1",
            action="a0",
            attempt=1,
            parent="",
            spec=spec,
            run_spec=RunSpec(),
            inputs=literals,
            input_uri=f"file://{store}/in/inputs.pb" if inputs else "",
            output_prefix=f"file://{store}/out",
            previous_prefix="",
            run_output_base=f"file://{store}/",
            run_start_s=0.0,
            namespace="data",
            pod_name=f"r1-{name}",
        )

    return make


def finish(executor: ProcessExecutor, work: AttemptWork, settings: PodSettings = SETTINGS) -> Json:
    built = build_pod(work, settings)
    executor.create(built.manifest, secrets=built.secrets)
    for kind, pod in executor.watch("data", Token(SystemClock(), timeout_s=60)):
        if (
            kind != "BOOKMARK"
            and pod["metadata"]["name"] == work.pod_name
            and pod["status"]["phase"] in {"Succeeded", "Failed"}
        ):
            return pod
    raise AssertionError(executor.get("data", work.pod_name))


def published(work: AttemptWork) -> Published:
    place = Path(work.output_prefix.removeprefix("file://"))
    found = {name: (place / name).read_bytes() if (place / name).exists() else None for name in ("error.pb", "_receipt.json")}
    return Published((place / "outputs.pb").exists(), error=found["error.pb"], receipt=found["_receipt.json"])


def logs(executor: ProcessExecutor, pod: Json) -> str:
    names = [each["name"] for each in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]]
    token = Token(SystemClock(), timeout_s=30)
    texts = {name: b"".join(executor.logs("data", pod["metadata"]["name"], name, follow=False, cancel=token)) for name in names}
    return f"{pod['status']} {texts}"


def test_inputs_come_in_and_outputs_go_out(executor: ProcessExecutor, attempt: Attempt) -> None:
    work = attempt("expr $(cat /var/inputs/n) + 1 >/var/outputs/m", inputs={"n": 41}, outputs=["m"], name="adds")
    pod = finish(executor, work)
    ending = attempt_outcome(work, pod, published(work))
    assert ending is not None
    assert ending.phase is Phase.SUCCEEDED, logs(executor, pod)
    outputs = LiteralMap.FromString((Path(work.output_prefix.removeprefix("file://")) / "outputs.pb").read_bytes())
    assert outputs.literals["m"].scalar.primitive.integer == 42


def test_a_task_without_outputs_succeeds(executor: ProcessExecutor, attempt: Attempt) -> None:
    work = attempt("test $(cat /var/inputs/n) = 1", inputs={"n": 1}, outputs=[], name="silent")
    ending = attempt_outcome(work, finish(executor, work), published(work))
    assert ending is not None
    assert ending.phase is Phase.SUCCEEDED


def test_an_output_that_is_missing_is_told_with_its_name(executor: ProcessExecutor, attempt: Attempt) -> None:
    work = attempt("true", inputs={}, outputs=["m"], name="forgets")
    pod = finish(executor, work)
    ending = attempt_outcome(work, pod, published(work))
    assert ending is not None
    assert ending.phase is Phase.FAILED, logs(executor, pod)
    assert "m" in ending.message
    assert "MissingOutput" in ending.message


def test_the_task_s_own_error_is_told(executor: ProcessExecutor, attempt: Attempt) -> None:
    script = "echo 'the column x is not there' >/var/outputs/_ERROR; exit 1"
    work = attempt(script, inputs={}, outputs=["m"], name="gives-up")
    pod = finish(executor, work)
    document = published(work).error
    assert document is not None, logs(executor, pod)
    assert "the column x is not there" in ErrorDocument.FromString(document).error.message
    ending = attempt_outcome(work, pod, published(work))
    assert ending is not None
    assert (ending.phase, "the column x" in ending.message) == (Phase.FAILED, True)


def test_fault_4_an_input_that_is_not_there_keeps_main_from_starting(executor: ProcessExecutor, attempt: Attempt) -> None:
    work = attempt("echo 1 >/var/outputs/m", inputs={"n": 1}, outputs=["m"], name="lacks")
    work = replace(work, input_uri=work.input_uri.replace("/in/", "/nowhere/"))
    pod = finish(executor, work)
    assert "waiting" in pod["status"]["containerStatuses"][0]["state"], logs(executor, pod)
    ending = attempt_outcome(work, pod, published(work))
    assert ending is not None
    assert (ending.phase, ending.code) == (Phase.FAILED, "InputDownloadFailed")
    # The sidecar ended after it, found no output, and left the better reason where it was, under both names.
    for name in ("error.pb", "errors.pb"):
        document = (Path(work.output_prefix.removeprefix("file://")) / name).read_bytes()
        assert ErrorDocument.FromString(document).error.code == "InputDownloadFailed"


def test_main_that_fails_fails_with_its_code_whatever_it_left(executor: ProcessExecutor, attempt: Attempt) -> None:
    work = attempt("echo 1 >/var/outputs/m; echo why >&2; exit 7", inputs={}, outputs=["m"], name="fails")
    ending = attempt_outcome(work, finish(executor, work), published(work))
    assert ending is not None
    assert ending.phase is Phase.FAILED
    assert ending.message == "The task ended with exit code 7. why"


def test_a_wrapped_main_publishes_on_its_own_proof(executor: ProcessExecutor, attempt: Attempt) -> None:
    work = attempt("echo 5 >/var/outputs/m", inputs={}, outputs=["m"], name="proves")
    pod = finish(executor, work, replace(SETTINGS, wrap="always"))
    ending = attempt_outcome(work, pod, published(work))
    assert ending is not None
    assert ending.phase is Phase.SUCCEEDED, logs(executor, pod)
    receipt = json.loads(published(work).receipt or b"{}")
    assert receipt["verdict"]["row"] == "exited-0-before-the-pod-ended"


def test_the_error_document_of_a_wrapped_main_that_fails_tells_the_task_s_failure(
    executor: ProcessExecutor, attempt: Attempt
) -> None:
    work = attempt("echo why >&2; exit 7", inputs={}, outputs=["m"], name="fails-wrapped")
    pod = finish(executor, work, replace(SETTINGS, wrap="always"))
    document = published(work).error
    assert document is not None, logs(executor, pod)
    error = ErrorDocument.FromString(document).error
    assert (error.code, error.origin) == ("TaskFailed", ExecutionError.USER)
    assert "exit code 7" in error.message
    ending = attempt_outcome(work, pod, published(work))
    assert ending is not None
    assert (ending.code, ending.message) == ("TaskFailed", "The task ended with exit code 7. why")


def test_a_wrapped_main_that_was_told_to_stop_proves_nothing(executor: ProcessExecutor, attempt: Attempt) -> None:
    script = "trap 'echo 5 >/var/outputs/m; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    work = attempt(script, inputs={}, outputs=["m"], name="obeys")
    built = build_pod(work, replace(SETTINGS, wrap="always"))
    executor.create(built.manifest, secrets=built.secrets)
    token = Token(SystemClock(), timeout_s=60)
    for _ in executor.logs("data", work.pod_name, "main", follow=True, cancel=token):
        break
    executor.delete("data", work.pod_name, grace_s=10)
    while executor.get("data", work.pod_name)["status"]["phase"] not in {"Succeeded", "Failed"}:
        assert not token.wait(0.02)
    assert not published(work).outputs
