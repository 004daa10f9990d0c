"""The file of ``copilot submit``: what is right is taken as it stands, what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from copilot.cli.remote.task_file import read_task_file
from copilot.cli.staging.messages import plain_literals
from copilot.core.errors import BadFlag, LocalIOError

TASK = "image: alpine\ncommand: [echo, hi]\n"


def task_file(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "task.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_texts_are_taken_as_they_are_written(tmp_path: Path) -> None:
    found = read_task_file(task_file(tmp_path, "name: 5\nimage: 7\ncommand: [sleep, 010, true, 1.50, null]\nsecrets: [on]\n"))
    assert (found["name"], found["image"]) == ("5", "7")
    assert found["command"] == ["sleep", "010", "true", "1.50", "null"]
    assert found["secret"] == ["on"]


def test_inputs_have_the_types_that_they_are_written_with(tmp_path: Path) -> None:
    text = 'inputs: {flag: true, n: 5, s: "5", "f:float": 1, xs: [1, 2], "at:datetime": 2026-01-02T03:04:05Z}\n'
    found = read_task_file(task_file(tmp_path, TASK + text))
    values = {name: MessageToDict(literal) for name, literal in found["literals"].literals.items()}
    scalars = {name: value["scalar"]["primitive"] for name, value in values.items() if name != "xs"}
    assert scalars == {
        "flag": {"boolean": True},
        "n": {"integer": "5"},
        "s": {"stringValue": "5"},
        "f": {"floatValue": 1.0},
        "at": {"datetime": "2026-01-02T03:04:05Z"},
    }
    assert [each["scalar"]["primitive"]["integer"] for each in values["xs"]["collection"]["literals"]] == ["1", "2"]
    assert set(found["declared"]) == {"f", "at"}


def test_inputs_of_json_keep_their_types(tmp_path: Path) -> None:
    plain = {"flag": True, "text": "true", "nothing": None, "words": ["a", "b"], "map": {"k": [1.5]}, "far": "s3://b/k"}
    declared = {"n:int": 5, "s:str": "true", "f:float": "0.5", "t:datetime": "2026-01-02T03:04:05Z", "b:bool": False}
    text = json.dumps({"image": "none", "command": ["true"], "inputs": plain | declared})
    found = plain_literals(read_task_file(task_file(tmp_path, text))["literals"])
    assert found == {**plain, "n": 5, "s": "true", "f": 0.5, "t": "2026-01-02T03:04:05Z", "b": False}


def test_numbers_outputs_and_nothing(tmp_path: Path) -> None:
    found = read_task_file(task_file(tmp_path, TASK + "retries: 2\ntimeout: 30\noutputs: {m: int}\ninputs:\nsecrets:\n"))
    assert (found["retries"], found["timeout"], found["output"], found["secret"]) == (2, 30, ["m:int"], [])
    assert not found["literals"].literals
    assert "retries" not in read_task_file(task_file(tmp_path, TASK))


def test_variables_and_resources_are_texts_as_well(tmp_path: Path) -> None:
    found = read_task_file(task_file(tmp_path, TASK + "env: {DEBUG: on, N: 010}\nresources: {cpu: 1.50, memory: 1Gi}\n"))
    assert (found["env"], found["resource"]) == (["DEBUG=on", "N=010"], ["cpu=1.50", "memory=1Gi"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TASK + "env: [A=b]\n", "env is \"['A=b']\", and must be a mapping of names to values"),
        (TASK + "resources: {limits: {cpu: 1}}\n", "a mapping of names to quantities"),
        (TASK + "retries: many\n", "retries is 'many', and must be a whole number"),
        (TASK + "retries: -1\n", "retries is '-1'"),
        (TASK + "retries: true\n", "retries is 'true'"),
        (TASK + "retries: 99999999999\n", "retries is '99999999999'"),
        (TASK + "timeout: -1\n", "timeout is '-1'"),
        (TASK + "timeout: 5m\n", "timeout is '5m'"),
        (TASK + "timeout: 1.5\n", "timeout is '1.5'"),
        (TASK + "inputs: [a, b]\n", "inputs is"),
        (TASK + "inputs: {'n:int': x}\n", "input n is"),
        (TASK + "inputs: {'n:int': 99999999999999999999}\n", "input n is"),
        (TASK + "inputs: {'n:what': 1}\n", "unknown type"),
        (TASK + "inputs: {'': 1}\n", "has no name"),
        (TASK + "outputs: [a, b]\n", "outputs is"),
        (TASK + "outputs: {a: [int]}\n", "outputs is"),
        (TASK + "secrets: abc\n", "secrets is 'abc'"),
        (TASK + "secrets: [{a: b}]\n", "secrets is"),
        ("image: [a]\ncommand: [echo]\n", "image is"),
        ("image: a\ncommand: echo hi\n", "command is 'echo hi'"),
        (TASK + "imag: a\n", "cannot have imag"),
        ("- a\n", "is no task"),
        ("", "is no task"),
        ("just words", "is no task"),
        ("image: a\ncommand: [echo\nx: }", "is no YAML, line"),
        ("? [1]\n: 2\n", "is no YAML"),
        (b"\xff\xfe", "is no YAML"),
        ("image: a\0", "is no YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(BadFlag) as caught:
        read_task_file(task_file(tmp_path, text))
    assert said in caught.value.sentence()


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(LocalIOError, match="read"):
            read_task_file(path)
