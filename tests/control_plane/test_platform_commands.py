"""The commands of who runs a server, as processes: where the database is said, and what everybody can read of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from copilot.cli.platform.database_url import database_url
from copilot.core.errors import BadConfig, LocalIOError
from copilot.testing.server_process import PROGRAMS, ServerProcess, until


def test_a_flag_goes_before_a_variable_and_a_variable_before_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://in-a-file\n")
    environ = {"COPILOT_DATABASE_FILE": str(file)}
    assert database_url(None, {}) == ""
    assert database_url(None, environ) == "postgresql://in-a-file"
    assert database_url(None, {**environ, "COPILOT_DATABASE": "postgresql://in-a-variable"}) == "postgresql://in-a-variable"
    assert database_url("sqlite:////x", {**environ, "COPILOT_DATABASE": "postgresql://y"}) == "sqlite:////x"


def test_a_file_that_is_not_there_or_empty_is_said(tmp_path: Path) -> None:
    with pytest.raises(LocalIOError):
        database_url(None, {"COPILOT_DATABASE_FILE": str(tmp_path / "missing")})
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(BadConfig, match="empty"):
        database_url(None, {"COPILOT_DATABASE_FILE": str(tmp_path / "empty")})


def test_a_database_of_the_environment_is_on_no_command_line(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'elsewhere-s3cr3t.db'}"
    server = ServerProcess(tmp_path, "", environ={"COPILOT_DATABASE": url})
    server.start()
    try:
        assert server.process is not None
        command = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        assert (b"server" in command, b"s3cr3t" in command) == (True, False)
        assert (tmp_path / "elsewhere-s3cr3t.db").exists()
    finally:
        server.stop()


def test_a_server_that_is_asked_to_stop_while_it_starts_stops(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = [str(PROGRAMS / "copilot"), "server", "--data", str(data), "--port", "0"]
    with subprocess.Popen(command) as server:
        try:
            until(lambda: (data / "pods").exists() or server.poll() is not None, "the server is put together")
            server.terminate()
            assert server.wait(60) == 0
        finally:
            server.kill()
