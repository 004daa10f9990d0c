"""One real server of each kind a test session (a worker's, under xdist), started when first asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from copilot.testing.servers.azure import AzureServer, azurite
from copilot.testing.servers.gcs import GcsServer, fake_gcs
from copilot.testing.servers.redis import RedisServer
from copilot.testing.servers.redis import redis_server as running_redis
from copilot.testing.servers.s3 import S3Server, moto, seaweedfs
from copilot.testing.servers.web import WebServer, web_server

# A machine that is busy with other things makes no example wrong.
settings.register_profile("copilot", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("copilot")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    # The second identity is the one of the recordings: its secret has every character that is special somewhere.
    with seaweedfs({"oddkey": "s3cr/et+key=="}) as server:
        yield server


@pytest.fixture(scope="module")
def s3_bucket(s3_server: S3Server) -> str:
    return s3_server.new_bucket()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    with moto() as server:
        yield server


@pytest.fixture(scope="module")
def moto_bucket(moto_server: S3Server) -> str:
    return moto_server.new_bucket()


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[GcsServer]:
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"  # else gcsfs asks for bucket types by gRPC, which is not there
    with fake_gcs() as server:
        yield server


@pytest.fixture(scope="module")
def gcs_bucket(gcs_server: GcsServer) -> str:
    return gcs_server.new_bucket()


@pytest.fixture(scope="session")
def azure_server() -> Iterator[AzureServer]:
    with azurite() as server:
        yield server


@pytest.fixture(scope="module")
def azure_container(azure_server: AzureServer) -> str:
    return azure_server.new_container()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def http_server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server
