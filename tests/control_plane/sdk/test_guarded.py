"""The official SDK on a server that asks everybody for a token: from outside with one of its own, inside with its attempt's."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot.testing.secret_servers.certificates import Authority
from copilot.testing.server_process import ServerProcess

SCENARIOS = Path(__file__).parent / "scenarios"
FAN = 4


@contextlib.contextmanager
def behind_tls(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """A port that speaks TLS and hands on to ``port``, a request a connection: what stands before a server in earnest."""
    listening = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(client: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            context.wrap_socket(client, server_side=True) as outer,
            socket.create_connection(("127.0.0.1", port)) as inner,
        ):
            back = threading.Thread(target=pump, args=(inner, outer), daemon=True)
            back.start()
            inner.sendall(_head(outer))
            pump(outer, inner)
            back.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def _head(client: socket.socket) -> bytes:
    """The request as far as it has come, its headers at least, with what a proxy adds."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        if not more:
            return b""
        data += more
    line, _, rest = data.partition(b"\r\n")
    return line + b"\r\nx-forwarded-proto: https\r\nconnection: close\r\n" + rest


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("server"), "", flags=("--auth",))
    server.start()
    yield server
    server.stop()


def test_a_python_task_fans_out_with_its_attempts_own_token(
    server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert "bearer token" in server.copilot("runs").stderr
    authority = Authority(tmp_path_factory.mktemp("ca"))
    with behind_tls(server.port, authority.server_context()) as port:
        environ = {
            **os.environ,
            "DO_NOT_TRACK": "1",
            "COPILOT_TEST_ENDPOINT": f"dns:///localhost:{port}",
            "COPILOT_TEST_TOKEN_FILE": str(server.data / "admin.token"),
            "COPILOT_TEST_CA": str(authority.ca_file),
            "SSL_CERT_FILE": str(authority.ca_file),  # for uploads
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        }
        environ.pop("PYTHONWARNINGS", None)
        command = [sys.executable, str(SCENARIOS / "guarded.py"), str(FAN)]
        ended = subprocess.run(command, cwd=SCENARIOS, env=environ, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (row,) = (json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{"))
    assert (row["phase"], row["outputs"]) == ("SUCCEEDED", [str(sum(range(1, FAN + 1)))]), json.dumps(row)
