"""Pods whose reports reach nobody: a report is a hint, and the pod and the store say the same without it."""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from copilot.control_plane.client import ControlPlaneClient, container_task
from copilot.core.idl import LiteralMap, LiteralType, SimpleType
from copilot.testing.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NUMBER = {"m": LiteralType(simple=SimpleType.INTEGER)}


@contextlib.contextmanager
def refused() -> Iterator[tuple[str, list[str]]]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    yield f"http://127.0.0.1:{port}", ["nobody can hear a refused connection"]


@contextlib.contextmanager
def broken() -> Iterator[tuple[str, list[str]]]:
    heard: list[str] = []

    class Broken(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.path)
            self.send_error(500)

        def log_message(self, *_: object) -> None:
            """Not on the tests' output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", heard
        server.shutdown()


@contextlib.contextmanager
def hanging() -> Iterator[tuple[str, list[str]]]:
    heard: list[str] = []
    held: list[socket.socket] = []

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                held.append(server.accept()[0])
                heard.append("a connection")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=listen)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", heard
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for each in held:
        each.close()


@pytest.mark.parametrize(
    "reports", [hanging, pytest.param(refused, marks=pytest.mark.slow), pytest.param(broken, marks=pytest.mark.slow)]
)
def test_runs_end_right_though_no_report_arrives(reports: object, tmp_path: Path) -> None:
    assert callable(reports)
    with reports() as (url, heard):
        server = ServerProcess(tmp_path, f"sqlite:///{tmp_path / 'copilot.db'}", flags=("--public-url", url))
        server.start()
        try:
            client = ControlPlaneClient(server.url, project="flytesnacks", domain="development")
            scripts = {
                "SUCCEEDED": "echo 42 >/var/outputs/m",
                "FAILED": "exit 3",
            }
            for phase, script in scripts.items():
                command = ["/bin/sh", "-c", script]
                name = client.submit(container_task("t", "none", command, inputs={}, outputs=NUMBER), LiteralMap())
                ended = client.wait(name)
                assert ended["phase"] == phase, ended
                assert ended["attempts"] == 1
                if phase == "SUCCEEDED":
                    assert client.outputs(name).literals["m"].scalar.primitive.integer == 42
            assert heard
        finally:
            server.stop()
