"""Reports to the control plane: sent beside the work, to a real server, and never in its way."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

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


def test_without_an_address_nothing_is_started() -> None:
    before = threading.active_count()
    reporter = Reporter("", "", log=RecordingLog())
    reporter.say("InputsStaged")
    assert threading.active_count() == before
    reporter.close()


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
