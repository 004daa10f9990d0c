from __future__ import annotations

import contextlib
import gzip
import json
import tracemalloc
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest
from flyteidl2.project.project_service_pb2 import ListProjectsRequest, ListProjectsResponse

if TYPE_CHECKING:
    from copilot.testing.flyte_client import FlyteClient

LIST = "/flyteidl2.project.ProjectService/ListProjects"
GET = "/flyteidl2.workflow.RunService/GetRunDetails"

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_binary_and_json_plain_and_compressed_all_say_the_same(server: FlyteClient) -> None:
    binary = server.http.post(
        LIST, content=ListProjectsRequest().SerializeToString(), headers={"content-type": "application/proto"}
    )
    packed = server.http.post(
        LIST, content=gzip.compress(b""), headers={"content-type": "application/proto", "content-encoding": "gzip"}
    )
    text = server.http.post(LIST, json={})
    ids = [
        [project.id for project in ListProjectsResponse.FromString(each.content).projects.projects] for each in (binary, packed)
    ]
    ids.append([project["id"] for project in text.json()["projects"]["projects"]])
    assert ids == [["flytesnacks"]] * 3


def test_grpc_web_is_spoken(server: FlyteClient) -> None:
    answer = server.http.post(LIST, content=b"\0\0\0\0\0", headers={"content-type": "application/grpc-web+proto"})
    size = int.from_bytes(answer.content[1:5], "big")
    message = ListProjectsResponse.FromString(answer.content[5 : 5 + size])
    assert [project.id for project in message.projects.projects] == ["flytesnacks"]
    assert b"grpc-status: 0" in answer.content[5 + size :]


@pytest.mark.parametrize(
    ("content_type", "content", "where"),
    [
        ("application/grpc-web+proto", b"\0\0\0\0\0", b"grpc-status: 12"),
        ("application/connect+proto", b"\0\0\0\0\0", b'"unimplemented"'),
        ("application/proto", b"", b'"unimplemented"'),
    ],
)
def test_what_is_not_served_is_unimplemented_in_every_protocol(
    server: FlyteClient, content_type: str, content: bytes, where: bytes
) -> None:
    answer = server.http.post("/flyteidl2.app.AppService/List", content=content, headers={"content-type": content_type})
    assert where in answer.content


def test_an_unknown_method_and_an_unknown_path_are_404(server: FlyteClient) -> None:
    assert server.http.post("/flyteidl2.workflow.RunService/Nope", json={}).status_code == 404
    assert server.http.get("/").status_code == 404


def test_bad_bodies_are_the_clients_mistake(server: FlyteClient) -> None:
    for content_type, content in (("application/json", b"{"), ("application/proto", b"\xff\xff\xff")):
        answer = server.http.post(GET, content=content, headers={"content-type": content_type})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")
    assert server.http.post(GET, content=b"x", headers={"content-type": "text/plain"}).status_code == 415
    assert server.http.get(GET).status_code in {400, 405, 415}


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(b"x" * 1000)[:-9], gzip.compress(b"")[:5]], ids=["plain", "cut", "begun"]
)
def test_a_body_that_is_not_the_gzip_it_says_is_the_clients_mistake(server: FlyteClient, content: bytes) -> None:
    headers = {"content-type": "application/proto", "content-encoding": "gzip"}
    answer = server.http.post(GET, content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")


@contextlib.contextmanager
def at_most(size_bytes: int) -> Iterator[None]:
    """Fails where more memory than that was in use at once."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size_bytes


def test_a_small_body_that_grows_beyond_the_limit_is_not_unpacked(server: FlyteClient) -> None:
    most = server.plane.settings.limits.max_message_bytes
    packed = gzip.compress(bytes(40 * most), compresslevel=9)
    headers = {"content-type": "application/proto", "content-encoding": "gzip"}
    with at_most(10 * most):
        answer = server.http.post(GET, content=packed, headers=headers)
    assert answer.json()["code"] == "resource_exhausted"


@pytest.mark.parametrize("content_type", ["application/proto", "application/connect+proto", "application/grpc-web+proto"])
def test_a_body_above_the_limit_is_not_taken_into_memory(server: FlyteClient, content_type: str) -> None:
    most = server.plane.settings.limits.max_message_bytes

    def endless() -> Iterator[bytes]:
        yield b"\0" + (most * 20).to_bytes(4, "big")
        for _ in range(20 * most >> 16):
            yield bytes(1 << 16)

    method = "/flyteidl2.workflow.RunService/WatchActionDetails" if "connect" in content_type else GET
    with at_most(10 * most), contextlib.suppress(httpx.TransportError):  # the connection may end while we still send
        answer = server.http.post(method, content=endless(), headers={"content-type": content_type})
        assert b"resource_exhausted" in answer.content or b"grpc-status: 8" in answer.content


def test_a_deadline_that_is_over_is_told_as_that(server: FlyteClient) -> None:
    message = {"actionId": {"run": {"project": "flytesnacks", "domain": "development", "name": "r"}, "name": "a0"}}
    run = server.submit(name="r")
    assert run.name == "r"
    headers = {"content-type": "application/connect+json", "connect-timeout-ms": "300"}
    body = json.dumps(message).encode()
    answer = server.http.post(
        "/flyteidl2.workflow.RunService/WatchActionDetails",
        content=b"\0" + len(body).to_bytes(4, "big") + body,
        headers=headers,
    )
    assert b"deadline_exceeded" in answer.content
    assert server.code("workflow.RunService/ListRuns", {}, {"connect-timeout-ms": "abc"}) == "invalid_argument"


def test_health_is_told_to_probes(server: FlyteClient) -> None:
    assert server.http.get("/healthz").json() == {"status": "ok"}
    assert server.http.get("/readyz").json() == {"status": "ok"}
