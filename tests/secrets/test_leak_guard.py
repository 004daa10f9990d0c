"""A secret in an output is found, however it is written and wherever chunks end."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.core.errors import SecretLeaked
from copilot.core.secret_mask import SHORTEST_BYTES
from copilot.core.secret_refs import parse_ref
from copilot.secrets.leak_guard import LeakGuard
from copilot.secrets.values import Secret

if TYPE_CHECKING:
    from copilot.engine.cancel import Token
    from copilot.testing.recording import RecordingLog

VALUE = 'p?ss "wörd"+/=&'.encode()
REF = parse_ref("aws://prod/db#password")


@pytest.fixture
def guard() -> LeakGuard:
    return LeakGuard([(REF, Secret(VALUE))])


@given(
    value=st.binary(min_size=SHORTEST_BYTES, max_size=40),
    before=st.binary(max_size=30),
    after=st.binary(max_size=30),
    chunk=st.integers(1, 17),
    form=st.sampled_from(["raw", "base64", "urlsafe", "url"]),
)
def test_a_value_is_found_in_every_form_over_every_seam(
    value: bytes, before: bytes, after: bytes, chunk: int, form: str
) -> None:
    written = {
        "raw": before + value + after,
        "base64": base64.b64encode(before + value + after),
        "urlsafe": base64.urlsafe_b64encode(before + value + after).rstrip(b"="),
        "url": quote(before, safe="").encode() + quote(value, safe="").encode() + after,
    }[form]
    guard = LeakGuard([(REF, Secret(value))])
    found = guard.scan((written[at : at + chunk] for at in range(0, len(written), chunk)), "out")
    assert found is not None
    assert found.secret == "aws://prod/db#password"
    assert found.offset <= len(written)


@pytest.mark.parametrize(
    ("written", "form"),
    [
        (VALUE, "raw"),
        (json.dumps({"p": VALUE.decode()}).encode(), "json"),
        (json.dumps({"p": VALUE.decode()}, ensure_ascii=False).encode(), "json"),
        (quote_plus(VALUE.decode()).encode(), "url"),
        (base64.b64encode(b"user:" + VALUE), "base64"),
    ],
)
def test_the_finding_says_the_form(guard: LeakGuard, written: bytes, form: str) -> None:
    found = guard.scan([b"...", written], "out")
    assert found is not None
    assert found.form == form
    assert found.where == "out"


def test_the_offset_is_where_the_value_begins(guard: LeakGuard) -> None:
    found = guard.scan([b"x" * 5_000_000, b"y" * 7, VALUE[:4], VALUE[4:], b"z"], "out")
    assert found is not None
    assert found.offset == 5_000_007


@given(st.binary(max_size=400))
def test_nothing_is_found_where_nothing_is(data: bytes) -> None:
    guard = LeakGuard([(REF, Secret(b"\x00this is not in it\xff\x01\x02"))])
    assert guard.scan([data], "out") is None


def test_values_too_short_to_mean_anything_are_not_looked_for() -> None:
    assert LeakGuard([(REF, Secret(b"12345"))]).scan([b"12345"], "out") is None


def test_a_field_of_a_json_secret_is_looked_for_by_its_name() -> None:
    guard = LeakGuard([(REF, Secret(b'{"host": "db.prod.internal", "password": "long-enough"}'))])
    assert guard.scan([b"connected to db.prod.internal"], "out") is None
    assert guard.scan([b"with long-enough"], "out") is not None


def test_a_tree_is_scanned_whole_names_included_and_links_are_not_followed(
    guard: LeakGuard, tmp_path: Path, cancel: Token
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(VALUE)
    root = tmp_path / "out"
    (root / "deep").mkdir(parents=True)
    (root / "deep/bad").write_bytes(b"x" * 3_000_000 + VALUE)
    (root / "good").write_bytes(b"nothing")
    (root / "link").symlink_to(outside)
    assert [finding.where for finding in guard.scan_tree(root, cancel)] == [str(root / "deep/bad")]
    named = LeakGuard([(REF, Secret(b"in-the-name"))])
    (root / "file-in-the-name.txt").touch()
    (finding,) = named.scan_tree(root, cancel)
    assert "in-the-name" not in repr(finding)


def test_the_policy_decides(guard: LeakGuard, tmp_path: Path, cancel: Token, log: RecordingLog) -> None:
    (tmp_path / "bad").write_bytes(VALUE)
    assert guard.enforce([tmp_path], "off", log, cancel) == []
    assert len(guard.enforce([tmp_path], "warn", log, cancel)) == 1
    (event,) = log.named("secret.leaked")
    assert event.level == "warning"
    assert VALUE.decode() not in repr(event)
    with pytest.raises(SecretLeaked) as caught:
        guard.enforce([tmp_path], "refuse", log, cancel)
    assert VALUE.decode() not in caught.value.sentence()
    assert "aws://prod/db#password" in caught.value.message


def test_a_clean_file_is_read_once_and_again_when_it_has_changed(tmp_path: Path, log: RecordingLog, cancel: Token) -> None:
    guard = LeakGuard([(REF, Secret(VALUE))])
    report = tmp_path / "report"
    report.write_bytes(b"." * len(VALUE))
    deadline_s = time.monotonic() + 20
    while not guard._clean and time.monotonic() < deadline_s:
        assert guard.enforce([tmp_path], "refuse", log, cancel) == []
        time.sleep(0.05)  # a file's age is the file system's, not a clock's of ours
    assert report in guard._clean
    times = report.stat()
    report.write_bytes(VALUE)
    os.utime(report, ns=(times.st_atime_ns, times.st_mtime_ns))  # the same size and time
    assert len(guard.enforce([tmp_path], "warn", log, cancel)) == 1
    assert len(guard.enforce([tmp_path], "warn", log, cancel)) == 1
    assert len(log.named("secret.leaked")) == 1  # told once
