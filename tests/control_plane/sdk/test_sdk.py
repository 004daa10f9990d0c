"""What the official SDK 2.12.1 does with this server: every row of the contract's table that it calls, on both databases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from copilot.testing.server_process import ServerProcess

SCENARIOS = Path(__file__).parent / "scenarios"
FAN = 8


@pytest.fixture(scope="module")
def containers(server: ServerProcess) -> dict[str, dict[str, object]]:
    return {row["case"]: row for row in server.flyte(SCENARIOS / "containers.py")}


@pytest.fixture(scope="module")
def python_tasks(server: ServerProcess) -> dict[str, dict[str, object]]:
    return {row["case"]: row for row in server.flyte(SCENARIOS / "python_tasks.py", str(FAN))}


def test_a_container_task_runs_and_its_outputs_come_back(containers: dict[str, dict[str, object]]) -> None:
    assert containers["add"]["phase"] == "SUCCEEDED"
    assert containers["add"]["outputs"] == ["42"]
    assert containers["lists"]["outputs"] == ["6"]


def test_the_same_named_run_is_submitted_once(containers: dict[str, dict[str, object]]) -> None:
    assert containers["named"]["names"] == ["named-once", "named-once"]


def test_files_and_directories_go_in_and_come_out(containers: dict[str, dict[str, object]]) -> None:
    assert containers["files"]["phase"] == "SUCCEEDED"
    outputs = containers["files"]["outputs"]
    assert isinstance(outputs, list)
    assert {uri.rpartition("/")[2] for uri in outputs} == {"g", "d"}


def test_a_task_without_outputs_succeeds(containers: dict[str, dict[str, object]]) -> None:
    assert containers["no outputs"]["phase"] == "SUCCEEDED"


def test_a_failing_container_fails_the_run_after_its_retries(containers: dict[str, dict[str, object]]) -> None:
    assert containers["exit 3"]["phase"] == "FAILED"
    assert containers["exit 3"]["attempts"] == [6, 6]
    assert "exit code 3" in str(containers["exit 3"]["error"])


def test_the_tasks_own_words_are_what_the_user_reads(containers: dict[str, dict[str, object]]) -> None:
    assert "no luck today" in str(containers["_ERROR"]["error"])
    assert "'m'" in str(containers["missing"]["error"])


def test_a_timeout_ends_the_task(containers: dict[str, dict[str, object]]) -> None:
    assert containers["timeout"]["phase"] == "TIMED_OUT"


def test_an_abort_ends_a_task_that_does_not_want_to_end(containers: dict[str, dict[str, object]]) -> None:
    assert containers["abort"]["phase"] == 7
    assert containers["abort"]["reason"] == "because I said so"
    assert float(str(containers["abort"]["seconds"])) < 10


def test_a_secret_reaches_its_task_and_one_that_is_gone_fails_it(containers: dict[str, dict[str, object]]) -> None:
    assert containers["secret"]["outputs"] == ["7"]
    assert containers["secret"]["names"] == ["MY_SECRET"]
    assert "MY_SECRET" in str(containers["secret gone"]["error"])


def test_a_log_of_a_thousand_lines_comes_whole(containers: dict[str, dict[str, object]]) -> None:
    logs = containers["logs"]
    assert (logs["count"], logs["first"], logs["last"]) == (1000, "line 0", "line 999")


def test_python_tasks_run_fail_fan_out_and_call_containers(python_tasks: dict[str, dict[str, object]]) -> None:
    assert python_tasks["leaf"]["outputs"] == ["2"]
    assert (python_tasks["boom"]["phase"], python_tasks["boom"]["code"]) == ("FAILED", "ValueError")
    assert python_tasks["call"]["outputs"] == ["40"]
    assert python_tasks["fan"]["outputs"] == [str(sum(range(1, FAN + 1)))]


@pytest.mark.slow
def test_a_python_task_fans_out_to_fifty(server: ServerProcess) -> None:
    rows = {row["case"]: row for row in server.flyte(SCENARIOS / "python_tasks.py", "50", timeout_s=400)}
    assert rows["fan"]["outputs"] == [str(sum(range(1, 51)))]


def test_the_flyte_command_line_lists_what_there_is(server: ServerProcess, containers: dict[str, dict[str, object]]) -> None:
    assert containers
    project = ["--project", "flytesnacks", "--domain", "development"]
    made = server.cli("create", "project", "--id", "my-project", "--name", "Mine")
    assert made.returncode == 0, made.stderr
    for command in (["get", "project"], ["get", "run", *project], ["get", "secret", *project]):
        ended = server.cli(*command)
        assert ended.returncode == 0, (command, ended.stdout, ended.stderr)


def test_our_command_line_submits_waits_and_prints(server: ServerProcess) -> None:
    submitted = server.copilot(
        "submit", "--image", "none", "--input", "n:int=4", "--output", "m:int", "--wait", "--json", "--",
        "sh", "-c", "echo $(({{.inputs.n}} + 1)) > /var/outputs/m",
    )  # fmt: skip
    assert submitted.returncode == 0, submitted.stderr
    run = json.loads(submitted.stdout)["run"]
    assert json.loads(server.copilot("outputs", run).stdout) == {"m": 5}
    assert server.copilot("wait", run).returncode == 0
    failing = server.copilot("submit", "--image", "none", "--wait", "--", "sh", "-c", "exit 3")
    assert failing.returncode == 23
    assert "exit code 3" in failing.stdout
    assert server.copilot("describe", "nosuch").returncode == 30
    assert server.copilot("doctor").returncode == 0
