"""What goes wrong between us and a cloud, asked of real servers: one class, one sentence, one hint each, and no secret."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from obstore.exceptions import GenericError

from copilot.core.errors import (
    AccessDenied,
    BadConfig,
    BadCredentials,
    BadFlag,
    BadStoreRequest,
    BucketNotFound,
    CopilotError,
    MissingExtra,
    NoIdentity,
    ObjectNotFound,
    ServerFault,
    Stalled,
    Throttled,
    Truncated,
    Unreachable,
    UnsafePath,
)
from copilot.stores.obstore_errors import Subject, classified
from copilot.stores.registry import open_stores
from copilot.stores.settings import (
    AzureSettings,
    FsspecSettings,
    GcsSettings,
    LocalSettings,
    MemorySettings,
    RedisSettings,
    S3Settings,
    StoreSettings,
)
from copilot.stores.sources import BytesSource
from copilot.testing.servers.process import LOOPBACK, free_ports
from copilot.testing.servers.web import Page
from copilot.testing.store_contract import read

if TYPE_CHECKING:
    from copilot.core.ports import Store
    from copilot.testing.servers.azure import AzureServer
    from copilot.testing.servers.gcs import GcsServer
    from copilot.testing.servers.redis import RedisServer
    from copilot.testing.servers.s3 import S3Server
    from copilot.testing.servers.web import WebServer

ENGINES = pytest.mark.parametrize("engine", ["obstore", "fsspec"])
# aiobotocore and aiohttp leave sockets of refused connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def opened(uri: str, settings: StoreSettings) -> Store:
    return open_stores(settings).locate(uri).store


def each_request(store: Store) -> list[Callable[[], object]]:
    return [
        lambda: store.head("a"),
        lambda: read(store, "a"),
        lambda: list(store.list("p")),
        lambda: store.put("a", BytesSource(b"x")),
    ]


def check(store: Store, error: type[CopilotError]) -> None:
    for ask in each_request(store):
        with pytest.raises(error) as caught:
            ask()
        sentence = caught.value.sentence()
        assert "hunter2" not in sentence
        assert "\n" not in sentence
        assert caught.value.hint
        assert caught.value.op in {"head", "get", "list", "put"}


@ENGINES
def test_keys_unknown_to_s3(s3_server: S3Server, s3_bucket: str, engine: str) -> None:
    wrong = replace(s3_server.settings, access_key_id="nobody", secret_access_key="hunter2")
    store = opened(f"s3://{s3_bucket}/a", StoreSettings(s3=wrong, engine=engine))  # type: ignore[arg-type]  # of the two
    if engine == "obstore":
        check(store, BadCredentials)
        return
    # aiobotocore's HEAD has no body to say more than 403.
    with pytest.raises((BadCredentials, AccessDenied)):
        store.head("a")
    with pytest.raises(BadCredentials):
        store.put("a", BytesSource(b"x"))


def test_a_wrong_secret_of_s3(s3_server: S3Server, s3_bucket: str) -> None:
    s3_server.poke(s3_bucket, "a", b"x")
    wrong = replace(s3_server.settings, secret_access_key="hunter2")
    check(opened(f"s3://{s3_bucket}/a", StoreSettings(s3=wrong)), BadCredentials)


def test_nobody_may_not_read_a_private_bucket(s3_server: S3Server, s3_bucket: str) -> None:
    s3_server.poke(s3_bucket, "a", b"x")
    anonymous = S3Settings(endpoint=s3_server.endpoint, anonymous=True)
    check(opened(f"s3://{s3_bucket}/a", StoreSettings(s3=anonymous)), AccessDenied)


def test_a_wrong_key_of_azure(azure_server: AzureServer, azure_container: str) -> None:
    wrong = replace(azure_server.settings, key=base64.b64encode(b"hunter2").decode())
    azure_server.poke(azure_container, "a", b"x")
    # azurite says 403 AuthorizationFailure where Azure says AuthenticationFailed: to us the first is a missing right.
    check(opened(f"az://{azure_container}/a", StoreSettings(azure=wrong)), AccessDenied)


def test_a_wrong_password_of_redis(redis_server: RedisServer) -> None:
    wrong = RedisSettings(addr=redis_server.addr, password="hunter2")
    check(opened("redis:///a", StoreSettings(redis=wrong)), BadCredentials)


@ENGINES
def test_nobody_listens_at_the_endpoint(engine: str) -> None:
    endpoint = f"http://{LOOPBACK}:{free_ports(1)[0]}"
    s3 = S3Settings(endpoint=endpoint, access_key_id="k", secret_access_key="hunter2")
    check(opened("s3://b/a", StoreSettings(s3=s3, engine=engine)), Unreachable)  # type: ignore[arg-type]  # of the two


def test_nobody_listens_at_the_other_clouds_endpoints() -> None:
    endpoint = f"http://{LOOPBACK}:{free_ports(1)[0]}"
    settings = StoreSettings(
        gcs=GcsSettings(endpoint=endpoint, anonymous=True),
        azure=AzureSettings(account="a", key=base64.b64encode(b"hunter2").decode(), endpoint=f"{endpoint}/a"),
        redis=RedisSettings(addr=endpoint.removeprefix("http://")),
    )
    for uri in ("gs://b/a", "az://c/a", "redis:///a"):
        check(opened(uri, settings), Unreachable)


def test_the_endpoints_name_is_not_known() -> None:
    s3 = S3Settings(endpoint="http://no-such-host.invalid", access_key_id="k", secret_access_key="hunter2")
    check(opened("s3://b/a", StoreSettings(s3=s3)), Unreachable)


def test_an_endpoint_that_speaks_no_tls(s3_server: S3Server) -> None:
    s3 = replace(s3_server.settings, endpoint=s3_server.endpoint.replace("http://", "https://"))
    check(opened("s3://b/a", StoreSettings(s3=s3)), Unreachable)


def test_no_credentials_anywhere(web: WebServer) -> None:
    """The chain ends at the instance's metadata, and nobody is there."""
    metadata = {"metadata_endpoint": web.url}
    s3 = S3Settings(endpoint="http://no-such-host.invalid", options=metadata)
    store = opened("s3://b/a", StoreSettings(s3=s3))
    with pytest.raises(BadCredentials) as caught:
        store.head("a")
    assert "no credentials" in caught.value.sentence()
    assert not caught.value.transient


