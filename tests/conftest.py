"""One real server of each kind a test session (a worker's, under xdist), started when first asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from copilot.testing.servers.s3 import S3Server, moto, seaweedfs


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
