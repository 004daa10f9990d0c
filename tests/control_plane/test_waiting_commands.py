"""``copilot wait`` and ``copilot logs -f`` as processes: Ctrl-C ends them at once, a server that comes back does not."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot.testing.server_process import ServerProcess, until

LINES = 12


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path, f"sqlite:///{tmp_path / 'copilot.db'}")
    server.start()
    yield server
    if not server.process_ended():
        server.stop()


def submitted(server: ServerProcess, until_there: Path) -> str:
    """A run that prints half its lines, waits for a file, and prints the other half."""
    half = LINES // 2
    text = f"seq 1 {half}; while ! [ -e {until_there} ]; do sleep 0.1; done; seq {half + 1} {LINES}"
    answer = server.copilot("submit", "--image", "none", "--run-name", "counts", "--", "sh", "-c", text)
    assert answer.returncode == 0, answer.stderr
    return "counts"


def test_ctrl_c_ends_a_command_that_waits_and_leaves_the_run_alone(server: ServerProcess, tmp_path: Path) -> None:
    go = tmp_path / "go"
    run = submitted(server, go)
    for command in ("wait", "logs"):
        with server.popen(command, run) as waiting:
            if command == "logs":
                assert waiting.stdout is not None
                assert waiting.stdout.readline() == "1\n"
            else:
                assert first_line(waiting).startswith("counts: ")
                with pytest.raises(subprocess.TimeoutExpired):
                    waiting.wait(1)
            waiting.send_signal(signal.SIGINT)
            _out, told = waiting.communicate(timeout=10)
            assert waiting.returncode == 130, told
            assert "the run goes on" in told
    go.touch()
    ended = server.copilot("wait", run)
    assert (ended.returncode, '"SUCCEEDED"' in ended.stdout) == (0, True), ended


def test_a_log_goes_on_where_it_was_when_the_server_was_killed_and_came_back(server: ServerProcess, tmp_path: Path) -> None:
    go = tmp_path / "go"
    run = submitted(server, go)
    with server.popen("logs", "-f", run) as following, server.popen("wait", run) as waiting:
        assert following.stdout is not None
        half = [following.stdout.readline() for _ in range(LINES // 2)]
        assert first_line(waiting).startswith("counts: ")  # a server that has not answered yet is not waited for
        server.kill()
        until(lambda: "asking again" in first_line(following), "it is said that the server is away")
        server.start()
        go.touch()
        rest, told = following.communicate(timeout=60)
        waited, _told = waiting.communicate(timeout=60)
    assert [*half, *rest.splitlines(keepends=True)] == [f"{number}\n" for number in range(1, LINES + 1)], told
    assert (following.returncode, waiting.returncode) == (0, 0)
    assert '"SUCCEEDED"' in waited


def test_a_server_that_never_answered_is_not_waited_for(server: ServerProcess) -> None:
    server.kill()
    answer = server.copilot("wait", "anything", timeout_s=30)
    assert "does not answer" in answer.stderr
    assert answer.returncode != 0


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()