def test_who_gives_credentials_may_not_be_there_yet() -> None:
    """In a new pod the service that gives them begins some seconds later: that nobody answers is not the last word."""
    metadata = {"metadata_endpoint": f"http://{LOOPBACK}:{free_ports(1)[0]}"}
    store = opened("s3://b/a", StoreSettings(s3=S3Settings(endpoint="http://no-such-host.invalid", options=metadata)))
    with pytest.raises(NoIdentity, match="did not answer") as caught:
        store.head("a")
    assert caught.value.transient


def test_who_gives_credentials_may_be_asked_too_often() -> None:
    said = "Error performing GET http://169.254.169.254/latest/api/token in 1ms - Server returned non-2xx status code: 429 "
    known = classified(GenericError(said), "get", Subject("s3://b/a", "s3://b", "s3.amazonaws.com"))
    assert isinstance(known, Throttled)
    assert "169.254.169.254" in known.sentence()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (500, b"<Error><Code>InternalError</Code></Error>", ServerFault),
        (503, b"<Error><Code>ServiceUnavailable</Code></Error>", ServerFault),
        (503, b"<Error><Code>SlowDown</Code></Error>", Throttled),
        (429, b"<html>too many</html>", Throttled),
        (400, b"<Error><Code>ExpiredToken</Code></Error>", BadCredentials),
        (400, b"<Error><Code>InvalidArgument</Code></Error>", BadStoreRequest),
        (404, b"<Error><Code>NoSuchBucket</Code></Error>", BucketNotFound),
        (403, b"<Error><Code>RequestTimeTooSkewed</Code></Error>", BadCredentials),
        (301, b"<Error><Code>PermanentRedirect</Code></Error>", BadStoreRequest),
        (200, b"<html>a captive portal</html>", ServerFault),
    ],
)
def test_every_answer_has_its_class(http_server: WebServer, status: int, body: bytes, error: type[CopilotError]) -> None:
    http_server.default = Page(body, status=status)
    s3 = S3Settings(endpoint=http_server.url, access_key_id="k", secret_access_key="hunter2")
    store = opened("s3://b/a", StoreSettings(s3=s3))
    with pytest.raises(error) as caught:
        list(store.list("p"))
    assert "hunter2" not in caught.value.sentence()


def test_a_body_that_stops_short_is_truncated(http_server: WebServer) -> None:
    page = Page(b"x" * 3_000_000, etag='"e"', modified="Sun, 06 Nov 1994 08:49:37 GMT", stop_after=2_000_000)
    http_server.pages["/b/a"] = page
    s3 = S3Settings(endpoint=http_server.url, access_key_id="k", secret_access_key="s")
    with pytest.raises(Truncated):
        read(opened("s3://b/a", StoreSettings(s3=s3)), "a")


