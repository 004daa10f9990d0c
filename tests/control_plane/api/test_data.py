from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.common.identifier_pb2 import ActionIdentifier, RunIdentifier
from flyteidl2.dataproxy import dataproxy_service_pb2 as pb

from copilot.control_plane.signing import Grant, UrlSigner
from copilot.stores.registry import open_stores
from copilot.stores.settings import StoreSettings
from copilot.testing.control_plane import running_control_plane
from copilot.testing.flyte_client import FlyteClient, task_spec
from copilot.testing.server_process import until

if TYPE_CHECKING:
    from copilot.control_plane.server import ControlPlane
    from copilot.control_plane.settings import ServerSettings
    from copilot.testing.fake_pods import FakePods
    from copilot.testing.servers.s3 import S3Server

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def location(server: FlyteClient, content: bytes = b"hello", **fields: object) -> pb.CreateUploadLocationResponse:
    asked = {
        "project": "flytesnacks",
        "domain": "development",
        "filename": "a.txt",
        "content_md5": hashlib.md5(content, usedforsecurity=False).digest(),
    }
    return server.data.create_upload_location(pb.CreateUploadLocationRequest(**(asked | fields)))


def put(url: str, content: bytes, **headers: str) -> httpx.Response:
    return httpx.put(url, content=content, headers=headers, timeout=30)


def stored(server: FlyteClient, uri: str) -> bytes | None:
    return server.plane.office.objects.read_now(uri)


def test_an_upload_arrives_whole_under_the_name_that_was_asked_for(server: FlyteClient) -> None:
    answer = location(server, filename_root="my-root")
    assert "my-root" in answer.native_url
    assert put(answer.signed_url, b"hello", **dict(answer.headers)).status_code == 200
    assert stored(server, answer.native_url) == b"hello"
    # The same file again is no error: clients repeat themselves.
    assert put(answer.signed_url, b"hello").status_code == 200


@pytest.mark.parametrize(
    "name", ["../../a.txt", "..", ".", "a/b", "/etc/passwd", "..\\a", "a\0b", "", "x" * 300, "line\nbreak"]
)
def test_an_uploads_file_name_cannot_leave_its_prefix(server: FlyteClient, name: str) -> None:
    with pytest.raises(ConnectError) as caught:
        location(server, filename=name)
    assert caught.value.code == Code.INVALID_ARGUMENT
    if name not in {"", "a/b"}:
        with pytest.raises(ConnectError) as caught:
            location(server, filename_root=name)
        assert caught.value.code == Code.INVALID_ARGUMENT


def test_a_root_of_several_segments_stays_inside(server: FlyteClient) -> None:
    assert "/uploads/flytesnacks/development/a/b/" in location(server, filename_root="a/b").native_url
    with pytest.raises(ConnectError):
        location(server, filename_root="a/../../b")


def test_content_that_is_not_the_promised_one_leaves_nothing(server: FlyteClient) -> None:
    answer = location(server)
    other = put(answer.signed_url, b"other")
    assert other.status_code == 400
    assert "MD5" in other.text
    wrong = base64.b64encode(hashlib.md5(b"x", usedforsecurity=False).digest()).decode()
    assert put(answer.signed_url, b"hello", **{"Content-MD5": wrong}).status_code == 400
    assert stored(server, answer.native_url) is None
    leftovers = [path for path in Path(server.plane.settings.data).rglob("*") if path.name.startswith(".upload-")]
    assert leftovers == []


def test_an_upload_that_is_too_large_is_refused(server: FlyteClient) -> None:
    answer = location(server)
    assert put(answer.signed_url, b"x" * 1_100_000).status_code == 413
    assert stored(server, answer.native_url) is None


def test_a_root_that_no_store_takes_is_refused(server: FlyteClient) -> None:
    with pytest.raises(ConnectError) as caught:
        location(server, filename_root="/".join(["x" * 200] * 3))
    assert caught.value.code == Code.INVALID_ARGUMENT


