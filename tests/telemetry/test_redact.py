"""Secrets are masked in every spelling they travel in."""

from __future__ import annotations

import base64
import io
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.telemetry.log import JsonLog, TextLog
from copilot.telemetry.redact import MASK, Redactor, spellings
from copilot.testing.clock import FakeClock

SECRET = 'p@ss "w/o+rd"\\é='


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
        SECRET.encode().hex(),
    ],
)
def test_each_spelling_is_masked(spelling: str) -> None:
    redactor = Redactor()
    redactor.register(SECRET.encode())
    assert redactor.mask(f"before {spelling} after") == f"before {MASK} after"


@given(st.binary(min_size=8, max_size=40), st.binary(max_size=9), st.binary(max_size=9))
def test_a_value_inside_longer_base64_cannot_be_read_back(value: bytes, before: bytes, after: bytes) -> None:
    redactor = Redactor()
    redactor.register(value)
    encoded = base64.b64encode(before + value + after).decode()
    assert MASK in redactor.mask(encoded)


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=4))
def test_no_registered_text_survives(value: str) -> None:
    redactor = Redactor()
    redactor.register(value.encode())
    assert value not in redactor.mask(f"<{value}>")


def test_a_value_too_short_to_mask_is_left_alone() -> None:
    redactor = Redactor()
    redactor.register(b"a")
    assert redactor.mask("an apple a day") == "an apple a day"
    assert not spellings(b"abc")


def test_hundreds_of_secrets_are_known_at_once() -> None:
    redactor = Redactor()
    for number in range(300):
        redactor.register(f"s3cret-value-of-{number}-{number**9}".encode())
    assert redactor._pattern is None  # one pattern for all of them, not one after each
    assert redactor.mask(f"<s3cret-value-of-299-{299**9}>") == f"<{MASK}>"
    redactor.register(b"one-more-s3cret")
    assert redactor.mask("<one-more-s3cret>") == f"<{MASK}>"


def test_each_line_of_a_secret_is_a_secret() -> None:
    redactor = Redactor()
    redactor.register(b"first-line\nsecond-line\n")
    assert redactor.mask("saw second-line") == f"saw {MASK}"


@pytest.mark.parametrize("kind", [JsonLog, TextLog])
def test_no_field_of_an_event_shows_a_secret(kind: type[JsonLog]) -> None:
    redactor, stream = Redactor(), io.StringIO()
    redactor.register(b"hunter2hunter2")
    log = kind(stream, clock=FakeClock(), redactor=redactor)
    log.event("x", a="hunter2hunter2", b=["hunter2hunter2"], c={"hunter2hunter2": 1}, d=ValueError("hunter2hunter2"), e=3)
    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().count(MASK) == 4


def test_a_json_line_has_its_time_level_and_event_and_small_levels_are_left_out() -> None:
    stream = io.StringIO()
    log = JsonLog(stream, clock=FakeClock(), redactor=Redactor(), level="warning", context={"command": "init"})
    log.event("unheard", level="info")
    log.event("heard", level="warning", text="two\nlines", number=1.5, nothing=None)
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert told.pop("time").endswith("Z")
    assert told == {
        "level": "warning", "event": "heard", "command": "init", "text": "two\nlines", "number": 1.5, "nothing": None,
    }  # fmt: skip


def test_a_log_that_cannot_be_written_stops_nobody() -> None:
    stream = io.StringIO()
    stream.close()
    JsonLog(stream, clock=FakeClock(), redactor=Redactor()).event("x")
