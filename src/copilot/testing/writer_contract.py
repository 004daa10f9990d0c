"""What every secret writer must do, as tests. A writer's own suite is a subclass with one fixture.

::

    class TestMine(WriterContract):
        @pytest.fixture
        def keeping(self, my_server) -> Keeping: ...
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import pytest

from copilot.core.errors import (
    Cancelled,
    SecretDenied,
    SecretError,
    SecretExists,
    SecretNotFound,
    SecretNotText,
    SecretThrottled,
)
from copilot.core.flyte_secrets import FlyteSecrets, stored_ref, stored_scope
from copilot.core.secret_ports import SecretProvider, SecretRef, SecretWriter
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock

_LABELS = {"copilot-type": "1"}


class Keeping(Protocol):
    """A writer, the provider that reads what it writes, and the manager behind both."""

    @property
    def writer(self) -> SecretWriter:
        """The writer under test."""
        ...

    @property
    def provider(self) -> SecretProvider:
        """Reads the same manager."""
        ...

    @property
    def platform(self) -> FlyteSecrets:
        """How secrets of scopes are named there."""
        ...

    @property
    def takes_binary(self) -> bool:
        """Whether bytes that are no text can be kept."""
        ...

    def reader(self) -> SecretWriter:
        """A writer whose identity may read and not write."""
        ...

    def throttle_next(self) -> None:
        """The manager asks the next call to slow down."""
        ...


class WriterContract:
    """See the module."""

    @pytest.fixture
    def cancel(self) -> Token:
        """A token with much time."""
        return Token(SystemClock(), timeout_s=60)

    @pytest.fixture
    def ref(self, keeping: Keeping) -> SecretRef:
        """A name that is not there."""
        return stored_ref(keeping.platform, "proj-0", "development", f"KEY_{secrets.token_hex(4)}")

    def test_what_was_created_is_read_by_the_same_reference(self, keeping: Keeping, ref: SecretRef, cancel: Token) -> None:
        value = 'pässwort ✓\n{"not": closed'.encode()
        keeping.writer.create(ref, value, _LABELS, cancel)
        assert keeping.provider.resolve([ref], cancel)[ref].reveal() == value

    def test_bytes_that_are_no_text_are_kept_or_refused(self, keeping: Keeping, ref: SecretRef, cancel: Token) -> None:
        value = bytes(range(256))
        if not keeping.takes_binary:
            with pytest.raises(SecretNotText) as caught:
                keeping.writer.create(ref, value, {}, cancel)
            assert "base64" in caught.value.hint
            with pytest.raises(SecretNotFound):
                keeping.writer.describe(ref, cancel)
            return
        keeping.writer.create(ref, value, {}, cancel)
        assert keeping.provider.resolve([ref], cancel)[ref].reveal() == value

    def test_a_name_is_taken_once(self, keeping: Keeping, ref: SecretRef, cancel: Token) -> None:
        keeping.writer.create(ref, b"first", {}, cancel)
        with pytest.raises(SecretExists) as caught:
            keeping.writer.create(ref, b"second", {}, cancel)
        assert caught.value.hint
        assert keeping.provider.resolve([ref], cancel)[ref].reveal() == b"first"

    def test_another_value_takes_the_place_of_the_first(self, keeping: Keeping, ref: SecretRef, cancel: Token) -> None:
        keeping.writer.create(ref, b"first", _LABELS, cancel)
        keeping.writer.update(ref, b"second", {"copilot-type": "2"}, cancel)
        assert keeping.provider.resolve([ref], cancel)[ref].reveal() == b"second"
        assert keeping.writer.describe(ref, cancel).labels["copilot-type"] == "2"

    def test_what_is_there_is_described_without_its_value(self, keeping: Keeping, ref: SecretRef, cancel: Token) -> None:
        keeping.writer.create(ref, b"s3cr3t-value", _LABELS, cancel)
        found = keeping.writer.describe(ref, cancel)
        assert stored_scope(keeping.platform, found.name) == stored_scope(keeping.platform, ref.name.rpartition("/")[2])
        assert found.labels["copilot-type"] == "1"
        assert found.created_at_s is not None
        assert abs(found.created_at_s - SystemClock().now_s()) < 3600
        assert "s3cr3t" not in repr(found)

    def test_what_is_not_there_is_said_of_every_operation(self, keeping: Keeping, ref: SecretRef, cancel: Token) -> None:
        writer = keeping.writer
        for work in (
            lambda: writer.update(ref, b"x", {}, cancel),
            lambda: writer.describe(ref, cancel),
            lambda: writer.delete(ref, cancel),
        ):
            with pytest.raises(SecretNotFound) as caught:
                work()
            assert caught.value.subject
            assert not caught.value.transient

    def test_what_was_deleted_is_gone_and_its_name_is_free_again(self, keeping: Keeping, ref: SecretRef, cancel: Token) -> None:
        keeping.writer.create(ref, b"first", {}, cancel)
        keeping.writer.delete(ref, cancel)
        with pytest.raises(SecretError):
            keeping.provider.resolve([ref], cancel)
        for work in (keeping.writer.describe, keeping.writer.delete):
            with pytest.raises(SecretNotFound):
                work(ref, cancel)
        with pytest.raises(SecretNotFound):
            keeping.writer.update(ref, b"x", {}, cancel)
        keeping.writer.create(ref, b"second", _LABELS, cancel)
        assert keeping.provider.resolve([ref], cancel)[ref].reveal() == b"second"
        assert keeping.writer.describe(ref, cancel).labels["copilot-type"] == "1"

    def test_a_list_has_every_page_and_nothing_deleted_or_foreign(self, keeping: Keeping, cancel: Token) -> None:
        keys = {f"LISTED_{secrets.token_hex(4)}" for _ in range(5)}
        for key in keys:
            keeping.writer.create(stored_ref(keeping.platform, "proj-0", "development", key), b"x", {}, cancel)
        gone = stored_ref(keeping.platform, "proj-0", "development", f"LISTED_{secrets.token_hex(4)}")
        keeping.writer.create(gone, b"x", {}, cancel)
        keeping.writer.delete(gone, cancel)
        keeping.writer.create(stored_ref(keeping.platform, "", "", "LISTED_BY_ALL"), b"x", {}, cancel)
        within = stored_ref(keeping.platform, "proj-0", "development", "x")
        # Everything before the scope's own parts is common to all of the platform's names.
        begin = SecretRef(within.provider, _common(within.name), within.key, None, within.options)
        scopes = [stored_scope(keeping.platform, each.name) for each in keeping.writer.list(begin, cancel)]
        mine = {scope[2] for scope in scopes if scope is not None and scope[2].startswith("LISTED_") and scope[0]}
        assert mine == keys
        assert ("", "", "LISTED_BY_ALL") in scopes

    def test_who_may_not_write_is_told_which_right_is_missing(self, keeping: Keeping, ref: SecretRef, cancel: Token) -> None:
        keeping.writer.create(ref, b"value", {}, cancel)
        reader = keeping.reader()
        other = stored_ref(keeping.platform, "proj-0", "development", f"KEY_{secrets.token_hex(4)}")
        refused: dict[str, Callable[[], None]] = {
            "create": lambda: reader.create(other, b"x", {}, cancel),
            "update": lambda: reader.update(ref, b"x", {}, cancel),
            "delete": lambda: reader.delete(ref, cancel),
        }
        for verb, work in refused.items():
            with pytest.raises(SecretDenied) as caught:
                work()
            assert f"may not {verb} secrets" in caught.value.message
            assert "Grant it" in caught.value.hint
        assert keeping.provider.resolve([ref], cancel)[ref].reveal() == b"value"

    def test_being_asked_to_slow_down_is_no_refusal(self, keeping: Keeping, ref: SecretRef, cancel: Token) -> None:
        keeping.throttle_next()
        with pytest.raises(SecretThrottled) as caught:
            keeping.writer.create(ref, b"value", {}, cancel)
        assert caught.value.transient
        keeping.writer.create(ref, b"value", {}, cancel)
        assert keeping.provider.resolve([ref], cancel)[ref].reveal() == b"value"

    def test_no_error_shows_a_value(self, keeping: Keeping, ref: SecretRef, cancel: Token) -> None:
        keeping.writer.create(ref, b"s3cr3t-first", {}, cancel)
        with pytest.raises(SecretExists) as caught:
            keeping.writer.create(ref, b"s3cr3t-second", {}, cancel)
        assert "s3cr3t" not in f"{caught.value!r} {caught.value.sentence()} {caught.value.__cause__!r}"

    def test_a_cancelled_request_is_not_made(self, keeping: Keeping, ref: SecretRef, cancel: Token) -> None:
        cancel.cancel()
        with pytest.raises(Cancelled):
            keeping.writer.create(ref, b"x", {}, cancel)
        with pytest.raises(SecretNotFound):
            keeping.writer.describe(ref, Token(SystemClock()))

    def test_many_threads_may_write_at_once(self, keeping: Keeping, cancel: Token) -> None:
        refs = [stored_ref(keeping.platform, "proj-0", "development", f"MANY_{secrets.token_hex(4)}") for _ in range(8)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda ref: keeping.writer.create(ref, ref.name.encode(), {}, cancel), refs))
        for ref in refs:
            assert keeping.provider.resolve([ref], cancel)[ref].reveal() == ref.name.encode()


def _common(name: str) -> str:
    directory, slash, last = name.rpartition("/")
    end = last.index("-", 2) if last.startswith("1-") else last.index("domain__")
    return directory + slash + last[:end]