def test_an_upload_under_a_name_that_is_a_directory_or_below_a_file_is_the_clients_mistake(server: FlyteClient) -> None:
    assert put(location(server, filename="d", filename_root="a").signed_url, b"hello").status_code == 200
    assert put(location(server, filename="x", filename_root="a/e").signed_url, b"hello").status_code == 200
    for root, name in (("a/d", "x"), ("a", "e")):
        answer = put(location(server, filename=name, filename_root=root).signed_url, b"hello")
        assert (answer.status_code, "cannot have this name" in answer.text) == (400, True), answer.text


def test_an_upload_that_grows_is_not_among_the_objects_beside_it(server: FlyteClient) -> None:
    half = b"x" * 100_000
    answer = location(server, content=half + half, filename_root="directory")
    place = Path(urlsplit(answer.native_url).path).parent
    store = Path(urlsplit(server.plane.settings.store_base).path)
    seen: list[bool] = []

    def body() -> Iterator[bytes]:
        yield half
        until(lambda: any(each.stat().st_size for each in store.glob(".uploading/*")), "the upload grows")
        seen.append(place.is_dir() and list(place.iterdir()) == [])
        yield half

    assert httpx.put(answer.signed_url, content=body(), timeout=30).status_code == 200
    assert seen == [True]
    assert [each.name for each in place.iterdir()] == ["a.txt"]
    assert list(store.glob(".uploading/*")) == []


def test_what_a_killed_server_left_of_an_upload_goes_in_time(server: FlyteClient) -> None:
    room = Path(urlsplit(server.plane.settings.store_base).path) / ".uploading"
    room.mkdir(parents=True)
    for name in ("old", "new"):
        (room / name).write_bytes(b"x")
    os.utime(room / "old", (1, 1))
    assert put(location(server, filename_root="r").signed_url, b"hello").status_code == 200
    assert [each.name for each in room.iterdir()] == ["new"]


def test_a_changed_url_is_refused(server: FlyteClient) -> None:
    answer = location(server)
    url = answer.signed_url
    other = base64.urlsafe_b64encode(b"file:///etc/cron.d/x").decode().rstrip("=")
    place = urlsplit(url).path.rpartition("/")[2]
    for changed in (
        url.replace("method=PUT", "method=GET"),
        url.replace(place, other),
        url + "0",
        url.replace("size=0", "size=9"),
    ):
        assert put(changed, b"hello").status_code == 403
    assert httpx.get(url).status_code == 403
    assert stored(server, answer.native_url) is None


def test_an_expired_url_is_refused(server: FlyteClient) -> None:
    grant = Grant(f"{server.plane.settings.store_base}/uploads/x", "PUT", expires=1_000_000_000)
    answer = put(server.plane.office.signer.url(server.url, grant), b"hello")
    assert (answer.status_code, "expired" in answer.text) == (403, True)


def test_urls_of_another_installation_are_refused(server: FlyteClient) -> None:
    foreign = UrlSigner(b"another key").url(server.url, Grant("file:///tmp/x", "GET", expires=4_000_000_000))
    assert httpx.get(foreign).status_code == 403


def test_an_expiry_beyond_the_limit_is_refused(server: FlyteClient) -> None:
    request = pb.CreateUploadLocationRequest(project="flytesnacks", domain="development", filename="a", filename_root="r")
    request.expires_in.FromSeconds(99_999_999)
    with pytest.raises(ConnectError) as caught:
        server.data.create_upload_location(request)
    assert caught.value.code == Code.INVALID_ARGUMENT


def test_a_report_is_downloaded_by_a_signed_url(server: FlyteClient) -> None:
    run = server.submit()
    server.finish(1)
    details = server.watch(run)[-1]
    server.plane.office.objects.write_now(details.attempts[0].outputs.report_uri, b"<h1>report</h1>")
    request = pb.CreateDownloadLinkRequest(artifact_type=pb.ARTIFACT_TYPE_REPORT)
    request.action_attempt_id.action_id.CopyFrom(ActionIdentifier(run=run, name="a0"))
    request.action_attempt_id.attempt = 1
    url = server.data.create_download_link(request).pre_signed_urls.signed_url[0]
    answer = httpx.get(url)
    assert (answer.status_code, answer.text) == (200, "<h1>report</h1>")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert put(url, b"x").status_code == 403


