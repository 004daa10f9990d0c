"""Everything a network does to a transfer, before a real S3 server: the right bytes or the right reason, never a wrong byte."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core.errors import ChecksumMismatch, ServerFault, StoreError, Throttled, Truncated, Unreachable
from copilot.core.values import FetchSpec, Receipt, SendSpec
from copilot.engine.budget import MIB, Limits
from copilot.engine.clock import SystemClock
from copilot.engine.retry import RetryPolicy
from copilot.engine.verify import verify
from copilot.stores.registry import open_stores
from copilot.stores.settings import StoreSettings
from copilot.testing.engine_bench import Bench, bench
from copilot.testing.fault_proxy import (
    Answer,
    Drip,
    Fault,
    FaultProxy,
    Flip,
    Link,
    LoseAnswer,
    Request,
    Reset,
    Stall,
    Truncate,
    every,
    fault_proxy,
    once,
)

if TYPE_CHECKING:
    from copilot.testing.servers.s3 import S3Server

SMALL = os.urandom(40_000)
BIG = os.urandom(24 * MIB)
QUICK = RetryPolicy(deadline_s=20, first_contact_s=1, first_wait_s=0.01, max_wait_s=0.05)
LIMITS = Limits(max_workers=4, part_bytes=8 * MIB, stall_s=0.5, slowest_bytes_s=MIB, retry=QUICK)


@dataclass
class Faulty:
    """A transfer whose every byte goes through the proxy, and a way past it."""

    at_work: Bench
    proxy: FaultProxy
    server: S3Server
    bucket: str

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def fetch(self, root: Path, key: str, *, tree: bool = False) -> list[Receipt]:
        specs = [FetchSpec(self.uri(key), "in", tree=tree)]
        receipts: list[Receipt] = []
        verify(specs, self.at_work.transfer.fetch(specs, root, self.at_work.cancel), each=receipts.append, root=root)
        assert [path.name for path in root.iterdir()] == ["in"]
        return receipts

    def send(self, path: Path, key: str) -> Receipt:
        specs = [SendSpec(path, self.uri(key))]
        receipts: list[Receipt] = []
        verify(specs, self.at_work.transfer.send(specs, self.at_work.cancel), each=receipts.append)
        return receipts[0]


def faulty_transfer(proxy: FaultProxy, server: S3Server, bucket: str, limits: Limits = LIMITS) -> Faulty:
    stores = open_stores(StoreSettings(s3=replace(server.settings, endpoint=proxy.endpoint)))
    return Faulty(bench(stores, limits=limits, clock=SystemClock()), proxy, server, bucket)


@pytest.fixture(scope="module")
def filled(s3_server: S3Server, s3_bucket: str) -> str:
    s3_server.poke(s3_bucket, "small", SMALL)
    s3_server.poke(s3_bucket, "big", BIG)
    for number in range(30):
        s3_server.poke(s3_bucket, f"tree/{number:02}", bytes([number]) * 1000)
    return s3_bucket


@pytest.fixture
def faulty(s3_server: S3Server, filled: str) -> Iterator[Faulty]:
    with fault_proxy(s3_server.endpoint) as proxy:
        yield faulty_transfer(proxy, s3_server, filled)


def is_get_of(key: str):  # type: ignore[no-untyped-def]  # noqa: ANN201 - a predicate on requests
    return lambda request: request.method == "GET" and request.path.split("?")[0].endswith(f"/{key}")


def is_upload(request: Request) -> bool:
    return request.method == "PUT"


PASSING: list[Fault] = [
    Reset(),
    Reset(after_bytes=0),
    Reset(after_bytes=20_000),
    Truncate(after_bytes=0),
    Truncate(after_bytes=20_000),
    Stall(after_bytes=0),
    Stall(after_bytes=20_000),
    Answer(503, {"Retry-After": "0"}, b"<Error><Code>SlowDown</Code></Error>"),
    Answer(500, {}, b"<Error><Code>InternalError</Code></Error>"),
    Answer(429, {}, b""),
    LoseAnswer(),
    Flip(at_byte=12_345),
]


@pytest.mark.parametrize("fault", PASSING, ids=repr)
def test_a_small_object_comes_right_after_a_passing_fault(faulty: Faulty, tmp_path: Path, fault: Fault) -> None:
    faulty.proxy.script = once(fault, is_get_of("small"), times=2)
    faulty.fetch(tmp_path, "small")
    assert (tmp_path / "in").read_bytes() == SMALL
    assert len([one for one in faulty.proxy.requests if is_get_of("small")(one)]) >= 2


@pytest.mark.parametrize("fault", PASSING, ids=repr)
def test_a_big_object_in_ranges_comes_right_after_a_passing_fault(faulty: Faulty, tmp_path: Path, fault: Fault) -> None:
    faulty.proxy.script = once(fault, is_get_of("big"), times=3)
    faulty.fetch(tmp_path, "big")
    assert (tmp_path / "in").read_bytes() == BIG


@pytest.mark.parametrize("fault", PASSING[:1] + PASSING[7:11] + [Flip(at_byte=123, in_request=True)], ids=repr)
def test_a_small_file_arrives_right_after_a_passing_fault(faulty: Faulty, tmp_path: Path, fault: Fault) -> None:
    (tmp_path / "file").write_bytes(SMALL)
    faulty.proxy.script = once(fault, is_upload, times=2)
    faulty.send(tmp_path / "file", "up/small")
    assert faulty.server.peek(faulty.bucket, "up/small") == SMALL


@pytest.mark.parametrize("fault", PASSING[:1] + PASSING[7:11] + [Flip(at_byte=123, in_request=True)], ids=repr)
def test_a_big_file_arrives_right_after_a_passing_fault(faulty: Faulty, tmp_path: Path, fault: Fault) -> None:
    (tmp_path / "file").write_bytes(BIG)
    faulty.proxy.script = once(fault, is_upload, times=2)
    faulty.send(tmp_path / "file", "up/big")
    assert faulty.server.peek(faulty.bucket, "up/big") == BIG


@pytest.mark.parametrize("fault", [PASSING[0], PASSING[2], PASSING[4], PASSING[7]], ids=repr)
def test_a_listing_comes_whole_after_a_passing_fault(faulty: Faulty, tmp_path: Path, fault: Fault) -> None:
    faulty.proxy.script = once(fault, lambda request: "list-type=2" in request.path)
    receipts = faulty.fetch(tmp_path, "tree", tree=True)
    assert sorted(one.path for one in receipts) == [f"in/{number:02}" for number in range(30)]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Answer(503, {}, b"<Error><Code>ServiceUnavailable</Code></Error>"), (ServerFault, Throttled)),
        (Answer(429, {}, b""), Throttled),
        (Truncate(after_bytes=100), (Truncated, Unreachable)),
        (Reset(after_bytes=100), (Truncated, Unreachable)),
        (Reset(), (Truncated, Unreachable)),
    ],
    ids=repr,
)
def test_a_lasting_fault_ends_with_its_reason_and_without_a_file(
    s3_server: S3Server, filled: str, tmp_path: Path, fault: Fault, reason: type[StoreError] | tuple[type[StoreError], ...]
) -> None:
    with fault_proxy(s3_server.endpoint, every(fault, is_get_of("small"))) as proxy:
        faulty = faulty_transfer(proxy, s3_server, filled, replace(LIMITS, retry=replace(QUICK, attempts=4)))
        with pytest.raises(reason) as raised:
            faulty.fetch(tmp_path, "small")
        assert "small" in raised.value.sentence()
    assert list(tmp_path.iterdir()) == []


def test_bits_that_flip_somewhere_else_each_time_are_never_taken_for_the_object(
    s3_server: S3Server, filled: str, tmp_path: Path
) -> None:
    def flip(request: Request) -> Fault | None:
        return Flip(at_byte=request.number % 100) if is_get_of("small")(request) else None

    with fault_proxy(s3_server.endpoint, flip) as proxy:
        faulty = faulty_transfer(proxy, s3_server, filled)
        with pytest.raises(ChecksumMismatch, match="MD5"):
            faulty.fetch(tmp_path, "small")
    assert list(tmp_path.iterdir()) == []


def test_slow_but_moving_is_no_fault(s3_server: S3Server, filled: str, tmp_path: Path) -> None:
    with fault_proxy(s3_server.endpoint, every(Drip(bytes_per_s=20_000, piece_bytes=2000), is_get_of("small"))) as proxy:
        faulty = faulty_transfer(proxy, s3_server, filled, replace(LIMITS, slowest_bytes_s=8 * 1024))
        faulty.fetch(tmp_path, "small")
    assert (tmp_path / "in").read_bytes() == SMALL
    assert not faulty.at_work.log.named("stalled")
    assert not faulty.at_work.log.named("retry")


def test_refused_connections_are_unreachable_and_an_end_of_it_is_recovered_from(faulty: Faulty, tmp_path: Path) -> None:
    faulty.proxy.refuse()
    with pytest.raises(Unreachable):
        faulty.fetch(tmp_path, "small")
    assert list(tmp_path.iterdir()) == []
    faulty.proxy.accept_again()
    faulty.fetch(tmp_path, "small")
    assert (tmp_path / "in").read_bytes() == SMALL


def test_a_host_without_an_address_is_unreachable(s3_server: S3Server, filled: str, tmp_path: Path) -> None:
    with fault_proxy(s3_server.endpoint) as proxy:
        faulty = faulty_transfer(proxy, s3_server, filled)
        stores = open_stores(StoreSettings(s3=replace(s3_server.settings, endpoint="http://no-such-host.invalid:80")))
        faulty.at_work = bench(stores, limits=LIMITS, clock=SystemClock())
        with pytest.raises(Unreachable):
            faulty.fetch(tmp_path, "small")


def test_a_lost_answer_to_write_if_absent_is_no_conflict_with_ourselves(faulty: Faulty) -> None:
    faulty.proxy.script = once(LoseAnswer(), is_upload)
    faulty.at_work.transfer.write(faulty.uri("commit"), b"outputs", faulty.at_work.cancel, if_absent=True)
    assert faulty.server.peek(faulty.bucket, "commit") == b"outputs"


def test_distance_costs_one_connection_its_rate_and_not_the_whole(s3_server: S3Server, filled: str, tmp_path: Path) -> None:
    with fault_proxy(s3_server.endpoint, link=Link(round_trip_s=0.02, bytes_per_s=16 * MIB)) as proxy:
        faulty = faulty_transfer(proxy, s3_server, filled)
        faulty.fetch(tmp_path, "big")
        assert (tmp_path / "in").read_bytes() == BIG
        assert len({one.connection for one in proxy.requests if is_get_of("big")(one)}) >= 3
