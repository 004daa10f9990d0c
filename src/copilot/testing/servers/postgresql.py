"""PostgreSQL from Debian, started for one test session and thrown away after it.

The server refuses to run as root, so as root it runs under the account ``postgres``. It listens on a Unix socket and on a free
loopback port, without fsync: its data is never meant to outlive it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

_STARTUP_S = 30.0
_ACCOUNT = "postgres"


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server.

    Attributes:
        host: always loopback.
        port: free when the server started.
        user: a superuser.
        password: of that superuser.
        directory: its data and log, gone when the server stops.
    """

    host: str
    port: int
    user: str
    password: str
    directory: Path

    def url(self, database: str = "postgres") -> str:
        """``postgresql://user:password@host:port/database``."""
        return f"postgresql://{self.user}:{quote(self.password)}@{self.host}:{self.port}/{database}"

    def create_database(self) -> str:
        """Makes an empty database with a fresh name and returns its URL."""
        import psycopg  # noqa: PLC0415 - only who starts a server needs the driver
        from psycopg import sql  # noqa: PLC0415 - as above

        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def end_connections(self, database_url: str) -> None:
        """Cuts every connection to one database, as a restart of the server would."""
        import psycopg  # noqa: PLC0415 - only who starts a server needs the driver

        name = database_url.rsplit("/", 1)[1]
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

    def cut_off(self, database_url: str) -> None:
        """Lets nobody into one database any more, and throws out who is there."""
        self._allow(database_url, allowed=False)
        self.end_connections(database_url)

    def let_in(self, database_url: str) -> None:
        """Lets everybody in again."""
        self._allow(database_url, allowed=True)

    def _allow(self, database_url: str, *, allowed: bool) -> None:
        import psycopg  # noqa: PLC0415 - only who starts a server needs the driver
        from psycopg import sql  # noqa: PLC0415 - as above

        name = sql.Identifier(database_url.rsplit("/", 1)[1])
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(name, sql.SQL(str(allowed).lower())))

    def log(self) -> str:
        """What the server printed."""
        return (self.directory / "log").read_text(errors="replace")


def binaries() -> Path:
    """Where Debian keeps the newest server's programs, or where ``PATH`` has them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    program = shutil.which("initdb")
    if program is None:
        raise FileNotFoundError("PostgreSQL is not installed: apt-get install postgresql")
    return Path(program).resolve().parent


@contextlib.contextmanager
def postgres_server(*, settings: dict[str, str] | None = None) -> Iterator[PostgresServer]:
    """Starts a server of its own and stops it at the end; dies with this process.

    Args:
        settings: further server settings, as in ``postgresql.conf``.
    """
    programs = binaries()
    directory = Path(tempfile.mkdtemp(prefix="copilot-postgres-"))
    password = secrets.token_hex(8)
    account = _drop_to()
    try:
        (directory / "password").write_text(password)
        if account is not None:
            for path in (directory, directory / "password"):
                os.chown(path, account.pw_uid, account.pw_gid)
        init = [
            str(programs / "initdb"),
            "-D",
            str(directory / "data"),
            "-U",
            "copilot",
            "--pwfile",
            str(directory / "password"),
        ]
        made = subprocess.run(
            [*_as(account), *init, "-A", "scram-sha-256", "-E", "UTF8", "--locale", "C", "-N"],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr}")
        port = _free_port()
        options = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"} | (
            settings or {}
        )
        command = [str(programs / "postgres"), "-D", str(directory / "data"), "-h", "127.0.0.1", "-p", str(port)]
        command += ["-k", str(directory), *(part for key, value in options.items() for part in ("-c", f"{key}={value}"))]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [*_as(account), *command],
                stdout=log,
                stderr=log,
                cwd=directory,
                start_new_session=True,
            )
        server = PostgresServer(host="127.0.0.1", port=port, user="copilot", password=password, directory=directory)
        try:
            _wait_ready(server, process)
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _wait_ready(server: PostgresServer, process: subprocess.Popen[bytes]) -> None:
    import psycopg  # noqa: PLC0415 - only who starts a server needs the driver

    deadline = time.monotonic() + _STARTUP_S
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended at once: {server.log()}")
        try:
            psycopg.connect(server.url(), connect_timeout=2).close()
        except psycopg.OperationalError as cause:
            if time.monotonic() > deadline:
                raise TimeoutError(f"PostgreSQL did not start: {server.log()}") from cause
            time.sleep(0.05)
        else:
            return


def _drop_to() -> pwd.struct_passwd | None:
    return pwd.getpwnam(_ACCOUNT) if os.geteuid() == 0 else None


def _as(account: pwd.struct_passwd | None) -> list[str]:
    # The parent-death signal is cleared when credentials change, so it is setpriv that arms it.
    identity = [] if account is None else [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    return ["setpriv", *identity, "--pdeathsig", "SIGQUIT", "--"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
