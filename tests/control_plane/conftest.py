from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from copilot.control_plane.db.database import Database
from copilot.control_plane.hub import Hub
from copilot.testing.servers.postgresql import PostgresServer, postgres_server

T = TypeVar("T")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'copilot.db'}"
    server: PostgresServer = request.getfixturevalue("postgresql")
    return server.create_database()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Hub())
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, T]], T]:
    def run(work: Coroutine[Any, Any, T]) -> T:
        async def limited() -> T:
            async with asyncio.timeout(60):
                return await work

        return asyncio.run(limited())

    return run
