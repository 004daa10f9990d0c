"""The engine's pure rules: checksums, parts, budgets, patience."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.core.errors import AccessDenied, NoIdentity, ObjectChanged, ServerFault, Throttled, Unreachable
from copilot.core.ports import ObjectInfo
from copilot.engine import digest
from copilot.engine.budget import MIB, Limits, cpu_limit, fit, memory_limit_bytes
from copilot.engine.cancel import Token
from copilot.engine.context import same_object
from copilot.engine.ranged import part_bounds
from copilot.engine.retry import Retrier, RetryPolicy
from copilot.testing.clock import FakeClock
from copilot.testing.recording import RecordingLog


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_checksums_of_parts_combine_into_that_of_the_whole(parts: list[bytes]) -> None:
    combined = digest.combine_all((google_crc32c.value(part), len(part)) for part in parts)
    assert combined == google_crc32c.value(b"".join(parts))


def test_the_checksum_is_the_published_one() -> None:
    assert digest.text(digest.extend(0, b"123456789")) == "crc32c:e3069283"


@given(st.integers(min_value=1, max_value=1 << 50), st.integers(min_value=1, max_value=1 << 26))
def test_parts_cover_an_object_without_gap_or_overlap_and_are_never_too_many(size: int, part: int) -> None:
    bounds = part_bounds(size, part, most=64)
    assert bounds[0][0] == 0
    assert bounds[-1][1] == size
    assert all(left[1] == right[0] for left, right in itertools.pairwise(bounds))
    assert all(start < end for start, end in bounds)
    assert len(bounds) <= 64


@pytest.mark.parametrize(
    ("known", "seen", "same"),
    [
        ((5, '"a"'), (5, "a"), True),
        ((5, '"a"'), (5, 'W/"a"'), True),
        ((5, '"a"'), (5, None), True),
        ((5, "a"), (5, "b"), False),
        ((5, None), (6, None), False),
        ((None, "a"), (6, "a"), True),
    ],
)
def test_two_descriptions_are_of_one_object_unless_they_contradict(
    known: tuple[int | None, str | None],
    seen: tuple[int | None, str | None],
    same: bool,  # noqa: FBT001 - a table
) -> None:
    assert same_object(ObjectInfo("k", *known), ObjectInfo("k", *seen)) is same


# --- budgets ---------------------------------------------------------------------------------------------------------


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_smallest_limit_of_a_version_two_hierarchy_counts(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/kubepods/pod1/main\n",
            "sys/fs/cgroup/kubepods/pod1/main/memory.max": "max\n",
            "sys/fs/cgroup/kubepods/pod1/memory.max": "134217728\n",
            "sys/fs/cgroup/kubepods/pod1/main/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/kubepods/cpu.max": "max 100000\n",
        },
    )
    assert memory_limit_bytes(root) == 128 * MIB
    assert cpu_limit(root, cpus=8) == 1.5


def test_a_version_one_hierarchy_is_read_and_its_no_limit_is_none(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/a\n2:cpu,cpuacct:/b\n",
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n",
            "sys/fs/cgroup/cpu/b/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/b/cpu.cfs_period_us": "100000\n",
        },
    )
    assert memory_limit_bytes(root) == 256 * MIB
    assert cpu_limit(root, cpus=4) == 0.5


def test_a_machine_without_cgroups_has_no_memory_limit_and_all_its_cores(tmp_path: Path) -> None:
    assert memory_limit_bytes(tmp_path) is None
    assert cpu_limit(tmp_path, cpus=3) == 3.0


def test_a_small_container_gets_small_limits(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": str(96 * MIB), "sys/fs/cgroup/cpu.max": "100000 100000"},
    )
    limits = Limits.detect(root, cpus=2)
    assert limits.memory_bytes == 24 * MIB
    assert limits.max_workers == 8


@given(st.integers(min_value=1, max_value=1 << 40), st.floats(min_value=0.01, max_value=256))
def test_limits_never_grow_and_always_let_something_move(memory: int, cpus: float) -> None:
    limits = fit(Limits(), memory_bytes=memory, cpus=cpus)
    assert 2 <= limits.max_workers <= Limits().max_workers
    assert limits.memory_bytes <= Limits().memory_bytes
    assert limits.part_bytes >= 5 * MIB


# --- patience --------------------------------------------------------------------------------------------------------


class Failing:
    """Raises the given errors in turn, then returns."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def retrier(policy: RetryPolicy | None = None) -> tuple[Retrier, FakeClock, RecordingLog]:
    clock, log = FakeClock(), RecordingLog()
    return Retrier(policy or RetryPolicy(), clock=clock, log=log, rng=random.Random(1)), clock, log


