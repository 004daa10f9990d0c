"""What web servers do, and what becomes of it."""

from __future__ import annotations

import gzip
import random
import threading
import zlib
from typing import TYPE_CHECKING

import pytest

from copilot.core.errors import (
    AccessDenied,
    BadCredentials,
    BadStoreRequest,
    CopilotError,
    ObjectChanged,
    ObjectNotFound,
    ServerFault,
    Stalled,
    Throttled,
    Truncated,
    Unreachable,
    Unsupported,
)
from copilot.stores.proxies import proxy_for
from copilot.stores.registry import open_stores
from copilot.stores.settings import HttpSettings, StoreSettings
from copilot.stores.sources import BytesSource
from copilot.testing.servers.process import free_ports
from copilot.testing.servers.web import Page, Request, WebServer, web_server
from copilot.testing.store_contract import read

if TYPE_CHECKING:
    from copilot.core.ports import Location

DATA = bytes(range(256)) * 500
NOISE = random.Random(1).randbytes(200_000)


def at(url: str, settings: StoreSettings | None = None) -> Location:
    return open_stores(settings).locate(url)


def fetch(url: str, settings: StoreSettings | None = None) -> bytes:
    location = at(url, settings)
    return read(location.store, location.key)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, BadCredentials),
        (403, AccessDenied),
        (404, ObjectNotFound),
        (410, ObjectNotFound),
        (400, BadStoreRequest),
        (418, BadStoreRequest),
        (204, BadStoreRequest),
        (304, BadStoreRequest),
        (408, Stalled),
        (429, Throttled),
        (500, ServerFault),
        (502, ServerFault),
        (503, ServerFault),
    ],
)
def test_an_error_page_never_becomes_data(http_server: WebServer, status: int, error: type[CopilotError]) -> None:
    http_server.pages["/page"] = Page(b"" if status in {204, 304} else b"<html>sorry</html>", status=status)
    location = at(f"{http_server.url}/page?token=hunter2")
    http_server.pages["/page?token=hunter2"] = http_server.pages["/page"]
    for ask in (lambda: read(location.store, location.key), lambda: location.store.head(location.key)):
        with pytest.raises(error) as caught:
            ask()
        assert "hunter2" not in caught.value.sentence()
        assert str(status) in caught.value.sentence()


def test_the_server_says_when_to_come_back(http_server: WebServer) -> None:
    http_server.pages["/busy"] = Page(status=503, headers={"Retry-After": "7"})
    with pytest.raises(ServerFault) as caught:
        fetch(f"{http_server.url}/busy")
    assert caught.value.retry_after_s == 7


def test_redirects_are_followed(http_server: WebServer) -> None:
    http_server.pages["/a"] = Page(status=302, headers={"Location": "/b?x=1"})
    http_server.pages["/b?x=1"] = Page(status=307, headers={"Location": f"{http_server.url}/c"})
    http_server.pages["/c"] = Page(DATA)
    assert fetch(f"{http_server.url}/a") == DATA
    assert at(f"{http_server.url}/a").store.head("a").size_bytes == len(DATA)


def test_a_redirect_to_another_server_does_not_take_the_password_along(http_server: WebServer) -> None:
    with web_server() as other:
        http_server.pages["/a"] = Page(status=302, headers={"Location": f"{other.url.replace('127.0.0.1', 'localhost')}/b"})
        other.pages["/b"] = Page(DATA)
        assert fetch(http_server.url.replace("http://", "http://user:hunter2@") + "/a") == DATA
        assert "authorization" in http_server.requests[0].headers
        assert "authorization" not in other.requests[0].headers


def test_a_redirect_in_a_circle_ends(http_server: WebServer) -> None:
    http_server.pages["/a"] = Page(status=302, headers={"Location": "/a"})
    with pytest.raises(BadStoreRequest, match="redirects too often"):
        fetch(f"{http_server.url}/a")


@pytest.mark.parametrize("close", [False, True])
def test_a_body_without_a_length_is_read_whole(http_server: WebServer, *, close: bool) -> None:
    http_server.pages["/a"] = Page(DATA, length=False, close=close)
    assert fetch(f"{http_server.url}/a") == DATA
    assert at(f"{http_server.url}/a").store.head("a").size_bytes is None


@pytest.mark.parametrize("length", [True, False])
def test_a_body_that_stops_short_is_noticed(http_server: WebServer, *, length: bool) -> None:
    http_server.pages["/a"] = Page(DATA, length=length, stop_after=len(DATA) - 1000)
    with pytest.raises(Truncated):
        fetch(f"{http_server.url}/a")


