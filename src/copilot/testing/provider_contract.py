"""What every secret provider must do, as tests. A provider's own suite is a subclass with one fixture.

::

    class TestMine(ProviderContract):
        @pytest.fixture
        def world(self, my_server) -> SecretWorld: ...
"""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

import pytest

from copilot.core.errors import BadSecretRef, Cancelled, SecretError, SecretKeyMissing, SecretNotFound
from copilot.core.secret_ports import SecretProvider, SecretRef, SecretValue
from copilot.engine.cancel import Token
from copilot.testing.clock import FakeClock


class SecretWorld(Protocol):
    """A provider and the manager behind it, which is written to past the provider."""

    @property
    def provider(self) -> SecretProvider:
        """The provider under test, with an identity that may read what ``put`` writes."""
        ...

    @property
    def takes_binary(self) -> bool:
        """Whether the manager keeps bytes that are no text."""
        ...

    @property
    def keeps_versions(self) -> bool:
        """Whether an older version can be read after a new one was written."""
        ...

    def put(self, value: bytes, ref: SecretRef | None = None) -> SecretRef:
        """Writes a new secret, or a new version of ``ref``; a reference that reads just ``value``."""
        ...

    def put_object(self, fields: dict[str, str]) -> SecretRef:
        """Writes a secret with fields; a reference without a key."""
        ...

    def missing(self) -> SecretRef:
        """A reference to a secret that is not there."""
        ...


class ProviderContract:
    """See the module."""

    @pytest.fixture
    def cancel(self) -> Token:
        """A token nobody ends."""
        return Token(FakeClock())

    def test_a_value_comes_back_byte_for_byte(self, world: SecretWorld, cancel: Token) -> None:
        for text in ("hunter2", "päss wörd ✓", "line\nline\n", '{"not": "closed', "a=b&c%20d#e", "x" * 20_000):
            ref = world.put(text.encode())
            assert world.provider.resolve([ref], cancel)[ref].reveal() == text.encode()

    def test_bytes_that_are_no_text_come_back_too(self, world: SecretWorld, cancel: Token) -> None:
        if not world.takes_binary:
            return
        value = bytes(range(256))
        ref = world.put(value)
        assert world.provider.resolve([ref], cancel)[ref].reveal() == value

    def test_a_value_never_prints(self, world: SecretWorld, cancel: Token) -> None:
        value = f"v{secrets.token_hex(8)}"
        ref = world.put(value.encode())
        answer = world.provider.resolve([ref], cancel)
        assert isinstance(answer[ref], SecretValue)
        assert value not in f"{answer!r} {answer[ref]} {answer[ref]!r}"

    def test_fields_are_picked_by_key(self, world: SecretWorld, cancel: Token) -> None:
        whole = world.put_object({"user": "app", "password": "p-äöü", "odd key/name": "x"})
        refs = [replace(whole, key=key) for key in ("user", "password", "odd key/name")]
        answer = world.provider.resolve(refs, cancel)
        assert [answer[ref].reveal().decode() for ref in refs] == ["app", "p-äöü", "x"]

    def test_a_secret_with_fields_is_one_json_object_without_a_key(self, world: SecretWorld, cancel: Token) -> None:
        whole = world.put_object({"user": "app", "password": "pässword"})
        assert json.loads(world.provider.resolve([whole], cancel)[whole].reveal()) == {"user": "app", "password": "pässword"}

    def test_a_wrong_key_says_which_there_are_and_shows_no_value(self, world: SecretWorld, cancel: Token) -> None:
        ref = replace(world.put_object({"user": "s3cr3t-app", "password": "s3cr3t-word"}), key="pasword")
        with pytest.raises(SecretKeyMissing) as caught:
            world.provider.resolve([ref], cancel)
        assert "pasword" in caught.value.message
        assert "password" in caught.value.hint
        assert "s3cr3t" not in caught.value.sentence()

    def test_what_is_not_there_is_not_found_with_a_subject_and_a_hint(self, world: SecretWorld, cancel: Token) -> None:
        with pytest.raises(SecretNotFound) as caught:
            world.provider.resolve([world.missing()], cancel)
        assert caught.value.subject
        assert caught.value.hint
        assert not caught.value.transient

    def test_many_come_together_and_one_that_is_missing_fails_them_all(self, world: SecretWorld, cancel: Token) -> None:
        refs = [world.put(f"value {number}".encode()) for number in range(25)]
        answer = world.provider.resolve(refs, cancel)
        assert [answer[ref].reveal() for ref in refs] == [f"value {number}".encode() for number in range(25)]
        with pytest.raises(SecretNotFound):
            world.provider.resolve([*refs, world.missing()], cancel)

    def test_a_new_value_is_seen_at_once(self, world: SecretWorld, cancel: Token) -> None:
        ref = world.put(b"before")
        assert world.provider.resolve([ref], cancel)[ref].reveal() == b"before"
        world.put(b"after", ref)
        assert world.provider.resolve([ref], cancel)[ref].reveal() == b"after"

    def test_an_older_version_can_be_named(self, world: SecretWorld, cancel: Token) -> None:
        if not world.keeps_versions:
            with pytest.raises(BadSecretRef):
                world.provider.resolve([replace(world.put(b"x"), version="1")], cancel)
            return
        ref = world.put(b"first")
        version = world.provider.resolve([ref], cancel)[ref].version
        world.put(b"second", ref)
        pinned = replace(ref, version=version)
        answer = world.provider.resolve([ref, pinned], cancel)
        assert (answer[pinned].reveal(), answer[ref].reveal()) == (b"first", b"second")
        assert answer[pinned].version == version != answer[ref].version

    def test_an_option_nobody_knows_is_refused(self, world: SecretWorld, cancel: Token) -> None:
        ref = world.put(b"x")
        with pytest.raises(BadSecretRef, match="option regoin"):
            world.provider.resolve([replace(ref, options={**ref.options, "regoin": "x"})], cancel)

    def test_a_cancelled_request_is_not_made(self, world: SecretWorld, cancel: Token) -> None:
        ref = world.put(b"x")
        cancel.cancel()
        with pytest.raises(Cancelled):
            world.provider.resolve([ref], cancel)

    def test_many_threads_may_ask_at_once(self, world: SecretWorld, cancel: Token) -> None:
        refs = [world.put(f"value {number}".encode()) for number in range(12)]
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda ref: world.provider.resolve([ref], cancel)[ref].reveal(), refs))
        assert answers == [f"value {number}".encode() for number in range(12)]

    def test_a_value_without_a_lease_is_renewed_to_itself_and_revoked_to_nothing(
        self, world: SecretWorld, cancel: Token
    ) -> None:
        ref = world.put(b"x")
        value = world.provider.resolve([ref], cancel)[ref]
        assert world.provider.renew(value, cancel) is value
        world.provider.revoke(value, cancel)
        assert world.provider.resolve([ref], cancel)[ref].reveal() == b"x"

    def test_it_says_who_we_are(self, world: SecretWorld, cancel: Token) -> None:
        who = world.provider.whoami(cancel)
        assert who
        assert "\n" not in who

    def test_its_errors_are_of_one_family(self, world: SecretWorld, cancel: Token) -> None:
        for name in ("", "/", "..", "a" * 3000, "näme ✓"):
            with pytest.raises(SecretError):
                world.provider.resolve([replace(world.missing(), name=name)], cancel)

    def test_a_session_is_ended_twice_without_complaint(self, world: SecretWorld, cancel: Token) -> None:
        ref = world.put(b"x")
        world.provider.resolve([ref], cancel)
        world.provider.close(cancel)
        world.provider.close(cancel)
