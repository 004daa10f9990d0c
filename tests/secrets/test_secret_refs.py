"""The grammar of references."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.core.errors import BadSecretRef
from copilot.core.secret_ports import SecretRef
from copilot.core.secret_refs import describe_ref, format_ref, is_ref, parse_ref

_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)


@given(
    name=_TEXT,
    key=st.none() | _TEXT,
    version=st.none() | _TEXT,
    options=st.dictionaries(_TEXT.filter(lambda text: text != "version"), _TEXT | st.just(""), max_size=3),
)
def test_a_reference_survives_being_written_and_read(
    name: str, key: str | None, version: str | None, options: dict[str, str]
) -> None:
    ref = SecretRef("vault", name, key, version, options)
    assert parse_ref(format_ref(ref)) == ref


@given(st.text())
def test_any_text_is_a_reference_or_a_clear_error(text: str) -> None:
    try:
        ref = parse_ref(text)
    except BadSecretRef as error:
        assert error.hint  # noqa: PT017 - either outcome is right, and each has its own proof
    else:
        assert parse_ref(format_ref(ref)) == ref


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("aws://prod/db#password?version=AWSCURRENT", SecretRef("aws", "prod/db", "password", "AWSCURRENT")),
        ("aws://prod/db?version=AWSCURRENT#password", SecretRef("aws", "prod/db", "password", "AWSCURRENT")),
        (
            "aws://arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf",
            SecretRef("aws", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf"),
        ),
        ("gcp://my-project/api-key?version=7", SecretRef("gcp", "my-project/api-key", None, "7")),
        ("vault://kv/app#token?namespace=team/a", SecretRef("vault", "kv/app", "token", None, {"namespace": "team/a"})),
        ("file:///run/x.json#/a/b", SecretRef("file", "/run/x.json", "/a/b")),
        ("secret+env://NAME", SecretRef("env", "NAME")),
        ("aws://a%23b%3Fc#d%20e", SecretRef("aws", "a#b?c", "d e")),
    ],
)
def test_each_part_is_found_where_people_write_it(text: str, ref: SecretRef) -> None:
    assert parse_ref(text) == ref


@pytest.mark.parametrize(
    "text",
    ["", "hunter2", "aws:prod", "aws://", "aws://#k", "aws://a#", "aws://a?version=", "aws://a?x=1&x=2", "aws://a?=1",
     "aws://a%zz", "aws://a%ff", "aws://a%00b", "aws://a%0ab"],
)  # fmt: skip
def test_what_is_no_reference_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(BadSecretRef) as caught:
        parse_ref(text)
    assert "hunter2" not in caught.value.sentence()


def test_in_the_environment_only_a_managers_scheme_or_an_explicit_one_is_a_reference() -> None:
    assert is_ref("aws://prod/db")
    assert is_ref("secret+file:///x")
    assert not is_ref("file:///etc/config")
    assert not is_ref("s3://bucket/key")
    assert not is_ref("k8s://https://10.0.0.1:443")
    assert not is_ref("postgres://u@h/db")


def test_a_description_leaves_the_options_out() -> None:
    assert describe_ref(parse_ref("vault://kv/app#token?namespace=a&version=3")) == "vault://kv/app#token"
