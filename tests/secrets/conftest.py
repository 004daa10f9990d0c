"""The secret managers of the tests, each started when first asked for."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.testing.recording import RecordingLog
from copilot.testing.secret_servers.azure import AzureKeyVault, azure_key_vault
from copilot.testing.secret_servers.certificates import Authority
from copilot.testing.secret_servers.google import GoogleSecretManager, google_secret_manager
from copilot.testing.secret_servers.openbao import OpenBao, openbao
from copilot.testing.servers.postgresql import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def bao() -> Iterator[OpenBao]:
    with openbao() as server:
        yield server


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def key_vault(authority: Authority) -> Iterator[AzureKeyVault]:
    with azure_key_vault(authority) as vault:
        yield vault


@pytest.fixture
def google() -> Iterator[GoogleSecretManager]:
    with google_secret_manager() as manager:
        yield manager


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def cancel() -> Token:
    return Token(SystemClock(), timeout_s=60)


@pytest.fixture
def log() -> RecordingLog:
    return RecordingLog()


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory on a memory volume."""
    path = Path(tempfile.mkdtemp(prefix="copilot-secrets-", dir="/dev/shm"))  # every Linux has tmpfs there
    yield path
    shutil.rmtree(path)
