"""Batched, cached, bounded, patient, and every value told to the redactor."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

from copilot.core.errors import (
    CopilotError,
    DeadlineExceeded,
    SecretDenied,
    SecretNotFound,
    SecretThrottled,
    SecretUnreachable,
)
from copilot.core.secret_forms import leaves
from copilot.core.secret_refs import parse_ref
from copilot.engine.cancel import Token
from copilot.engine.retry import RetryPolicy
from copilot.secrets.registry import ProviderContext, Providers
from copilot.secrets.resolver import Resolver
from copilot.secrets.settings import SecretSettings
from copilot.secrets.values import Lease, Payload
from copilot.telemetry.redact import Redactor
from copilot.testing.clock import FakeClock
from copilot.testing.recording import RecordingLog

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretProvider, SecretRef, SecretValue


class ScriptedManager:
    """A manager in memory, of the provider's port: it fails as told, and remembers what it was asked."""

    def __init__(self, context: ProviderContext) -> None:
        self.max_batch = 3
        self.clock = context.clock
        self.values: dict[str, bytes] = {}
        self.asked: list[list[str]] = []
        self.failures: list[CopilotError] = []
        self.leased = False
        self.lent: list[str] = []
        self.revoked: list[str] = []
        self.closed = 0
        self.together = 0
        self.most_together = 0
        self.gate: threading.Barrier | None = None
        self._lock = threading.Lock()

    def resolve(self, refs: Sequence[SecretRef], cancel: CancelToken) -> Mapping[SecretRef, SecretValue]:
        cancel.check()
        with self._lock:
            self.asked.append([ref.name for ref in refs])
            failure = self.failures.pop(0) if self.failures else None
            self.together += 1
            self.most_together = max(self.most_together, self.together)
        try:
            if self.gate is not None:
                self.gate.wait(timeout=10)
            if failure is not None:
                raise failure
            found = {}
            for ref in refs:
                if ref.name not in self.values:
                    raise SecretNotFound("no such secret", subject=ref.name)
                lease = None
                if self.leased:
                    lease = Lease(f"lease-{len(self.lent)}", 60, renewable=True, expires_at_s=self.clock.monotonic_s() + 60)
                    self.lent.append(lease.lease_id)
                found[ref] = Payload(raw=self.values[ref.name], version="1", lease=lease).pick(ref)
            return found
        finally:
            with self._lock:
                self.together -= 1

    def renew(self, value: SecretValue, cancel: CancelToken) -> SecretValue:
        cancel.check()
        return value

    def revoke(self, value: SecretValue, cancel: CancelToken) -> None:
        cancel.check()
        self.revoked.append(value.lease.lease_id)  # type: ignore[attr-defined] # only leased values come here

    def close(self, cancel: CancelToken) -> None:
        cancel.check()
        self.closed += 1

    def whoami(self, cancel: CancelToken) -> str:
        cancel.check()
        return "the test"


class Setting:
    """A resolver over one scripted manager."""

    def __init__(self, *, policy: RetryPolicy | None = None, max_workers: int = 4) -> None:
        self.clock = FakeClock()
        self.log = RecordingLog()
        self.redactor = Redactor()
        context = ProviderContext(SecretSettings(), self.clock)
        providers = Providers(context, registry={"my": (f"{__name__}:unused", "")})
        self.manager = ScriptedManager(context)
        provider: SecretProvider = self.manager
        providers._opened["my"] = provider
        self.resolver = Resolver(
            providers,
            clock=self.clock,
            log=self.log,
            known=self.redactor.register,
            policy=policy or RetryPolicy(deadline_s=60),
            max_workers=max_workers,
        )
        self.cancel = Token(self.clock)

    def refs(self, *names: str) -> list[SecretRef]:
        for name in names:
            self.manager.values.setdefault(name.partition("#")[0], f"value of {name}".encode())
        return [parse_ref(f"my://{name}") for name in names]


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_a_secret_is_read_once_a_process_and_again_when_refreshed(setting: Setting) -> None:
    refs = setting.refs("a", "b")
    first = setting.resolver.resolve(refs, setting.cancel)
    assert setting.resolver.resolve(refs, setting.cancel) == first
    assert setting.manager.asked == [["a", "b"]]
    setting.manager.values["a"] = b"another"
    again = setting.resolver.resolve(refs[:1], setting.cancel, refresh=True)
    assert again[refs[0]].reveal() == b"another"
    assert setting.resolver.resolve(refs[:1], setting.cancel)[refs[0]].reveal() == b"another"
    assert len(setting.manager.asked) == 2


