"""Who we are to Google, as its own tools find it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core.errors import BadConfig, BadCredentials
from copilot.stores.registry import open_stores
from copilot.stores.settings import GcsSettings, StoreSettings
from copilot.testing.servers.web import Page
from copilot.testing.store_contract import read

if TYPE_CHECKING:
    from copilot.testing.servers.web import WebServer


def federation(home: Path, token_url: str) -> str:
    (home / "subject").write_text("a.b.c")
    document = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": token_url,
        "credential_source": {"file": str(home / "subject")},
    }
    path = home / "federation.json"
    path.write_text(json.dumps(document))
    return str(path)


def test_a_federated_workload_identity(http_server: WebServer, tmp_path: Path) -> None:
    answer = {"access_token": "t0ken", "issued_token_type": "x", "token_type": "Bearer", "expires_in": 3600}
    http_server.pages["/token"] = Page(json.dumps(answer).encode(), headers={"Content-Type": "application/json"})
    http_server.pages["/b/a"] = Page(b"x", etag='"e"', modified="Sun, 06 Nov 1994 08:49:37 GMT")
    environ = {"GOOGLE_APPLICATION_CREDENTIALS": federation(tmp_path, f"{http_server.url}/token")}
    settings = StoreSettings(gcs=GcsSettings(endpoint=http_server.url), environ=environ)
    assert read(open_stores(settings).locate("gs://b/a").store, "a") == b"x"
    assert http_server.requests[-1].headers["authorization"] == "Bearer t0ken"


def test_an_identity_pool_that_says_no(http_server: WebServer, tmp_path: Path) -> None:
    http_server.pages["/token"] = Page(b'{"error": "invalid_grant"}', status=400)
    path = federation(tmp_path, f"{http_server.url}/token")
    settings = StoreSettings(gcs=GcsSettings(endpoint=http_server.url, service_account_file=path))
    with pytest.raises(BadCredentials, match="gave no token"):
        read(open_stores(settings).locate("gs://b/a").store, "a")


@pytest.mark.parametrize("text", ["not json", "[1]", '{"type": "service_account"}'])
def test_a_key_file_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(text)
    settings = StoreSettings(gcs=GcsSettings(service_account_file=str(path)))
    with pytest.raises((BadConfig, BadCredentials)):
        read(open_stores(settings).locate("gs://b/a").store, "a")


def test_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    settings = StoreSettings(environ={"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "nowhere.json")})
    with pytest.raises(BadConfig, match="nowhere"):
        open_stores(settings).locate("gs://b/a")
