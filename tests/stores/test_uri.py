from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.core.errors import BadFlag
from copilot.core.uri import Uri, as_prefix, join, parse, redact, relative_key

KEYS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
BUCKETS = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-", min_size=1, max_size=20)


@given(st.sampled_from(["s3", "gs", "az", "redis", "custom+x"]), BUCKETS, KEYS)
def test_a_key_is_taken_verbatim(scheme: str, bucket: str, key: str) -> None:
    uri = parse(f"{scheme}://{bucket}/{key}")
    assert uri == Uri(scheme, bucket, key)
    assert str(uri) == f"{scheme}://{bucket}/{key}"


@given(BUCKETS, st.lists(KEYS.filter(lambda key: not key.startswith("/")), min_size=1, max_size=3))
def test_what_is_joined_is_below(bucket: str, names: list[str]) -> None:
    base = f"s3://{bucket}/p"
    joined = parse(join(base, *names))
    assert joined.authority == bucket
    assert relative_key("p", joined.key).startswith(names[0])


@given(st.text(max_size=60))
def test_any_text_can_be_redacted(text: str) -> None:
    assert isinstance(redact(text), str)


@given(st.sampled_from(["http", "https"]), st.text("abc%#?&=/:@ é", max_size=30))
def test_no_query_and_no_password_is_ever_shown(scheme: str, tail: str) -> None:
    shown = redact(f"{scheme}://user:hunter2@host/path?token=hunter2&{tail}")
    assert "hunter2" not in shown
    assert shown.startswith(f"{scheme}://host/path")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://b/a#b?c% d", Uri("s3", "b", "a#b?c% d")),
        ("S3://B/k", Uri("s3", "B", "k")),
        ("s3://b", Uri("s3", "b", "")),
        ("s3://b//k", Uri("s3", "b", "/k")),
        ("file:///a/b%20c", Uri("file", "", "/a/b%20c")),
        ("file://localhost/a", Uri("file", "", "/a")),
        ("file:/a", Uri("file", "", "/a")),
        ("/a/b", Uri("file", "", "/a/b")),
        ("a:b/c", Uri("file", "", "a:b/c")),
        ("relative", Uri("file", "", "relative")),
        ("abfss://c@acc.dfs.core.windows.net/k", Uri("abfss", "c@acc.dfs.core.windows.net", "k")),
        ("https://h/p?x=1#frag", Uri("https", "h", "p?x=1")),
        ("https://h?x=1", Uri("https", "h", "?x=1")),
        ("http://u:p@h:1/p", Uri("http", "u:p@h:1", "p")),
        ("redis:///k", Uri("redis", "", "k")),
        ("memory:///k", Uri("memory", "", "k")),
    ],
)
def test_spellings(text: str, expected: Uri) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["", "s3:///k", "http:///p", "https://u@/p", "file://host/p", "s3://b/\0", "gs://"])
def test_what_is_no_uri_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(BadFlag) as caught:
        parse(text)
    assert caught.value.hint


def test_a_refusal_shows_no_password() -> None:
    with pytest.raises(BadFlag) as caught:
        parse("https://user:hunter2@/p?sig=hunter2")
    assert "hunter2" not in caught.value.sentence()


def test_messages_show_neither_user_nor_query() -> None:
    assert parse("https://u:p@h/a?sig=x").redacted() == "https://h/a"
    assert parse("redis://:pw@h:1/k").redacted() == "redis://h:1/k"
    assert parse("abfs://c@acc.dfs.core.windows.net/k").redacted() == "abfs://c@acc.dfs.core.windows.net/k"


def test_a_sibling_is_not_below() -> None:
    assert relative_key("a", "a/b") == "b"
    with pytest.raises(ValueError, match="not below"):
        relative_key("a", "ab/c")


def test_a_query_stays_at_the_end_of_a_joined_url() -> None:
    assert join("https://h/p?sas", "x", "y") == "https://h/p/x/y?sas"
    assert join("s3://b/p/", "x?y") == "s3://b/p/x?y"


def test_a_prefix_ends_at_its_slash() -> None:
    assert (as_prefix(""), as_prefix("a"), as_prefix("a/")) == ("", "a/", "a/")


def test_names_of_files() -> None:
    assert parse("s3://b/a/b.txt/").basename == "b.txt"
    assert parse("https://h/d/f.csv?x=/y").basename == "f.csv"
