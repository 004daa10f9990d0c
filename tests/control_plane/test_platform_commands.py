"""The commands of who runs a server, as processes: where the database is said, and what everybody can read of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from copilot.cli.platform.database_url import database_url
from copilot.control_plane.db.database import Database
from copilot.control_plane.hub import Hub
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
            assert data.stat().st_mode & 0o077 == 0, "what tasks are given is nobody else's"
            server.terminate()
            assert server.wait(60) == 0
        finally:
            server.kill()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--port", "99999"), "--port"),
        (("--metrics-port", "-1"), "--metrics-port"),
        (("--max-pods", "0"), "--max-pods"),
        (("--public-url", "copilot.example.com"), "--public-url 'copilot.example.com' is no URL"),
        (("--namespace", "Bad/NS"), "--namespace 'Bad/NS'"),
        (("--store", "s3://"), "names no bucket"),
        (("--store", "http://127.0.0.1:1/x"), "nothing can be written"),
    ],
)
def test_a_flag_that_could_not_work_is_refused_at_the_start_and_leaves_nothing(
    tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    data = tmp_path / "data"
    command = [
        str(PROGRAMS / "copilot"),
        "server",
        "--data",
        str(data),
        *(() if "--port" in flags else ("--port", "0")),
        *flags,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr
    assert not data.exists()


def test_a_host_that_is_none_of_this_machine_says_so(tmp_path: Path) -> None:
    for host in ("nosuch.invalid", "203.0.113.7"):
        command = [str(PROGRAMS / "copilot"), "server", "--data", str(tmp_path), "--auth", "--host", host, "--port", "0"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode, "Unknown error" in ended.stderr) == (22, False), ended.stderr
        assert f"cannot listen on {host}" in ended.stderr


def tokens(database: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAMS / "copilot"), "tokens", "--database", f"sqlite:///{database}", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_tokens_are_made_listed_and_revoked_and_nothing_is_half_done(tmp_path: Path) -> None:
    path = tmp_path / "copilot.db"
    database = Database(f"sqlite:///{path}", Hub())
    database.migrate()
    database.close()
    assert tokens(path, "--create", "bob").stdout.startswith("cop_")
    (row,) = [json.loads(line) for line in tokens(path).stdout.splitlines()]
    assert (row["name"], row["project"], row["state"]) == ("bob", "(all)", "good")
    for flags in (
        ("--create", "eve", "--revoke", row["id"]),
        ("--create", ""),
        ("--revoke", " "),
        ("--project", "flytesnacks"),
    ):
        assert tokens(path, *flags).returncode == 2, flags
    assert '"state": "revoked"' in tokens(path, "--revoke", row["id"]).stdout
    assert len(tokens(path).stdout.splitlines()) == 1


def test_a_database_that_cannot_be_used_is_said_by_the_commands_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "copilot.db"
    path.write_text("no database at all, by any means\n" * 100)
    ended = tokens(path)
    assert (ended.returncode, "file is not a database" in ended.stderr) == (2, True), ended.stderr
