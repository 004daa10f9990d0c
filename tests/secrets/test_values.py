"""A value does not get out but through ``reveal()``."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from copilot.core.errors import SecretKeyMissing, SecretNotText
from copilot.core.secret_ports import SecretRef, SecretValue
from copilot.core.secret_refs import parse_ref
from copilot.secrets.values import Lease, Payload, Secret, text_of

SECRET = "s3cr3t-äöü-value"


def test_a_value_prints_as_redacted_in_every_way() -> None:
    value = Payload(raw=SECRET.encode(), version="7").pick(parse_ref("aws://x"))
    assert isinstance(value, SecretValue)
    for text in (repr(value), str(value), f"{value}", f"{value:>20}", "%s" % value, repr([value]), repr(value.payload)):  # noqa: UP031
        assert SECRET not in text
        assert "<" in text
    assert value.reveal() == SECRET.encode()
    assert value.version == "7"


@pytest.mark.parametrize("copier", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_value_is_neither_pickled_nor_copied(copier: object) -> None:
    assert callable(copier)
    with pytest.raises(TypeError, match="not pickled"):
        copier(Secret(b"x"))
    with pytest.raises(TypeError, match="not pickled"):
        copier(Payload(raw=b"x"))


def test_a_value_has_no_dictionary_to_look_into() -> None:
    assert not hasattr(Secret(b"x"), "__dict__")


DOCUMENT = json.dumps({"user": "app", "port": 5432, "a/b": "slash", "nested": {"list": ["zero", {"deep": "here"}]}}).encode()


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("user", b"app"),
        ("port", b"5432"),
        ("a/b", b"slash"),
        ("/a~1b", b"slash"),
        ("/nested/list/1/deep", b"here"),
        ("/nested/list", b'["zero", {"deep": "here"}]'),
    ],
)
def test_a_key_picks_one_field_of_a_json_secret(key: str, found: bytes) -> None:
    assert Payload(raw=DOCUMENT).pick(SecretRef("aws", "db", key)).reveal() == found


@pytest.mark.parametrize("key", ["password", "/nested/none", "/nested/list/9", "/user/x", "nested/list"])
def test_a_missing_key_names_what_there_is_and_no_value(key: str) -> None:
    with pytest.raises(SecretKeyMissing) as caught:
        Payload(raw=DOCUMENT).pick(SecretRef("aws", "db", key))
    sentence = caught.value.sentence()
    assert key in sentence
    assert "app" not in sentence
    assert "here" not in sentence


def test_the_key_of_a_secret_that_is_no_json_is_missing_and_nothing_of_it_is_kept_in_the_error() -> None:
    with pytest.raises(SecretKeyMissing) as caught:
        Payload(raw=SECRET.encode()).pick(SecretRef("aws", "db", "k"))
    assert caught.value.__cause__ is None
    assert SECRET not in caught.value.sentence()


def test_fields_come_each_alone_or_as_one_json_object() -> None:
    payload = Payload(fields={"user": b"app", "options": b'{"a": 1}'})
    assert payload.pick(SecretRef("vault", "kv/app", "user")).reveal() == b"app"
    assert json.loads(payload.pick(SecretRef("vault", "kv/app")).reveal()) == {"user": "app", "options": {"a": 1}}
    with pytest.raises(SecretKeyMissing, match="no field nope"):
        payload.pick(SecretRef("vault", "kv/app", "nope"))


def test_binary_fields_cannot_be_one_json_object() -> None:
    with pytest.raises(SecretNotText) as caught:
        Payload(fields={"cert": b"\xff\xfe"}).pick(SecretRef("k8s", "tls"))
    assert "cert" in caught.value.hint


def test_siblings_live_on_one_lease() -> None:
    lease = Lease("database/creds/app/1", 60, renewable=True, expires_at_s=60)
    user = Payload(fields={"username": b"u", "password": b"p"}, lease=lease).pick(SecretRef("vault", "d/creds/a", "username"))
    password = user.sibling(SecretRef("vault", "d/creds/a", "password"))
    assert password.reveal() == b"p"
    assert password.lease is lease


@pytest.mark.parametrize("value", [b"\xff\x00", b"a\0b"])
def test_binary_is_refused_where_text_is_wanted(value: bytes) -> None:
    with pytest.raises(SecretNotText) as caught:
        text_of(Secret(value), SecretRef("aws", "key"), place="the variable KEY")
    assert "the variable KEY" in caught.value.message
    assert caught.value.__context__ is None or not isinstance(caught.value.__context__, UnicodeDecodeError)
