"""A server's secrets from the command line: set, listed without their values, given to a task, deleted."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot.testing.server_process import PROGRAMS, ServerProcess, until

VALUE = "correct-horse-battery"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("server")
    server = ServerProcess(data, f"sqlite:///{data / 'copilot.db'}")
    server.start()
    yield server
    server.stop()


def put(server: ServerProcess, name: str, value: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAMS / "copilot"), "secrets", "set", name, *arguments]
    env = {**os.environ, "COPILOT_SERVER": server.url}
    return subprocess.run(command, env=env, input=value, capture_output=True, text=True, timeout=60, check=False)


def names(server: ServerProcess) -> list[str]:
    listed = server.copilot("secrets", "list")
    assert listed.returncode == 0, listed.stderr
    assert VALUE not in listed.stdout
    return [json.loads(line)["name"] for line in listed.stdout.splitlines()]


def test_a_task_gets_a_secret_as_a_file_and_as_a_variable(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "value").write_text(VALUE)
    assert put(server, "from_file", "", "--file", str(tmp_path / "value")).returncode == 0
    assert put(server, "from_input", "an older value").returncode == 0
    assert put(server, "from_input", VALUE).returncode == 0
    assert sorted(names(server)) == ["from_file", "from_input"]
    task = f'test "$(cat /etc/flyte/secrets/from_file)" = {VALUE} && test "$KEY" = {VALUE}'
    arguments = ["--image", "none", "--secret", "from_file", "--secret", "KEY=from_input", "--wait", "--", "sh", "-c", task]
    ended = server.copilot("submit", *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_secret_reaches_its_task_where_there_is_no_bubblewrap(tmp_path: Path) -> None:
    broken = tmp_path / "bin" / "bwrap"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    path = f"{broken.parent}:{os.environ['PATH']}"
    server = ServerProcess(tmp_path, f"sqlite:///{tmp_path / 'copilot.db'}", environ={"PATH": path})
    server.start()
    try:
        assert put(server, "a_file", VALUE).returncode == 0
        task = ["sh", "-c", f'test "$(cat /etc/flyte/secrets/a_file)" = {VALUE}']
        ended = server.copilot("submit", "--image", "none", "--secret", "a_file", "--wait", "--", *task)
        assert "mode plain" in ended.stdout
        assert ended.returncode == 0, ended.stdout
    finally:
        server.stop()


def test_a_task_file_asks_for_secrets_too(server: ServerProcess, tmp_path: Path) -> None:
    assert put(server, "in_yaml", VALUE).returncode == 0
    task = tmp_path / "task.yaml"
    task.write_text(f"image: none\ncommand: [sh, -c, 'test \"$KEY\" = {VALUE}']\nsecrets: [KEY=in_yaml]\n")
    ended = server.copilot("submit", str(task), "--wait")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_secret_that_was_deleted_is_missed_by_name(server: ServerProcess) -> None:
    assert put(server, "short_lived", VALUE).returncode == 0
    assert server.copilot("secrets", "delete", "short_lived").returncode == 0
    assert "short_lived" not in names(server)
    assert server.copilot("secrets", "delete", "short_lived").returncode == 30
    ended = server.copilot("submit", "--image", "none", "--secret", "short_lived", "--wait", "--", "true")
    assert ended.returncode == 23
    assert "there is no secret called short_lived" in ended.stdout


def test_what_a_task_says_shows_no_secret_neither_live_nor_afterwards(server: ServerProcess, tmp_path: Path) -> None:
    assert put(server, "told", VALUE).returncode == 0
    go = tmp_path / "go"
    task = f'echo "the key is $KEY"; while ! test -e {go}; do sleep 0.05; done; printf "again $KEY"'
    command = ["submit", "--image", "none", "--secret", "KEY=told", "--run-name", "careless", "--", "sh", "-c", task]
    assert server.copilot(*command).returncode == 0
    env = {**os.environ, "COPILOT_SERVER": server.url, "PYTHONUNBUFFERED": "1"}
    follow = [str(PROGRAMS / "copilot"), "logs", "-f", "careless"]
    with subprocess.Popen(follow, env=env, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        live = following.stdout.readline()
        go.touch()
        live += following.stdout.read()
    assert live == "the key is ***\nagain ***\n"
    logs = server.data / "store" / "logs" / "flytesnacks" / "development" / "careless"
    until(lambda: any(logs.rglob("*.log")), "the log is in the store")
    assert server.copilot("logs", "careless").stdout == live
    assert not any(VALUE.encode() in file.read_bytes() for file in (server.data / "store").rglob("*") if file.is_file())


@pytest.mark.parametrize("given", ["", "=name", "1x=name", "NAME="])
def test_a_secret_that_names_none_is_refused(server: ServerProcess, given: str) -> None:
    refused = server.copilot("submit", "--image", "none", "--secret", given, "--", "true")
    assert refused.returncode == 2
    assert "names no secret" in refused.stderr


def test_an_empty_value_is_refused(server: ServerProcess) -> None:
    refused = put(server, "empty", "")
    assert refused.returncode == 2
    assert "the secret's value is empty" in refused.stderr


def test_the_command_lines_client_loads_no_database() -> None:
    program = "import sys, copilot.control_plane.client; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([str(PROGRAMS / "python"), "-c", program], check=False).returncode == 0
