"""References to values: batched, cached in the process, bounded, retried, and every value told to whoever masks the logs."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from copilot.core.errors import CopilotError, Interrupted, SecretError, SecretNotFound
from copilot.core.secret_forms import leaves
from copilot.core.secret_refs import describe_ref
from copilot.engine.cancel import Token
from copilot.engine.retry import Retrier, RetryPolicy
from copilot.secrets.providers.grouping import address
from copilot.secrets.registry import ProviderContext, Providers, forget
from copilot.secrets.values import Lease, Payload, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from copilot.core.ports import CancelToken, Clock, Log
    from copilot.core.secret_ports import SecretProvider, SecretRef, SecretValue
    from copilot.secrets.settings import SecretSettings

PATIENCE = RetryPolicy(deadline_s=120.0, max_wait_s=15.0)
"""Throttling and failures of a manager are borne for two minutes, or until the caller's deadline."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What ``check`` found of one reference.

    Attributes:
        ref: the reference.
        version: what would be read, where the manager has versions.
        size_bytes: the value's length, or None where it was not read.
        error: why it cannot be had, or None.
    """

    ref: SecretRef
    version: str | None = None
    size_bytes: int | None = None
    error: CopilotError | None = None


class Resolver:
    """Turns references into values. One a process; safe to use from many threads.

    Args:
        providers: opens them by name.
        clock: the time of deadlines and leases.
        log: hears of reads (never of values).
        known: hears of every value, so that it is masked wherever it turns up.
        policy: how patient to be with a manager that throttles or fails.
        max_workers: most requests at one time.
    """

    def __init__(
        self,
        providers: Providers,
        *,
        clock: Clock,
        log: Log,
        known: Callable[[bytes], None] = forget,
        policy: RetryPolicy = PATIENCE,
        max_workers: int = 8,
    ) -> None:
        """See the class."""
        self._providers = providers
        self._clock = clock
        self._log = log
        self._known = known
        self._policy = policy
        self._retriers: dict[str, Retrier] = {}
        self._max_workers = max_workers
        self._cache: dict[SecretRef, SecretValue] = {}
        self._leased: dict[str, tuple[SecretRef, SecretValue]] = {}
        self._ever: dict[tuple[SecretRef, bytes], SecretValue] = {}
        self._lock = threading.Lock()

    def resolve(
        self, refs: Iterable[SecretRef], cancel: CancelToken, *, refresh: bool = False
    ) -> Mapping[SecretRef, SecretValue]:
        """Every value, or the first error in the order of ``refs``.

        ``refresh`` asks the managers again. Values that can be read only once stay what they were.
        """
        wanted = list(dict.fromkeys(refs))
        found = {ref: value for ref in wanted if (value := self._remembered(ref, refresh=refresh)) is not None}
        missing = [ref for ref in wanted if ref not in found]
        if missing:
            found |= self._fetch(missing, cancel)
        return {ref: found[ref] for ref in wanted}

    def first(self, candidates: Sequence[SecretRef], cancel: CancelToken) -> tuple[SecretRef, SecretValue]:
        """The first of ``candidates`` that exists. Raises ``SecretNotFound`` when none does, any other error at once."""
        for ref in candidates[:-1]:
            try:
                return ref, self.resolve([ref], cancel)[ref]
            except SecretNotFound:
                continue
        last = candidates[-1]
        return last, self.resolve([last], cancel)[last]

    def renew(self, ref: SecretRef, cancel: CancelToken) -> SecretValue:
        """The cached value of ``ref`` on a longer lease. Raises ``SecretNotFound`` when the lease is over."""
        with self._lock:
            value = self._cache[ref]
        provider = self._providers.get(ref.provider)
        renewed = self._retry(ref.provider).call(
            lambda: provider.renew(value, cancel), cancel=cancel, op="renew", subject=describe_ref(ref)
        )
        self._keep({ref: renewed})
        self._log.event("secret.renewed", ref=describe_ref(ref), lease_s=_lease_s(renewed))
        return renewed

    def release(self, lease: Lease, cancel: CancelToken) -> None:
        """Gives one lease back, if it is still ours."""
        with self._lock:
            held = self._leased.get(lease.lease_id)
        if held is None:
            return
        ref, value = held
        provider = self._providers.get(ref.provider)
        self._retry(ref.provider).call(
            lambda: provider.revoke(value, cancel), cancel=cancel, op="revoke", subject=describe_ref(ref)
        )
        with self._lock:
            self._leased.pop(lease.lease_id, None)
        self._log.event("secret.revoked", ref=describe_ref(ref))

    def close(self, cancel: CancelToken) -> None:
        """Gives every lease back and ends every session; goes on past failures and raises the first of them at the end."""
        with self._lock:
            leases = [lease for _, value in self._leased.values() if (lease := lease_of(value)) is not None]
            self._cache.clear()
        errors: list[CopilotError] = []
        for lease in leases:
            try:
                self.release(lease, cancel)
            except CopilotError as error:
                errors.append(error)
                self._log.event("secret.revoke_failed", level="warning", reason=error.reason, error=error.message)
        for name, provider in self._providers.opened().items():
            try:
                self._retry(name).call(partial(provider.close, cancel), cancel=cancel, op="close", subject=f"{name}://")
            except CopilotError as error:
                errors.append(error)
                self._log.event("secret.close_failed", level="warning", reason=error.reason, error=error.message)
        if errors:
            raise errors[0]

    def check(self, refs: Iterable[SecretRef], cancel: CancelToken) -> list[Checked]:
        """What can be had, one answer a reference. Values are forgotten and leases given back; nothing read-once is read."""
        answers: list[Checked] = []
        read: dict[SecretRef, SecretValue] = {}
        for ref in dict.fromkeys(refs):
            if "wrapped_in" in ref.options:  # reading it would use it up
                answers.append(Checked(ref))
                continue
            try:
                value = self.resolve([ref], cancel)[ref]
            except Interrupted:
                raise
            except CopilotError as error:
                answers.append(Checked(ref, error=error))
                continue
            read[ref] = value
            answers.append(Checked(ref, version=value.version, size_bytes=len(value.reveal())))
        with self._lock:
            for ref in read:
                self._cache.pop(ref, None)
        for value in read.values():
            lease = lease_of(value)
            if lease is not None:
                with suppress(CopilotError):  # it can be read: that was the question. ``close`` tries again, and tells
                    self.release(lease, cancel)
        return answers

    def whoami(self, provider: str, cancel: CancelToken) -> str:
        """The identity shown to ``provider``."""
        opened = self._providers.get(provider)
        return self._retry(provider).call(lambda: opened.whoami(cancel), cancel=cancel, op="whoami", subject=f"{provider}://")

    def values(self) -> Mapping[SecretRef, SecretValue]:
        """What is known to this process just now."""
        with self._lock:
            return dict(self._cache)

    def ever(self) -> list[tuple[SecretRef, SecretValue]]:
        """Every value this process has known, those that were replaced included."""
        with self._lock:
            return [(ref, value) for (ref, _), value in self._ever.items()]

    def lends(self) -> bool:
        """Whether something is lent to us that is to be given back."""
        with self._lock:
            return bool(self._leased)

    def _retry(self, provider: str) -> Retrier:
        """Each manager's own: one that never answered gets less patience, whatever the others did."""
        with self._lock:
            if provider not in self._retriers:
                self._retriers[provider] = Retrier(self._policy, clock=self._clock, log=self._log)
            return self._retriers[provider]

    # --- hand-over -------------------------------------------------------------------------------------------------

    def remember(self, ref: SecretRef, value: SecretValue) -> None:
        """Takes over a value another process of the pod resolved."""
        self._keep({ref: value})

    def adopt(self, ref: SecretRef, value: SecretValue) -> None:
        """Gives back at the end what another process of the pod was lent."""
        lease = lease_of(value)
        if lease is not None:
            with self._lock:
                self._leased[lease.lease_id] = (ref, value)

    def provider(self, name: str) -> SecretProvider:
        """The provider of that name, opened if it was not."""
        return self._providers.get(name)

    def opened(self) -> Mapping[str, SecretProvider]:
        """The providers in use so far."""
        return self._providers.opened()

    # --- reading ---------------------------------------------------------------------------------------------------

    def _remembered(self, ref: SecretRef, *, refresh: bool) -> SecretValue | None:
        with self._lock:
            value = self._cache.get(ref)
            if value is not None and not refresh:
                return value
            if value is None:
                where = address(ref)
                related = next((each for known, each in self._cache.items() if address(known) == where), None)
                if isinstance(related, Secret):
                    value = related.sibling(ref)
        if value is None or (refresh and not (isinstance(value, Secret) and value.payload.single_use)):
            return None
        self._keep({ref: value})
        return value

    def _fetch(self, refs: Sequence[SecretRef], cancel: CancelToken) -> dict[SecretRef, SecretValue]:
        """All of them, a batch a request, several requests at a time. The first error stops the rest."""
        batches = self._batches(refs)
        token = Token(self._clock, parent=cancel, why="another secret could not be had")
        errors: dict[int, CopilotError] = {}
        found: dict[SecretRef, SecretValue] = {}

        def work(index: int, batch: Sequence[SecretRef]) -> None:
            try:
                values = self._read(batch, token)
            except CopilotError as error:
                errors[index] = error
                token.cancel()
            else:
                found.update(values)

        if len(batches) == 1:
            work(0, batches[0])
        else:
            with ThreadPoolExecutor(min(self._max_workers, len(batches)), "secrets") as pool:
                running = [pool.submit(work, index, batch) for index, batch in enumerate(batches)]
            for each in running:
                each.result()  # an adapter's bug is not lost on its thread
        self._keep(found)
        if errors:
            # What was only stopped because of another is not the reason.
            causes = {index: error for index, error in errors.items() if not isinstance(error, Interrupted)} or errors
            raise _named(causes[min(causes)])
        return found

    def _batches(self, refs: Sequence[SecretRef]) -> list[list[SecretRef]]:
        """By provider, at most ``max_batch`` addresses together; all keys of an address in one batch."""
        by_provider: dict[str, dict[SecretRef, list[SecretRef]]] = {}
        for ref in refs:
            by_provider.setdefault(ref.provider, {}).setdefault(address(ref), []).append(ref)
        batches = []
        for name, addresses in by_provider.items():
            groups = list(addresses.values())
            size = max(1, self._providers.get(name).max_batch)
            batches += [[ref for group in groups[at : at + size] for ref in group] for at in range(0, len(groups), size)]
        return batches

    def _read(self, batch: Sequence[SecretRef], cancel: CancelToken) -> Mapping[SecretRef, SecretValue]:
        provider = self._providers.get(batch[0].provider)
        subject = describe_ref(batch[0])
        cancel.check()
        values = self._retry(batch[0].provider).call(
            lambda: provider.resolve(batch, cancel), cancel=cancel, op="resolve", subject=subject
        )
        for ref in batch:
            self._log.event("secret.resolved", ref=describe_ref(ref), version=values[ref].version)
        return values

    def _keep(self, values: Mapping[SecretRef, SecretValue]) -> None:
        for value in values.values():
            for text in (value.reveal(), *leaves(value.reveal())):
                self._known(text)
        with self._lock:
            self._cache.update(values)
            for ref, value in values.items():
                self._ever[ref, value.reveal()] = value
                lease = lease_of(value)
                if lease is not None:
                    self._leased[lease.lease_id] = (ref, value)


def open_resolver(
    settings: SecretSettings,
    *,
    clock: Clock,
    log: Log,
    known: Callable[[bytes], None] = forget,
    policy: RetryPolicy = PATIENCE,
    max_workers: int = 8,
) -> Resolver:
    """A resolver over the providers of the registry."""
    providers = Providers(ProviderContext(settings, clock, known))
    return Resolver(providers, clock=clock, log=log, known=known, policy=policy, max_workers=max_workers)


def _named(error: CopilotError) -> CopilotError:
    """``error``, whose sentence names the secret: of several, a person must see which."""
    name = error.subject.rpartition("://")[2].partition("#")[0]
    if isinstance(error, SecretError) and error.subject and name not in error.message:
        error.message = f"{error.message}: {error.subject}"
        error.args = (error.message,)
    return error


def lease_of(value: SecretValue) -> Lease | None:
    """The lease a value lives on, if any."""
    return value.lease if isinstance(value, Secret) else None


def payload_of(value: SecretValue) -> Payload | None:
    """What a value was picked from, where it is one of ours."""
    return value.payload if isinstance(value, Secret) else None


def _lease_s(value: SecretValue) -> float | None:
    lease = lease_of(value)
    return None if lease is None else lease.duration_s