def test_a_server_that_compresses_unasked_is_decoded_and_its_size_unknown(http_server: WebServer) -> None:
    http_server.pages["/a"] = Page(DATA, compress=True)
    location = at(f"{http_server.url}/a")
    assert fetch(f"{http_server.url}/a") == DATA
    assert location.store.head("a").size_bytes is None
    assert read(location.store, "a", 10, 20) == DATA[10:20]
    assert {request.headers["accept-encoding"] for request in http_server.requests} == {"identity"}


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("missing", [1, 9, 5_000])
def test_a_compressed_body_that_stops_short_is_noticed(http_server: WebServer, missing: int, *, close: bool) -> None:
    whole = len(gzip.compress(NOISE))
    http_server.pages["/a"] = Page(NOISE, compress=True, length=False, close=close, stop_after=whole - missing)
    with pytest.raises(Truncated):
        fetch(f"{http_server.url}/a")


DEFLATE = zlib.compressobj(wbits=-15)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(DATA)),
        ("X-GZIP", gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:]) + bytes(700)),
        ("gzip", gzip.compress(DATA[:-1]) + gzip.compress(b"") + gzip.compress(DATA[-1:])),
        ("deflate", zlib.compress(DATA)),
        ("deflate", DEFLATE.compress(DATA) + DEFLATE.flush()),
        ("utf-8", DATA),
        ("aws-chunked", DATA),
        ("gzip, aws-chunked", gzip.compress(DATA)),
    ],
)
def test_what_a_server_says_of_its_encoding_is_understood(http_server: WebServer, encoding: str, body: bytes) -> None:
    http_server.pages["/a"] = Page(body, headers={"Content-Encoding": encoding})
    assert fetch(f"{http_server.url}/a") == DATA
    assert at(f"{http_server.url}/a").store.head("a").size_bytes == (len(DATA) if body == DATA else None)


def test_an_empty_body_has_no_encoding(http_server: WebServer) -> None:
    http_server.pages["/a"] = Page(headers={"Content-Encoding": "gzip"})
    assert fetch(f"{http_server.url}/a") == b""


def test_a_small_body_that_is_a_large_text_is_decoded_in_pieces(http_server: WebServer) -> None:
    http_server.pages["/a"] = Page(bytes(50 << 20), compress=True)
    location = at(f"{http_server.url}/a")
    with location.store.get("a") as stream:
        sizes = [len(chunk) for chunk in stream]
    assert sum(sizes) == 50 << 20
    assert max(sizes) <= 256 * 1024


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br"])
def test_a_compression_that_cannot_be_decoded_is_refused_and_no_data(http_server: WebServer, encoding: str) -> None:
    http_server.pages["/a"] = Page(DATA, headers={"Content-Encoding": encoding})
    with pytest.raises(BadStoreRequest, match="comes compressed"):
        fetch(f"{http_server.url}/a")


def test_what_is_not_what_its_encoding_says_is_no_data(http_server: WebServer) -> None:
    http_server.pages["/a"] = Page(DATA, headers={"Content-Encoding": "gzip"})
    with pytest.raises(Truncated, match="damaged"):
        fetch(f"{http_server.url}/a")


def test_a_header_of_the_settings_does_not_follow_to_another_server(http_server: WebServer) -> None:
    settings = StoreSettings(http=HttpSettings(headers={"X-Token": "t"}))
    with web_server() as other:
        http_server.pages["/a"] = Page(status=302, headers={"Location": f"{other.url}/b"})
        http_server.pages["/c"] = Page(status=302, headers={"Location": f"{http_server.url}/d"})
        http_server.pages["/d"] = other.pages["/b"] = Page(DATA)
        assert fetch(f"{http_server.url}/a", settings) == DATA
        assert fetch(f"{http_server.url}/c", settings) == DATA
        assert [request.headers.get("x-token") for request in other.requests] == [None]
    assert {request.headers.get("x-token") for request in http_server.requests} == {"t"}


def test_a_server_that_ignores_ranges_still_gives_the_range(http_server: WebServer) -> None:
    http_server.pages["/a"] = Page(DATA, ranges=False)
    location = at(f"{http_server.url}/a")
    assert read(location.store, "a", 1000, 2000) == DATA[1000:2000]
    assert read(location.store, "a", 1000) == DATA[1000:]


def test_a_server_that_knows_no_head_is_asked_for_one_byte(http_server: WebServer) -> None:
    http_server.pages["/a"] = Page(DATA, head=False)
    assert at(f"{http_server.url}/a").store.head("a").size_bytes == len(DATA)
    http_server.pages["/empty"] = Page(b"", head=False)
    assert at(f"{http_server.url}/empty").store.head("empty").size_bytes == 0


