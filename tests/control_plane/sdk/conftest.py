"""The official SDK and command line, unmodified, each in a process of its own, against a server in another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from copilot.testing.server_process import ServerProcess

if TYPE_CHECKING:
    from copilot.testing.servers.postgresql import PostgresServer


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("server")
    database = f"sqlite:///{data / 'copilot.db'}"
    if request.param == "postgresql":
        postgresql: PostgresServer = request.getfixturevalue("postgresql")
        database = postgresql.create_database()
    server = ServerProcess(data, database)
    server.start()
    yield server
    server.stop()