def test_a_transient_failure_is_tried_again_and_logged_without_the_query() -> None:
    again, clock, log = retrier()
    call = Failing(ServerFault("500"), Unreachable("reset"))
    assert again.call(call, cancel=Token(clock), op="get", subject="https://user:pw@host/x?sig=secret") == "done"
    assert call.calls == 3
    assert [event.fields["subject"] for event in log.named("retry")] == ["https://host/x"] * 2
    assert 0 < clock.monotonic_s() < 1


def test_a_permanent_failure_is_raised_at_once() -> None:
    again, clock, _ = retrier()
    call = Failing(AccessDenied("403"))
    with pytest.raises(AccessDenied):
        again.call(call, cancel=Token(clock), op="get", subject="s3://b/k")
    assert call.calls == 1


def test_patience_ends_with_the_deadline_and_the_last_error() -> None:
    again, clock, _ = retrier(RetryPolicy(deadline_s=60))
    with pytest.raises(ServerFault):
        again.call(Failing(*[ServerFault("503")] * 1000), cancel=Token(clock), op="get", subject="s3://b/k")
    assert 60 <= clock.monotonic_s() < 90


def test_a_store_that_never_answered_gets_less_patience_than_one_that_did() -> None:
    again, clock, _ = retrier(RetryPolicy(deadline_s=300, first_contact_s=30))
    with pytest.raises(Unreachable):
        again.call(Failing(*[Unreachable("refused")] * 1000), cancel=Token(clock), op="get", subject="s3://b/k")
    assert 30 <= clock.monotonic_s() < 60
    again.call(Failing(), cancel=Token(clock), op="get", subject="s3://b/k")
    began_s = clock.monotonic_s()
    with pytest.raises(Unreachable):
        again.call(Failing(*[Unreachable("refused")] * 1000), cancel=Token(clock), op="get", subject="s3://b/k")
    assert clock.monotonic_s() - began_s >= 300


def test_who_gives_credentials_may_begin_some_seconds_late_but_not_many() -> None:
    again, clock, _ = retrier(RetryPolicy(identity_s=10))
    silent = NoIdentity("nobody answered")
    with pytest.raises(NoIdentity):
        again.call(Failing(*[silent] * 1000), cancel=Token(clock), op="get", subject="s3://b/k")
    assert 10 <= clock.monotonic_s() < 31
    again.call(Failing(silent, silent, silent), cancel=Token(clock), op="get", subject="s3://b/k")
    # Once it has answered it is there: what renews a token later may be away for as long as a store.
    began_s = clock.monotonic_s()
    with pytest.raises(NoIdentity):
        again.call(Failing(*[silent] * 1000), cancel=Token(clock), op="get", subject="s3://b/k")
    assert clock.monotonic_s() - began_s >= 300


def test_what_the_store_asks_for_is_waited() -> None:
    again, clock, _ = retrier()
    again.call(Failing(Throttled("429", retry_after_s=17)), cancel=Token(clock), op="get", subject="s3://b/k")
    assert 17 <= clock.monotonic_s() < 18


def test_content_that_keeps_changing_is_given_up_after_a_few_attempts() -> None:
    again, clock, _ = retrier(RetryPolicy(content_attempts=3))
    call = Failing(*[ObjectChanged("changed")] * 10)
    with pytest.raises(ObjectChanged):
        again.call(call, cancel=Token(clock), op="get", subject="s3://b/k")
    assert call.calls == 3


def test_waits_grow_to_their_bound_and_no_further() -> None:
    again, _, _ = retrier(RetryPolicy(first_wait_s=1, max_wait_s=8))
    patience = again.patience()
    waits = []
    for attempt in range(1, 12):
        patience.attempts = attempt
        waits.append(again.wait_s(ServerFault("x"), patience))
    assert all(2 ** (n) / 2 <= wait <= 2**n for n, wait in enumerate(waits[:3]))
    assert all(4 <= wait <= 8 for wait in waits[3:])