def test_reads_are_batched_as_the_manager_can(setting: Setting) -> None:
    refs = setting.refs(*(f"s{number}" for number in range(7)))
    setting.resolver.resolve(refs, setting.cancel)
    assert sorted(map(len, setting.manager.asked)) == [1, 3, 3]


def test_every_key_of_a_secret_costs_one_read_also_when_asked_later(setting: Setting) -> None:
    setting.manager.values["db"] = json.dumps({"user": "u", "password": "p"}).encode()
    user, password, whole = (parse_ref(f"my://db{key}") for key in ("#user", "#password", ""))
    setting.resolver.resolve([user], setting.cancel)
    assert setting.resolver.resolve([password, whole], setting.cancel)[password].reveal() == b"p"
    assert setting.manager.asked == [["db"]]


def test_no_more_requests_run_at_a_time_than_allowed() -> None:
    setting = Setting(max_workers=2)
    setting.manager.max_batch = 1
    setting.manager.gate = threading.Barrier(2)
    refs = setting.refs(*(f"s{number}" for number in range(6)))
    answer = setting.resolver.resolve(refs, setting.cancel)
    assert [answer[ref].reveal().decode() for ref in refs] == [f"value of s{number}" for number in range(6)]
    assert setting.manager.most_together == 2


def test_throttling_is_no_error_until_the_deadline(setting: Setting) -> None:
    setting.manager.failures = [SecretThrottled("slow down", retry_after_s=5), SecretUnreachable("gone"), SecretThrottled("x")]
    refs = setting.refs("a")
    assert setting.resolver.resolve(refs, setting.cancel)[refs[0]].reveal() == b"value of a"
    assert len(setting.manager.asked) == 4
    assert setting.clock.monotonic_s() >= 5
    assert len(setting.log.named("retry")) == 3

    setting.manager.failures = [SecretThrottled("slow down") for _ in range(1000)]
    began_s = setting.clock.monotonic_s()
    with pytest.raises(SecretThrottled):
        setting.resolver.resolve(refs, setting.cancel, refresh=True)
    assert 60 <= setting.clock.monotonic_s() - began_s < 120

    setting.manager.failures = [SecretThrottled("slow down") for _ in range(1000)]
    # Whichever comes first: the deadline, or the sight that there is no time for another attempt.
    with pytest.raises((DeadlineExceeded, SecretThrottled)):
        setting.resolver.resolve(refs, Token(setting.clock, timeout_s=10), refresh=True)


def test_a_manager_that_never_answered_gets_less_patience_than_one_that_did() -> None:
    policy = RetryPolicy(deadline_s=300, first_contact_s=30)
    for answered, least_s, most_s in ((False, 30, 60), (True, 300, 330)):
        setting = Setting(policy=policy)
        refs = setting.refs("a")
        if answered:
            setting.resolver.resolve(refs, setting.cancel)
        setting.manager.failures = [SecretUnreachable("gone") for _ in range(1000)]
        began_s = setting.clock.monotonic_s()
        with pytest.raises(SecretUnreachable):
            setting.resolver.resolve(refs, setting.cancel, refresh=True)
        assert least_s <= setting.clock.monotonic_s() - began_s <= most_s