@contextmanager
def silent_server() -> Iterator[str]:
    """Takes connections and says nothing."""
    stop = threading.Event()
    held: list[socket.socket] = []
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.settimeout(0.1)

        def accept() -> None:
            while not stop.is_set():
                try:
                    held.append(listener.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        finally:
            stop.set()
            thread.join()
            for each in held:
                each.close()


def test_silence_is_a_stall() -> None:
    with silent_server() as endpoint:
        s3 = S3Settings(endpoint=endpoint, access_key_id="k", secret_access_key="s")
        store = opened("s3://b/a", StoreSettings(s3=s3, read_timeout_s=0.3))
        with pytest.raises(Stalled):
            read(store, "a")


@pytest.mark.parametrize("key", ["a/../b", "..", "./a", "a/.", "tab\there", ""])
def test_a_name_no_request_can_carry_is_refused(s3_server: S3Server, s3_bucket: str, key: str) -> None:
    store = opened(f"s3://{s3_bucket}/a", StoreSettings(s3=s3_server.settings))
    with pytest.raises(UnsafePath):
        store.put(key, BytesSource(b"x"))
    with pytest.raises(UnsafePath):
        store.head(key)


def test_settings_that_cannot_be_are_called_so() -> None:
    for s3 in (
        S3Settings(endpoint="ftp://x"),
        S3Settings(endpoint="http://"),
        S3Settings(access_key_id="only half"),
        S3Settings(access_key_id="a", secret_access_key="b", options={"no_such_option": "x"}),
        S3Settings(profile="no-such-profile"),
    ):
        with pytest.raises(BadConfig) as caught:
            open_stores(StoreSettings(s3=s3)).locate("s3://b/k")
        assert caught.value.hint
    with pytest.raises(BadConfig, match="account"):
        open_stores().locate("az://c/k")
    with pytest.raises(BadConfig, match="address"):
        open_stores().locate("redis:///k")


def test_an_unknown_scheme_is_a_bad_flag() -> None:
    with pytest.raises(BadFlag, match="nosuch://"):
        open_stores().locate("nosuch://b/k")


def test_a_scheme_whose_package_is_missing_says_how_to_get_it() -> None:
    stores = open_stores(StoreSettings(schemes={"gd": FsspecSettings(protocol="gdrive")}))
    with pytest.raises(MissingExtra) as caught:
        stores.locate("gd://b/k")
    assert "the package that has gdrive_fsspec" in caught.value.sentence()


def test_one_process_reads_several_endpoints(
    s3_server: S3Server, moto_server: S3Server, s3_bucket: str, moto_bucket: str
) -> None:
    s3_server.poke(s3_bucket, "a", b"seaweed")
    moto_server.poke(moto_bucket, "a", b"moto")
    stores = open_stores(StoreSettings(s3=s3_server.settings, buckets={f"s3://{moto_bucket}": moto_server.settings}))
    texts = [read(at.store, at.key) for at in map(stores.locate, (f"s3://{s3_bucket}/a", f"s3://{moto_bucket}/a"))]
    assert texts == [b"seaweed", b"moto"]
    assert stores.locate(f"s3://{s3_bucket}/b").store is stores.locate(f"s3://{s3_bucket}/c").store


def test_a_scheme_can_be_carried_by_another_family(s3_server: S3Server, s3_bucket: str, tmp_path: object) -> None:
    s3_server.poke(s3_bucket, "a", b"x")
    stores = open_stores(
        StoreSettings(schemes={"gs": s3_server.settings, "s3": LocalSettings(str(tmp_path)), "abfs": MemorySettings()})
    )
    assert read(stores.locate(f"gs://{s3_bucket}/a").store, "a") == b"x"
    for uri in ("s3://bucket/a/b", "abfs://c/a/b"):
        at = stores.locate(uri)
        at.store.put(at.key, BytesSource(b"y"))
        assert [info.key for info in at.store.list("a")] == ["a/b"]
    with pytest.raises(ObjectNotFound):
        stores.locate("s3://other/a/b").store.head("a/b")


def test_any_scheme_of_fsspec_is_a_store() -> None:
    at = open_stores(StoreSettings(schemes={"ram": FsspecSettings(protocol="memory")})).locate("ram://bucket/a/b")
    at.store.put(at.key, BytesSource(b"x"))
    assert read(at.store, at.key) == b"x"
    assert [info.key for info in at.store.list("a")] == ["a/b"]


def test_the_emulators_variable_is_known(gcs_server: GcsServer, gcs_bucket: str) -> None:
    gcs_server.poke(gcs_bucket, "a", b"x")
    environ = {"STORAGE_EMULATOR_HOST": gcs_server.endpoint.removeprefix("http://")}
    assert read(opened(f"gs://{gcs_bucket}/a", StoreSettings(environ=environ)), "a") == b"x"


def test_a_connection_string_of_azure_is_known(azure_server: AzureServer, azure_container: str) -> None:
    azure_server.poke(azure_container, "a", b"x")
    text = f"AccountName={azure_server.account};AccountKey={azure_server.key};BlobEndpoint={azure_server.endpoint}"
    environ = {"AZURE_STORAGE_CONNECTION_STRING": text}
    for uri in (f"abfs://{azure_container}/a", f"wasbs://{azure_container}/a"):
        assert read(opened(uri, StoreSettings(environ=environ)), "a") == b"x"


@pytest.fixture
def web(http_server: WebServer) -> WebServer:
    return http_server
