"""What the official SDK 2.12.1 does with this server: every row of the contract's table that it calls, on both databases."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from copilot.testing.server_process import until

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


@pytest.fixture(scope="module")
def rows(server: ServerProcess) -> dict[str, dict[str, object]]:
    return {row["case"]: row for row in server.flyte(SCENARIOS / "rows.py")}


def test_projects_are_made_read_changed_and_listed(rows: dict[str, dict[str, object]]) -> None:
    assert rows["projects"]["names"] == ["Made by the SDK", "Changed"]
    assert {"flytesnacks", "sdk-project"} <= set(cast("list[str]", rows["projects"]["listed"]))


def test_a_secret_is_made_looked_up_and_deleted_and_never_shown(rows: dict[str, dict[str, object]]) -> None:
    assert (rows["secrets"]["name"], rows["secrets"]["shown"]) == ("GOT", False)
    assert "GOT" not in cast("list[str]", rows["secrets"]["left"])


def test_a_directory_is_uploaded_and_reaches_its_task(rows: dict[str, dict[str, object]]) -> None:
    assert rows["directories"]["outputs"] == ["3"]


def test_an_action_is_aborted_and_listed_as_that(rows: dict[str, dict[str, object]]) -> None:
    assert rows["aborts"] == {"case": "aborts", "reason": "this action", "actions": ["a0"], "aborted": True}


def test_a_deployed_task_is_run_and_run_again_with_the_same_inputs_and_with_others(rows: dict[str, dict[str, object]]) -> None:
    deployed = rows["deployed"]
    assert (deployed["version"], deployed["inputs"], deployed["outputs"]) == ("v1", {"n": 1}, ["2"])
    assert (deployed["again"], deployed["other"]) == (["2"], ["6"])


def test_a_report_and_a_code_bundle_are_downloaded(rows: dict[str, dict[str, object]]) -> None:
    assert "<p>x is 4</p>" in str(rows["reports"]["report"])
    assert rows["reports"]["files"] == ["here.py", "rows.py"]


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


# The SDK gives a log up that says nothing for 30 s: ours says that it goes on.
@pytest.mark.parametrize("silent_s", [0, pytest.param(35, marks=pytest.mark.slow)])
def test_the_flyte_command_line_runs_with_files_of_its_own_and_follows_the_log(
    server: ServerProcess, tmp_path: Path, silent_s: float
) -> None:
    (tmp_path / "f").write_text("1\n2\n")
    (tmp_path / "d").mkdir()
    for name in ("a", "b"):
        (tmp_path / "d" / name).write_text(f"{name}\n")
    place = ["--project", "flytesnacks", "--domain", "development"]
    inputs = ["--f", str(tmp_path / "f"), "--d", str(tmp_path / "d"), "--go", str(tmp_path / "go")]
    command = ["run", *place, "--follow", "from_the_command_line.py", "counted", *inputs]
    with server.cli_popen(*command, cwd=SCENARIOS) as following:
        try:
            assert following.stdout is not None
            created = next(line for line in following.stdout if "Created Run" in line)
            (run,) = re.findall(r"Created Run: (\w+)", created)
            until(lambda: '"phase": "RUNNING"' in server.copilot("describe", run).stdout, "the task runs")
            time.sleep(silent_s)
            (tmp_path / "go").touch()
            said, errors = following.communicate(timeout=60)
        finally:
            following.kill()
            (tmp_path / "go").touch()
    assert following.returncode == 0, said + errors
    assert server.copilot("wait", run).returncode == 0
    assert json.loads(server.copilot("outputs", run).stdout) == {"m": 4}
    if silent_s:
        assert " counted" in said


def test_the_flyte_command_line_deploys(server: ServerProcess) -> None:
    place = ["--project", "flytesnacks", "--domain", "development"]
    deployed = server.cli("deploy", *place, "--version", "v7", "from_the_command_line.py", "env", cwd=SCENARIOS)
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    listed = server.cli("get", "task", *place, "counted")
    assert (listed.returncode, "v7" in listed.stdout) == (0, True), listed.stdout


def test_our_command_line_submits_waits_and_prints(server: ServerProcess) -> None:
    submitted = server.copilot(
        "submit", "--image", "none", "--input", "n:int=4", "--output", "m:int", "--wait", "--json", "--",
        "sh", "-c", "echo $(({{.inputs.n}} + 1)) > /var/outputs/m",
    )  # fmt: skip
    assert submitted.returncode == 0, submitted.stderr
    run = json.loads(submitted.stdout)["run"]
    assert json.loads(server.copilot("outputs", run).stdout) == {"m": 5}
    assert server.copilot("wait", run).returncode == 0
    asked = ["--env", "LEVEL=low", "--env", "LEVEL=a b", "--resource", "memory=64Mi", "--resource", "cpu=250m"]
    told = server.copilot("submit", "--image", "none", *asked, "--wait", "--follow", "--", "sh", "-c", "echo level=$LEVEL")
    assert "level=a b\n" in told.stdout, told.stderr
    failing = server.copilot("submit", "--image", "none", "--wait", "--", "sh", "-c", "exit 3")
    assert failing.returncode == 23
    assert "exit code 3" in failing.stdout
    assert server.copilot("describe", "nosuch").returncode == 30
    assert server.copilot("doctor").returncode == 0