def test_a_code_bundle_that_lies_elsewhere_is_not_handed_out(server: FlyteClient) -> None:
    spec = task_spec()
    secret = Path(server.plane.settings.data) / "secret.keys"
    spec.task_template.metadata.code_bundle_uri = f"file://{secret}"
    run = server.submit(spec)
    server.pods.wait_created(1)
    request = pb.CreateDownloadLinkRequest(artifact_type=pb.ARTIFACT_TYPE_CODE_BUNDLE)
    request.action_attempt_id.action_id.CopyFrom(ActionIdentifier(run=run, name="a0"))
    with pytest.raises(ConnectError) as caught:
        server.data.create_download_link(request)
    assert caught.value.code == Code.NOT_FOUND


def tail(server: FlyteClient, run: RunIdentifier, attempt: int = 1) -> list[str]:
    request = pb.TailLogsRequest(action_id=ActionIdentifier(run=run, name="a0"), attempt=attempt)
    return [line.message for message in server.data.tail_logs(request) for logs in message.logs for line in logs.lines]


def test_logs_are_followed_live_and_outlive_their_pod(server: FlyteClient) -> None:
    run = server.submit()
    (pod,) = server.pods.wait_created(1)
    server.pods.start(pod)
    server.pods.write_log(pod, b"one\ntwo\n")
    stream = iter(server.data.tail_logs(pb.TailLogsRequest(action_id=ActionIdentifier(run=run, name="a0"), attempt=1)))
    first = next(stream).logs[0].lines[0]
    assert first.message == "one\n"
    assert first.timestamp.seconds > 1_600_000_000
    server.pods.write_log(pod, b"three\n")
    server.pods.finish(pod, 0)
    list(stream)
    server.pods.wait_empty()
    server.watch(run)
    assert tail(server, run) == ["one\n", "two\n", "three\n"]


def test_a_log_whose_pod_goes_while_it_is_followed_goes_on_in_the_store(server: FlyteClient) -> None:
    run = server.submit()
    (pod,) = server.pods.wait_created(1)
    server.pods.start(pod)
    server.pods.write_log(pod, b"one\ntwo\n")
    stream = iter(server.data.tail_logs(pb.TailLogsRequest(action_id=ActionIdentifier(run=run, name="a0"), attempt=1)))
    lines = [line.message for logs in next(stream).logs for line in logs.lines]
    server.pods.cut_log(pod)
    server.pods.write_log(pod, b"three\n")
    server.pods.finish(pod, 0)
    lines += [line.message for message in stream for logs in message.logs for line in logs.lines]
    assert lines == ["one\n", "two\n", "three\n"]


def test_logs_of_nothing_are_not_found(server: FlyteClient) -> None:
    run = server.submit()
    server.pods.wait_created(1)
    for attempt in (1, 9):
        with pytest.raises(ConnectError) as caught:
            tail(server, run, attempt)
        assert caught.value.code == Code.NOT_FOUND


def test_a_cloud_store_signs_its_own_urls(
    settings: ServerSettings, s3_server: S3Server, s3_bucket: str, make_plane: Callable[..., ControlPlane], pods: FakePods
) -> None:
    stores = open_stores(StoreSettings(s3=s3_server.settings))
    there = replace(settings, store=f"s3://{s3_bucket}/base")
    with running_control_plane(lambda: make_plane(there, stores)) as running:
        server = FlyteClient(running, pods)
        answer = location(server, filename_root="r")
        assert answer.signed_url.startswith(s3_server.endpoint)
        assert answer.native_url.startswith(f"s3://{s3_bucket}/base/uploads/flytesnacks/development/r/")
        assert put(answer.signed_url, b"hello", **dict(answer.headers)).status_code == 200
        assert stored(server, answer.native_url) == b"hello"
        assert put(answer.signed_url.replace("a.txt", "b.txt"), b"hello").status_code == 403
        server.close()
