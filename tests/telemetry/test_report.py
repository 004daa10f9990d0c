"""Reports to the control plane: sent beside the work, to a real server, and never in its way."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from copilot.core import idl
from copilot.telemetry.report import Reporter
from copilot.testing.recording import RecordingLog


class Listener(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, str]]] = []
        self.status = 204
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/copilot/v1/report"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Listener

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.heard.append((self.headers["Authorization"], body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,))
    thread.start()
    yield listener
    listener.shutdown()
    listener.server_close()
    thread.join()


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def timed(work: Callable[[], Any]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def test_steps_arrive_in_order_with_the_attempt_s_token(listener: Listener) -> None:
    reporter = Reporter(listener.url, "t0ken", log=RecordingLog())
    reporter.say("StagingInputs")
    reporter.say("InputsStaged", "3 objects")
    reporter.close(10)
    assert listener.heard == [
        ("Bearer t0ken", {"step": "StagingInputs", "message": ""}),
        ("Bearer t0ken", {"step": "InputsStaged", "message": "3 objects"}),
    ]


def test_secrets_are_masked_in_messages(listener: Listener) -> None:
    reporter = Reporter(listener.url, "t", log=RecordingLog(), mask=lambda text: text.replace("hunter2", "***"))
    reporter.say("OutputsNotPublished", "the value hunter2 is none")
    reporter.close(10)
    assert listener.heard[0][1]["message"] == "the value *** is none"


def test_a_refused_report_is_only_noted(listener: Listener) -> None:
    listener.status = 401
    log = RecordingLog()
    reporter = Reporter(listener.url, "old", log=log)
    reporter.say("InputsStaged")
    reporter.close(10)
    assert [each.fields["status"] for each in log.named("report.refused")] == [401]


def test_a_server_that_is_not_there_costs_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}/"
    log = RecordingLog()
    reporter = Reporter(url, "t", log=log)
    assert timed(lambda: reporter.say("InputsStaged")) < 0.5
    reporter.close(10)
    assert log.named("report.failed")


def test_a_server_that_never_answers_holds_up_neither_the_work_nor_its_end(silent: str) -> None:
    reporter = Reporter(silent, "t", log=RecordingLog(), send_s=30)

    def work() -> None:
        for _ in range(1000):
            reporter.say("InputsStaged")

    assert timed(work) < 0.5
    assert timed(lambda: reporter.close(0.2)) < 2


def init(home: Path, url: str, *, source: str = "inputs.pb") -> subprocess.CompletedProcess[str]:
    """``copilot init`` as a pod runs it, of one input."""
    literals = idl.LiteralMap()
    literals.literals["n"].scalar.primitive.integer = 41
    (home / "inputs.pb").write_bytes(literals.SerializeToString())
    flags = ["--from-remote", str(home / source), "--to-local-dir", str(home / "in"), "--to-output-prefix", str(home / "out")]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COPILOT_")}
    told = {"COPILOT_REPORT_URL": url, "COPILOT_REPORT_TOKEN": "t0ken", "COPILOT_TERMINATION_LOG": str(home / "told")}
    command = [str(Path(sys.executable).with_name("copilot")), "init", *flags]
    return subprocess.run(command, env={**environ, **told}, capture_output=True, text=True, timeout=60, check=False)


def test_init_tells_of_its_steps_and_never_of_its_token(listener: Listener, tmp_path: Path) -> None:
    ended = init(tmp_path, listener.url)
    assert ended.returncode == 0, ended.stderr
    assert [body["step"] for _, body in listener.heard] == ["StagingInputs", "InputsStaged"]
    assert "t0ken" not in ended.stderr + ended.stdout


def test_init_that_fails_tells_why_in_the_words_of_its_termination_message(listener: Listener, tmp_path: Path) -> None:
    ended = init(tmp_path, listener.url, source="nowhere.pb")
    assert ended.returncode == 11, ended.stderr
    _, body = listener.heard[-1]
    assert body == {"step": "InputsNotStaged", "message": (tmp_path / "told").read_text()}


def test_init_does_its_work_although_nobody_hears_of_it(silent: str, tmp_path: Path) -> None:
    assert init(tmp_path, silent).returncode == 0
    assert (tmp_path / "in" / "n").read_text() == "41"
