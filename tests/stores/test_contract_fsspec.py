"""The contract over the second engine: s3fs, gcsfs and adlfs through fsspec, on the same servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from copilot.stores.registry import open_stores
from copilot.stores.settings import StoreSettings
from copilot.testing.servers.raw import RawBucket
from copilot.testing.store_contract import Raw, StoreContract

if TYPE_CHECKING:
    from copilot.core.ports import Store
    from copilot.testing.servers.azure import AzureServer
    from copilot.testing.servers.gcs import GcsServer
    from copilot.testing.servers.s3 import S3Server


# adlfs gives aiohttp its blocks as bytes; aiohttp would rather have a file. It is a matter between the two of them.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly with raw bytes:ResourceWarning")


def opened(settings: StoreSettings, uri: str) -> Store:
    return open_stores(settings).locate(uri).store


# One file system a module: each starts threads and connections of its own.
@pytest.fixture(scope="module")
def s3fs_store(s3_server: S3Server, s3_bucket: str) -> Store:
    return opened(StoreSettings(s3=s3_server.settings, engine="fsspec"), f"s3://{s3_bucket}/x")


@pytest.fixture(scope="module")
def gcsfs_store(gcs_server: GcsServer, gcs_bucket: str) -> Store:
    return opened(StoreSettings(gcs=gcs_server.settings, engine="fsspec"), f"gs://{gcs_bucket}/x")


@pytest.fixture(scope="module")
def adlfs_store(azure_server: AzureServer, azure_container: str) -> Store:
    return opened(StoreSettings(azure=azure_server.settings, engine="fsspec"), f"az://{azure_container}/x")


class TestS3fs(StoreContract):
    folds_double_slash = "SeaweedFS keeps objects in a file tree"

    @pytest.fixture
    def store(self, s3fs_store: Store) -> Store:
        return s3fs_store

    @pytest.fixture
    def raw(self, s3_server: S3Server, s3_bucket: str) -> Raw:
        return RawBucket(s3_server, s3_bucket)

    @pytest.fixture
    def nowhere(self, s3_server: S3Server) -> Store:
        return opened(StoreSettings(s3=s3_server.settings, engine="fsspec"), "s3://no-such-bucket-here/x")


class TestGcsfs(StoreContract):
    @pytest.fixture
    def store(self, gcsfs_store: Store) -> Store:
        return gcsfs_store

    @pytest.fixture
    def raw(self, gcs_server: GcsServer, gcs_bucket: str) -> Raw:
        return RawBucket(gcs_server, gcs_bucket)

    @pytest.fixture
    def nowhere(self, gcs_server: GcsServer) -> Store:
        return opened(StoreSettings(gcs=gcs_server.settings, engine="fsspec"), "gs://no-such-bucket-here/x")


class TestAdlfs(StoreContract):
    cuts_hash = "adlfs takes the end of such a name for a URL's fragment"

    @pytest.fixture
    def store(self, adlfs_store: Store) -> Store:
        return adlfs_store

    @pytest.fixture
    def raw(self, azure_server: AzureServer, azure_container: str) -> Raw:
        return RawBucket(azure_server, azure_container)

    @pytest.fixture
    def nowhere(self, azure_server: AzureServer) -> Store:
        return opened(StoreSettings(azure=azure_server.settings, engine="fsspec"), "az://no-such-container/x")
