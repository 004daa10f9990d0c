"""A bit that flips on the way here, without TLS: it is noticed whatever the object's size and whatever its store says of it."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core.errors import ChecksumMismatch
from copilot.core.values import FetchSpec, Receipt
from copilot.engine.budget import MIB, Limits
from copilot.engine.clock import SystemClock
from copilot.engine.retry import RetryPolicy
from copilot.engine.verify import verify
from copilot.stores.registry import open_stores
from copilot.stores.settings import StoreSettings
from copilot.stores.sources import BytesSource
from copilot.testing.engine_bench import Bench, bench
from copilot.testing.fault_proxy import Flip, Request, every, fault_proxy, once
from copilot.testing.servers.web import Page, WebServer

if TYPE_CHECKING:
    from copilot.core.ports import Store, Stores
    from copilot.testing.servers.azure import AzureServer
    from copilot.testing.servers.gcs import GcsServer
    from copilot.testing.servers.s3 import S3Server

CONTENT = os.urandom(20 * MIB + 77)
QUICK = RetryPolicy(deadline_s=30, first_wait_s=0.01, max_wait_s=0.05)
LIMITS = Limits(max_workers=4, part_bytes=8 * MIB, retry=QUICK)
Reach = Callable[[str], "tuple[Stores, str]"]


@dataclass
class Way:
    """How an object is reached through a proxy.

    Attributes:
        through: stores that go by the endpoint of a proxy, and the object's URI there.
        endpoint: the server's own.
    """

    through: Reach
    endpoint: str


def in_parts(store: Store, key: str, data: bytes, step: int) -> None:
    upload = store.multipart(key)
    source = BytesSource(data)
    upload.complete(
        [
            upload.put_part(number, source, start, min(start + step, len(data)))
            for number, start in enumerate(range(0, len(data), step), 1)
        ]
    )


def s3_way(server: S3Server, bucket: str, size: int, step: int | None) -> Way:
    key = f"o-{size}-{step}"
    if step is None:
        server.poke(bucket, key, CONTENT[:size])
    else:
        in_parts(open_stores(StoreSettings(s3=server.settings)).locate(f"s3://{bucket}/").store, key, CONTENT[:size], step)

    def through(endpoint: str) -> tuple[Stores, str]:
        return open_stores(StoreSettings(s3=replace(server.settings, endpoint=endpoint))), f"s3://{bucket}/{key}"

    return Way(through, server.endpoint)


def gcs_way(server: GcsServer, bucket: str, size: int) -> Way:
    store = open_stores(StoreSettings(gcs=server.settings)).locate(f"gs://{bucket}/").store
    store.put("object", BytesSource(CONTENT[:size]))

    def through(endpoint: str) -> tuple[Stores, str]:
        return open_stores(StoreSettings(gcs=replace(server.settings, endpoint=endpoint))), f"gs://{bucket}/object"

    return Way(through, server.endpoint)


def azure_way(server: AzureServer, container: str, size: int, *, in_blocks: bool) -> Way:
    store = open_stores(StoreSettings(azure=server.settings)).locate(f"az://{container}/").store
    key = f"o-{size}-{in_blocks}"
    if in_blocks:
        in_parts(store, key, CONTENT[:size], 8 * MIB)
    else:
        server.poke(container, key, CONTENT[:size])
    host, _, account = server.endpoint.removeprefix("http://").partition("/")

    def through(endpoint: str) -> tuple[Stores, str]:
        settings = replace(server.settings, endpoint=f"{endpoint}/{account}")
        return open_stores(StoreSettings(azure=settings)), f"az://{container}/{key}"

    return Way(through, f"http://{host}")


def web_way(server: WebServer, page: Page) -> Way:
    server.pages["/object"] = page
    return Way(lambda endpoint: (open_stores(), f"{endpoint}/object"), server.url)


def ways(request: pytest.FixtureRequest) -> dict[str, tuple[Callable[[], Way], str]]:
    """Each with the proof that must stand in the receipt."""
    get = request.getfixturevalue

    def s3(size: int, step: int | None) -> Callable[[], Way]:
        return lambda: s3_way(get("s3_server"), get("s3_bucket"), size, step)

    def azure(size: int, *, in_blocks: bool) -> Callable[[], Way]:
        return lambda: azure_way(get("azure_server"), get("azure_container"), size, in_blocks=in_blocks)

    def web(**page: object) -> Callable[[], Way]:
        return lambda: web_way(get("http_server"), Page(CONTENT, **page))  # type: ignore[arg-type]  # a page's own fields

    stated = base64.b64encode(hashlib.md5(CONTENT, usedforsecurity=False).digest()).decode()
    return {
        "s3 in one piece, in ranges": (s3(len(CONTENT), None), "md5"),
        "s3 in parts of 8 MiB, in ranges": (s3(len(CONTENT), 8 * MIB), "md5"),
        "s3 in parts nobody uses, in ranges": (s3(len(CONTENT), 7 * MIB + 5), "md5"),
        "s3 in parts of 5 MiB, whole": (s3(7 * MIB, 5 * MIB), "md5"),
        "s3 in parts nobody uses, whole": (s3(7 * MIB, 6 * MIB + 1), "md5"),
        "s3 in one part, whole": (s3(70_000, 5 * MIB), "md5"),
        "gcs in ranges": (lambda: gcs_way(get("gcs_server"), get("gcs_bucket"), len(CONTENT)), "crc32c"),
        "gcs whole": (lambda: gcs_way(get("gcs_server"), get("gcs_bucket"), 3 * MIB), "crc32c"),
        "azure in one piece, whole": (azure(3 * MIB, in_blocks=False), "md5"),
        "azure small": (azure(70_000, in_blocks=False), "two readings"),
        "azure in blocks, in ranges": (azure(len(CONTENT), in_blocks=True), "two readings"),
        "web that states an MD5": (
            web(etag='"v1"', headers={"Content-MD5": stated}),
            "md5",
        ),
        "web that only has an etag, in ranges": (web(etag='"v1"'), "two readings"),
    }


NAMES = (
    "s3 in one piece, in ranges",
    "s3 in parts of 8 MiB, in ranges",
    "s3 in parts nobody uses, in ranges",
    "s3 in parts of 5 MiB, whole",
    "s3 in parts nobody uses, whole",
    "s3 in one part, whole",
    "gcs in ranges",
    "gcs whole",
    "azure in one piece, whole",
    "azure small",
    "azure in blocks, in ranges",
    "web that states an MD5",
    "web that only has an etag, in ranges",
)


def fetch(stores: Stores, uri: str, root: Path, limits: Limits = LIMITS) -> tuple[Receipt, Bench]:
    at_work = bench(stores, limits=limits, clock=SystemClock())
    receipts: list[Receipt] = []
    specs = [FetchSpec(uri, "in")]
    verify(specs, at_work.transfer.fetch(specs, root, at_work.cancel), each=receipts.append, root=root)
    return receipts[0], at_work


def is_download(request: Request) -> bool:
    return request.method == "GET" and not any(word in request.path for word in ("comp=", "list-type", "/storage/v1"))


@pytest.mark.parametrize("name", NAMES)
def test_a_bit_that_flips_once_is_noticed_and_read_again(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    way, proof = ways(request)[name]
    at = way()
    with fault_proxy(at.endpoint, once(Flip(at_byte=12_345), is_download)) as proxy:
        receipt, _ = fetch(*at.through(proxy.endpoint), tmp_path)
    got = (tmp_path / "in").read_bytes()
    assert got == CONTENT[: len(got)]
    assert receipt.proof == proof


@pytest.mark.parametrize(
    "name", ["s3 in one piece, in ranges", "s3 in parts nobody uses, in ranges", "gcs whole", "azure in blocks, in ranges"]
)
def test_a_bit_that_flips_in_every_answer_never_passes(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    way, _ = ways(request)[name]
    at = way()
    with fault_proxy(at.endpoint, every(Flip(at_byte=5), is_download)) as proxy, pytest.raises(ChecksumMismatch):
        fetch(*at.through(proxy.endpoint), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_pins_a_second_reading_a_warning_says_that_nothing_is_proven(
    http_server: WebServer, tmp_path: Path
) -> None:
    way = web_way(http_server, Page(CONTENT[:MIB]))
    stores, uri = way.through(way.endpoint)
    receipt, at_work = fetch(stores, uri, tmp_path)
    assert receipt.proof == "none"
    (told,) = at_work.log.named("content.unproven")
    assert (told.level, told.fields["proof"]) == ("warning", "none")


def test_the_second_reading_can_be_done_without(http_server: WebServer, tmp_path: Path) -> None:
    way = web_way(http_server, Page(CONTENT, etag='"v1"'))
    receipt, at_work = fetch(*way.through(way.endpoint), tmp_path, replace(LIMITS, read_twice=False))
    assert receipt.proof == "none"
    assert len(at_work.log.named("content.unproven")) == 1


def big_object(server: S3Server, bucket: str, size: int) -> None:
    store = open_stores(StoreSettings(s3=server.settings)).locate(f"s3://{bucket}/").store
    in_parts(store, "huge", (CONTENT[: 16 * MIB] * (size // (16 * MIB) + 1))[:size], 50 * MIB)


@pytest.mark.slow
def test_a_bit_that_flips_in_hundreds_of_mebibytes_is_noticed(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    size = 300 * MIB + 1
    big_object(s3_server, s3_bucket, size)
    with fault_proxy(s3_server.endpoint) as proxy:
        stores = open_stores(StoreSettings(s3=replace(s3_server.settings, endpoint=proxy.endpoint)))
        flip = once(Flip(at_byte=3 * MIB), lambda one: is_download(one) and int(first_byte(one)) > 200 * MIB)
        proxy.script = flip
        receipt, at_work = fetch(stores, f"s3://{s3_bucket}/huge", tmp_path, Limits(retry=QUICK))
    assert receipt.proof == "md5"
    assert len(at_work.log.named("content.differs")) == 1
    block = CONTENT[: 16 * MIB]
    with (tmp_path / "in").open("rb") as file:
        for at in range(0, size, len(block)):
            assert file.read(len(block)) == block[: size - at]


def first_byte(request: Request) -> str:
    return request.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0]
