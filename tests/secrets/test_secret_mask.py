"""The spellings of a secret are those that the standard library writes, and a mask over a stream misses none of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.core.secret_forms import forms
from copilot.core.secret_mask import MASK, StreamMask

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=40)


@given(TEXT)
def test_the_forms_are_what_the_standard_library_writes(text: str) -> None:
    value = text.encode()
    found = {form for form, _ in forms(value)}
    assert {value, value.hex().encode(), json.dumps(text)[1:-1].encode()} <= found
    assert {quote(value).encode(), quote(value, safe="").encode(), quote_plus(value).encode()} <= found
    assert json.dumps(text, ensure_ascii=False)[1:-1].encode() in found
    assert {base64.b64encode(value), base64.urlsafe_b64encode(value).rstrip(b"=")} <= found


@pytest.mark.parametrize(
    "spelled",
    [
        b"A%3a/b%20Zed%2b%26%3c%3e%21%28d%29",  # lower-case digits
        b"A%3A%2Fb%20Zed%2B%26%3C%3E!(d)",  # JavaScript's encodeURIComponent
        b"A:/b Zed+\\u0026\\u003c\\u003e!(d)",  # Go's JSON
    ],
)
def test_other_languages_spellings_are_known(spelled: bytes) -> None:
    assert masked([b"A:/b Zed+&<>!(d)"], [b"<", spelled, b">"]) == b"<***>"


@given(st.binary(min_size=60, max_size=300), st.sampled_from([b"\n", b"\r\n"]), st.sampled_from([b"", b"\n", b"more"]))
def test_base64_in_lines_is_found(value: bytes, end: bytes, after: bytes) -> None:
    lines = base64.encodebytes(value + after).replace(b"\n", end)
    assert any(form in lines for form, kind in forms(value) if kind == "base64" and end in form)


@pytest.mark.parametrize("spell", [bytes, base64.encodebytes])
def test_a_secret_of_several_lines_is_masked_where_something_stands_before_each(spell: Callable[[bytes], bytes]) -> None:
    key = b"-----BEGIN KEY-----\n" + base64.encodebytes(bytes(range(150))) + b"-----END KEY-----\n"
    written = spell(key).splitlines()
    text = masked([key], [b"12:30:01 " + line + b"\n" for line in written])
    assert not [line for line in written[:-1] if line in text]  # a last line of base64 may be too short to be looked for
    assert text.startswith(b"12:30:01 ***\n12:30:01 ***\n")
    assert masked([key], [b"<", key.rstrip(), b">"]) == b"<***>"


def test_of_a_json_secret_the_fields_that_sound_secret_are_masked_as_well() -> None:
    secret = json.dumps({"user": "postgres", "password": 'p"ss-w\u00f6rd'}).encode()
    assert masked([secret], [b'postgres: p"ss-w', "\u00f6rd".encode(), b" refused"]) == b"postgres: *** refused"


@given(st.binary(min_size=6, max_size=60), st.binary(max_size=5), st.binary(max_size=5))
def test_a_value_is_found_inside_whatever_was_base64_encoded_around_it(value: bytes, before: bytes, after: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(before + value + after)
        assert any(form in whole for form, kind in forms(value) if kind == "base64")


def masked(values: list[bytes], chunks: list[bytes]) -> bytes:
    mask = StreamMask(values)
    return b"".join([*map(mask.feed, chunks), mask.finish()])


@given(TEXT, st.lists(st.sampled_from([b"a", b"Zz", b"\n", b"=", b"longer text "])), st.data())
def test_a_secret_is_masked_wherever_the_stream_is_cut(secret: str, around: list[bytes], data: st.DataObject) -> None:
    value = secret.encode()
    spelled = data.draw(st.sampled_from(sorted({value, base64.b64encode(value), quote(value).encode()})))
    whole = b"".join(around) + spelled + b"".join(reversed(around)) + spelled
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    chunks = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert value not in masked([value], chunks).replace(MASK, b"\0")
    assert masked([value], chunks).count(MASK) >= 1


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_what_holds_no_secret_passes_unchanged_and_without_delay(chunks: list[bytes]) -> None:
    mask = StreamMask([b"\xff-s3cret-\xfe"])
    passed = b""
    for chunk in chunks:
        passed += mask.feed(chunk)
    assert passed + mask.finish() == b"".join(chunks)
    assert StreamMask([b"s3cret-value"]).feed(b"a line\n") == b"a line\n"


@given(st.binary(min_size=6, max_size=20), st.integers(1, 30), st.integers(1, 7))
def test_repeated_secrets_are_masked_and_nothing_of_them_is_left(value: bytes, times: int, step: int) -> None:
    whole = b"<" + value * times + b">"
    text = masked([value], [whole[at : at + step] for at in range(0, len(whole), step)])
    assert value not in text.replace(MASK, b"")
    assert text.startswith((b"<", MASK))


def test_what_is_learned_later_is_masked_from_then_on() -> None:
    mask = StreamMask([b"the-first"])
    assert mask.feed(b"the-first the-second ") == b"*** the-second "
    mask.learn([b"the-second"])
    assert mask.feed(b"the-first the-se") == b"*** "
    mask.learn([])
    assert mask.feed(b"cond\n") + mask.finish() == b"***\n"


def test_short_values_are_left_alone() -> None:
    assert masked([b"abc"], [b"abcabc"]) == b"abcabc"


def test_a_longer_secret_that_begins_like_a_shorter_one_is_masked_whole() -> None:
    assert masked([b"s3cret", b"s3cret-and-more"], [b"x s3cret", b"-and-mo", b"re y"]) == b"x *** y"