def test_a_refusal_is_not_tried_again_and_is_the_error_that_is_raised(setting: Setting) -> None:
    setting.manager.max_batch = 1
    refs = setting.refs("a", "b", "c", "d", "e")
    setting.manager.failures = [SecretDenied("not for you")]
    with pytest.raises(SecretDenied):
        setting.resolver.resolve(refs, setting.cancel)
    assert setting.log.named("retry") == []


def test_what_was_lent_before_a_failure_is_given_back_at_the_end(setting: Setting) -> None:
    setting.manager.leased = True
    setting.manager.max_batch = 1
    refs = setting.refs("a")
    setting.resolver.resolve(refs, setting.cancel)
    with pytest.raises(SecretNotFound):
        setting.resolver.resolve([parse_ref("my://nope")], setting.cancel)
    setting.resolver.close(setting.cancel)
    assert setting.manager.revoked == setting.manager.lent == ["lease-0"]
    assert setting.manager.closed == 1
    assert setting.resolver.values() == {}


def test_every_value_is_masked_from_then_on_with_the_fields_inside_it(setting: Setting) -> None:
    setting.manager.values["db"] = json.dumps({"user": "app", "password": "s3cr3t-field"}).encode()
    setting.resolver.resolve([parse_ref("my://db"), *setting.refs("token")], setting.cancel)
    masked = setting.redactor.mask("psql: s3cr3t-field; value of token; user app")
    assert masked == "psql: ***; ***; user app"


def test_the_log_names_what_was_read_and_no_value(setting: Setting) -> None:
    setting.resolver.resolve(setting.refs("a"), setting.cancel)
    (event,) = setting.log.named("secret.resolved")
    assert event.fields == {"ref": "my://a", "version": "1"}


def test_a_check_tells_each_apart_keeps_nothing_and_gives_leases_back(setting: Setting) -> None:
    setting.manager.leased = True
    good, bad = setting.refs("a")[0], parse_ref("my://nope")
    wrapped = parse_ref("my://w?wrapped_in=/run/x")
    answers = setting.resolver.check([good, bad, wrapped], setting.cancel)
    assert [(each.ref, each.size_bytes, type(each.error)) for each in answers] == [
        (good, 10, type(None)),
        (bad, None, SecretNotFound),
        (wrapped, None, type(None)),
    ]
    assert setting.manager.revoked == ["lease-0"]
    assert setting.resolver.values() == {}
    assert setting.resolver.whoami("my", setting.cancel) == "the test"


def test_the_first_candidate_that_exists_is_taken_and_another_error_is_not_hidden(setting: Setting) -> None:
    (there,) = setting.refs("there")
    nope = parse_ref("my://nope")
    assert setting.resolver.first([nope, there], setting.cancel)[0] == there
    with pytest.raises(SecretNotFound):
        setting.resolver.first([nope, nope], setting.cancel)
    setting.manager.failures = [SecretDenied("not for you")]
    with pytest.raises(SecretDenied):
        setting.resolver.first([nope, there], setting.cancel)


def test_an_adapters_bug_is_not_lost_on_its_thread(setting: Setting) -> None:
    setting.manager.max_batch = 1
    refs = setting.refs("a", "b")
    setting.manager.failures = [TypeError("a bug")]  # type: ignore[list-item] # what no adapter should raise
    with pytest.raises(TypeError, match="a bug"):
        setting.resolver.resolve(refs, setting.cancel)


def test_the_fields_of_a_json_secret_are_found_by_name_or_all() -> None:
    value = json.dumps(
        {"host": "db.prod.internal", "password": "long-enough", "n": {"api_key": ["nested-key"]}, "pin": 12345678}
    )
    assert leaves(value.encode()) == [b"db.prod.internal", b"long-enough", b"nested-key"]
    assert leaves(value.encode(), sensitive=True) == [b"long-enough", b"nested-key"]
    assert leaves(b"{broken") == leaves(b"plain text") == []