def test_a_url_that_is_signed_for_get_alone_has_a_size(http_server: WebServer) -> None:
    def only_get(request: Request) -> Page:
        return Page(DATA) if request.method == "GET" else Page(status=403)

    http_server.pages["/signed?X-Amz-Signature=abc"] = only_get
    location = at(f"{http_server.url}/signed?X-Amz-Signature=abc")
    assert location.store.head(location.key).size_bytes == len(DATA)


@pytest.mark.parametrize("conditions", [True, False])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"etag": '"1"'}, {"etag": '"2"'}),
        ({"etag": 'W/"1"'}, {"etag": 'W/"2"'}),
        (
            {"etag": 'W/"1"', "modified": "Sun, 06 Nov 1994 08:49:37 GMT"},
            {"etag": 'W/"1"', "modified": "Sun, 06 Nov 1994 08:49:38 GMT"},
        ),
        ({"modified": "Sun, 06 Nov 1994 08:49:37 GMT"}, {"modified": "Sun, 06 Nov 1994 08:49:38 GMT"}),
    ],
)
def test_a_change_is_noticed_by_whatever_the_server_says(
    http_server: WebServer, before: dict[str, str], after: dict[str, str], *, conditions: bool
) -> None:
    http_server.pages["/a"] = Page(DATA, conditions=conditions, **before)  # type: ignore[arg-type]  # only texts are given
    location = at(f"{http_server.url}/a")
    tag = location.store.head("a").etag
    assert tag is not None
    assert read(location.store, "a", 5, 10, if_match=tag) == DATA[5:10]
    http_server.pages["/a"] = Page(DATA, conditions=conditions, **after)  # type: ignore[arg-type]  # as above
    with pytest.raises(ObjectChanged):
        read(location.store, "a", 5, 10, if_match=tag)


def test_silence_is_a_stall(http_server: WebServer) -> None:
    gate = threading.Event()
    http_server.pages["/a"] = Page(DATA, gate=gate)
    try:
        with pytest.raises(Stalled):
            fetch(f"{http_server.url}/a", StoreSettings(read_timeout_s=0.2))
    finally:
        gate.set()


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/a", "http://no-such-host.invalid/a", "https://127.0.0.1:{web}/a"])
def test_no_connection_is_one_sentence(http_server: WebServer, url: str) -> None:
    target = url.format(port=free_ports(1)[0], web=http_server.url.rpartition(":")[2])
    with pytest.raises(Unreachable) as caught:
        fetch(target, StoreSettings(connect_timeout_s=2))
    assert caught.value.hint
    assert target in caught.value.sentence()


def test_the_web_is_read_only_and_has_no_listings(http_server: WebServer) -> None:
    store = at(f"{http_server.url}/a").store
    assert not store.capabilities.writable
    for ask in (
        lambda: store.put("a", BytesSource(b"")),
        lambda: store.multipart("a"),
        lambda: list(store.list("a/")),
    ):
        with pytest.raises(Unsupported):
            ask()
    assert list(store.pending_uploads("")) == []


def test_user_and_password_of_a_url_are_sent_and_never_shown(http_server: WebServer) -> None:
    url = http_server.url.replace("http://", "http://us%40er:hunter2@")
    with pytest.raises(ObjectNotFound) as caught:
        fetch(f"{url}/a")
    assert http_server.requests[0].headers["authorization"] == "Basic dXNAZXI6aHVudGVyMg=="
    assert "hunter2" not in caught.value.sentence()


def test_headers_of_the_settings_are_sent(http_server: WebServer) -> None:
    http_server.pages["/a"] = Page(DATA)
    settings = StoreSettings(http=HttpSettings(headers={"Authorization": "Bearer t"}))
    assert fetch(f"{http_server.url}/a", settings) == DATA
    assert http_server.requests[0].headers["authorization"] == "Bearer t"


def test_a_proxy_of_the_environment_is_used(http_server: WebServer) -> None:
    http_server.pages["http://data.invalid/a"] = Page(DATA)
    environ = {"http_proxy": http_server.url.replace("http://", "http://me:pw@"), "no_proxy": "other.invalid"}
    assert fetch("http://data.invalid/a", StoreSettings(environ=environ)) == DATA
    assert http_server.requests[0].headers["proxy-authorization"] == "Basic bWU6cHc="


@pytest.mark.parametrize(
    ("host", "exceptions", "direct"),
    [
        ("data.invalid", "", False),
        ("data.invalid", "invalid", True),
        ("data.invalid", ".invalid", True),
        ("data.invalid:8080", "data.invalid", True),
        ("data.invalid", "*", True),
        ("mydata.invalid", "data.invalid", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8, x", False),
    ],
)
def test_exceptions_from_the_proxy(host: str, exceptions: str, *, direct: bool) -> None:
    environ = {"HTTPS_PROXY": "proxy:3128", "NO_PROXY": exceptions}
    assert (proxy_for("https", host, environ) is None) is direct
