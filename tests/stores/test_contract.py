"""The contract, over every adapter and a real server each."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from copilot.stores.local import LocalStore
from copilot.stores.memory import MemoryStore
from copilot.stores.registry import open_stores
from copilot.stores.settings import RedisSettings, StoreSettings
from copilot.stores.sources import BytesSource
from copilot.testing.servers.raw import RawBucket
from copilot.testing.servers.web import Page, WebServer
from copilot.testing.store_contract import Raw, ReadContract, StoreContract, read

if TYPE_CHECKING:
    from pathlib import Path

    from copilot.core.ports import Store
    from copilot.testing.servers.azure import AzureServer
    from copilot.testing.servers.gcs import GcsServer
    from copilot.testing.servers.redis import RedisServer
    from copilot.testing.servers.s3 import S3Server


def opened(settings: StoreSettings, uri: str) -> Store:
    return open_stores(settings).locate(uri).store


class TestSeaweedFS(StoreContract):
    folds_double_slash = "SeaweedFS keeps objects in a file tree"

    @pytest.fixture
    def store(self, s3_server: S3Server, s3_bucket: str) -> Store:
        return opened(StoreSettings(s3=s3_server.settings), f"s3://{s3_bucket}/x")

    @pytest.fixture
    def raw(self, s3_server: S3Server, s3_bucket: str) -> Raw:
        return RawBucket(s3_server, s3_bucket)

    @pytest.fixture
    def nowhere(self, s3_server: S3Server) -> Store:
        return opened(StoreSettings(s3=s3_server.settings), "s3://no-such-bucket-here/x")

    def test_a_failed_big_upload_leaves_no_parts(self, store: Store, s3_server: S3Server, s3_bucket: str, place: str) -> None:
        self.test_a_source_that_fails_midway_leaves_nothing(store, RawBucket(s3_server, s3_bucket), place, 20 * 1024 * 1024)
        answer = s3_server.signer.request("GET", f"/{s3_bucket}", query={"uploads": ""})
        assert answer.status == 200
        assert b"<UploadId>" not in answer.body


class TestMoto(StoreContract):
    @pytest.fixture
    def store(self, moto_server: S3Server, moto_bucket: str) -> Store:
        return opened(StoreSettings(s3=moto_server.settings), f"s3://{moto_bucket}/x")

    @pytest.fixture
    def raw(self, moto_server: S3Server, moto_bucket: str) -> Raw:
        return RawBucket(moto_server, moto_bucket)

    @pytest.fixture
    def nowhere(self, moto_server: S3Server) -> Store:
        return opened(StoreSettings(s3=moto_server.settings), "s3://no-such-bucket-here/x")


class TestGcs(StoreContract):
    @pytest.fixture
    def store(self, gcs_server: GcsServer, gcs_bucket: str) -> Store:
        return opened(StoreSettings(gcs=gcs_server.settings), f"gs://{gcs_bucket}/x")

    @pytest.fixture
    def raw(self, gcs_server: GcsServer, gcs_bucket: str) -> Raw:
        return RawBucket(gcs_server, gcs_bucket)

    @pytest.fixture
    def nowhere(self, gcs_server: GcsServer) -> Store:
        return opened(StoreSettings(gcs=gcs_server.settings), "gs://no-such-bucket-here/x")


class TestAzure(StoreContract):
    never_ends_uploads = "Azure frees blocks that nobody commits after a week, and has no request for it"

    @pytest.fixture
    def store(self, azure_server: AzureServer, azure_container: str) -> Store:
        return opened(StoreSettings(azure=azure_server.settings), f"az://{azure_container}/x")

    @pytest.fixture
    def raw(self, azure_server: AzureServer, azure_container: str) -> Raw:
        return RawBucket(azure_server, azure_container)

    @pytest.fixture
    def nowhere(self, azure_server: AzureServer) -> Store:
        return opened(StoreSettings(azure=azure_server.settings), "az://no-such-container/x")


class TestMemory(StoreContract):
    has_buckets = False

    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore("b")

    @pytest.fixture
    def raw(self, store: MemoryStore) -> Raw:
        class Past:
            def poke(self, key: str, data: bytes) -> None:
                store.put(key, BytesSource(data))

            def peek(self, key: str) -> bytes | None:
                return read(store, key) if any(info.key == key for info in store.list("")) else None

            def remove(self, key: str) -> None:
                store.remove(key)

        return Past()


class TestLocal(StoreContract):
    has_buckets = False
    folds_double_slash = "a file system knows no empty name"

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return LocalStore(str(tmp_path))

    @pytest.fixture
    def raw(self, tmp_path: Path) -> Raw:
        class Past:
            def poke(self, key: str, data: bytes) -> None:
                path = tmp_path / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

            def peek(self, key: str) -> bytes | None:
                path = tmp_path / key
                return path.read_bytes() if path.exists() else None

            def remove(self, key: str) -> None:
                (tmp_path / key).unlink()

        return Past()


class TestRedis(StoreContract):
    has_buckets = False

    @pytest.fixture
    def store(self, redis_server: RedisServer) -> Store:
        return opened(StoreSettings(redis=redis_server.settings), f"redis://{redis_server.addr}/x")

    @pytest.fixture
    def raw(self, redis_server: RedisServer) -> Raw:
        return redis_server

    def test_the_key_is_the_path_of_the_uri(self, redis_server: RedisServer) -> None:
        settings = RedisSettings(password=redis_server.password)
        location = open_stores(StoreSettings(redis=settings)).locate(f"redis://{redis_server.addr}/a/b%20c")
        location.store.put(location.key, BytesSource(b"x"))
        assert redis_server.peek("a/b%20c") == b"x"


class TestHttp(ReadContract):
    @pytest.fixture
    def store(self, http_server: WebServer) -> Store:
        return opened(StoreSettings(), f"{http_server.url}/x")

    @pytest.fixture
    def raw(self, http_server: WebServer) -> Raw:
        class Past:
            def poke(self, key: str, data: bytes) -> None:
                etag = f'"{secrets.token_hex(8)}"'
                http_server.pages[f"/{_on_the_wire(key)}"] = Page(data, etag=etag)

            def peek(self, key: str) -> bytes | None:
                raise NotImplementedError

            def remove(self, key: str) -> None:
                del http_server.pages[f"/{_on_the_wire(key)}"]

        return Past()


def _on_the_wire(key: str) -> str:
    """A URL's characters as every client sends them: what is no URL is encoded, escapes stay, in capitals."""
    text = quote(key, safe="/?%!$&'()*+,;=:@-._~")
    return re.sub(r"%(?![0-9A-Fa-f]{2})|%[0-9A-Fa-f]{2}", lambda m: m[0].upper() if len(m[0]) > 1 else "%25", text)
