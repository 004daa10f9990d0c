"""Keeping secrets fresh while the task runs: leases renewed, values read again, files rewritten, the app told.

A failure never takes a value away: what is there stays, the log says so, and it is tried again.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from copilot.core.errors import CopilotError, Interrupted, SecretExpiredToken, SecretNotFound
from copilot.core.secret_refs import describe_ref
from copilot.secrets.files import SecretFile, SecretFiles, same_content
from copilot.secrets.providers.grouping import address
from copilot.secrets.resolver import lease_of, payload_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from copilot.core.ports import CancelToken, Clock, Log
    from copilot.core.secret_ports import SecretRef
    from copilot.secrets.inject import Delivery
    from copilot.secrets.notify import Notify
    from copilot.secrets.render import Template
    from copilot.secrets.resolver import Resolver
    from copilot.secrets.values import Lease

_RENEW_AT = 2 / 3
_WORTH_KEEPING = 1 / 2
_FIRST_RETRY_S = 5.0
_LAST_RETRY_S = 60.0


@dataclass(slots=True)
class _Item:
    """One secret at its manager: all the references that read it, whether files hold it, and when it is next looked at."""

    refs: list[SecretRef]
    written: bool = True
    due_at_s: float = 0.0
    full_lease_s: float = 0.0
    failures: int = 0


class Rotator:
    """Drives what is due; the sidecar calls ``run`` on a thread of its own, and ``finish`` at the end.

    Args:
        resolver: holds the values that were injected.
        placed: what was injected where (``Injected.placed``).
        templates: files rendered from several secrets.
        clock: the time of everything here.
        log: hears of every rotation and every failure.
        interval_s: how often values without a lease are read again; None for never.
        jitter: the part of each wait that is random, so that a thousand pods do not ask at once.
        rng: its randomness.
        notify: tells the app; None for nobody.
        allow_disk: also on volumes that are not memory.
        stale: the files may hold other values than ``resolver``: the first step compares them.
    """

    def __init__(
        self,
        resolver: Resolver,
        placed: Sequence[Delivery],
        *,
        clock: Clock,
        log: Log,
        templates: Sequence[Template] = (),
        interval_s: float | None = 300.0,
        jitter: float = 0.2,
        rng: random.Random | None = None,
        notify: Notify | None = None,
        allow_disk: bool = False,
        stale: bool = False,
    ) -> None:
        """See the class."""
        self._resolver = resolver
        self._clock = clock
        self._log = log
        self._interval_s = interval_s
        self._jitter = jitter
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not cryptography
        self._notify = notify
        self._allow_disk = allow_disk
        self._templates = list(templates)
        self._files: list[tuple[SecretFile, SecretRef]] = [(file, each.candidates[0]) for each in placed for file in each.files]
        self._unwritten: set[SecretRef] = set()
        self._rewrite_at_s = 0.0
        self._items = self._schedule([each.candidates[0] for each in placed])
        if stale:
            self._unwritten = {ref for _, ref in self._files} | {ref for each in self._templates for ref in each.refs()}

    def due_in_s(self) -> float | None:
        """Seconds until something is due, never negative; None if nothing ever is."""
        times = [item.due_at_s for item in self._items if item.due_at_s < math.inf]
        if self._unwritten:
            times.append(self._rewrite_at_s)
        return max(0.0, min(times) - self._clock.monotonic_s()) if times else None

    def step(self, cancel: CancelToken) -> list[Path]:
        """Does what is due now; the files that changed, after the app was told of them."""
        now_s = self._clock.monotonic_s()
        for item in self._items:
            if item.due_at_s <= now_s:
                self._unwritten |= self._look_at(item, cancel)
        changed = self._rewrite(cancel) if self._unwritten else []
        if changed and self._notify is not None:
            self._notify(changed)
        return changed

    def run(self, cancel: CancelToken) -> None:
        """``step`` whenever something is due, until ``cancel`` says stop. Only a bug ends it otherwise."""
        while not cancel.cancelled:
            wait_s = self.due_in_s()
            if cancel.wait(3600.0 if wait_s is None else wait_s):
                return
            try:
                self.step(cancel)
            except Interrupted:
                return

    def finish(self, cancel: CancelToken) -> None:
        """Gives back every lease and session: at the end of the task, however it ended."""
        self._resolver.close(cancel)

    # --- what is due ---------------------------------------------------------------------------------------------------

    def _schedule(self, placed: Sequence[SecretRef]) -> list[_Item]:
        by_address: dict[SecretRef, _Item] = {}
        used = [*placed, *(ref for template in self._templates for ref in template.refs())]
        for ref in dict.fromkeys(used):
            by_address.setdefault(address(ref), _Item([])).refs.append(ref)
        written = {address(ref) for _, ref in self._files}
        written |= {address(ref) for template in self._templates for ref in template.refs()}
        items = []
        for where, item in by_address.items():
            lease = self._lease(item)
            payload = payload_of(self._resolver.values()[item.refs[0]])
            once = payload is not None and payload.single_use
            # A variable of a running process cannot be changed: only its lease is worth a thought.
            if lease is None and (self._interval_s is None or once or where not in written):
                continue
            item.written = where in written
            self._begin(item, lease)
            items.append(item)
        return items

    def _begin(self, item: _Item, lease: Lease | None) -> None:
        """Sets when the item is next looked at: two thirds into its lease, or after the interval; earlier by the jitter."""
        item.failures = 0
        early = 1 - self._rng.uniform(0, self._jitter)
        if lease is None:
            item.full_lease_s = 0.0
            item.due_at_s = self._clock.monotonic_s() + (self._interval_s or 0.0) * early
            return
        item.full_lease_s = max(item.full_lease_s, lease.duration_s)
        left_s = max(0.0, lease.expires_at_s - self._clock.monotonic_s())
        item.due_at_s = self._clock.monotonic_s() + left_s * _RENEW_AT * early

    def _look_at(self, item: _Item, cancel: CancelToken) -> set[SecretRef]:
        """Renews or reads again; the references whose value is now another."""
        subject = describe_ref(item.refs[0])
        try:
            lease = self._lease(item)
            if lease is not None and lease.renewable and self._renewed(item, cancel):
                return set()
            if not item.written:
                self._leave(item)
                return set()
            before = {ref: self._resolver.values()[ref].reveal() for ref in item.refs}
            after = self._resolver.resolve(item.refs, cancel, refresh=True)
        except Interrupted:
            raise
        except CopilotError as error:
            item.failures += 1
            wait_s = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2 ** (item.failures - 1))
            item.due_at_s = self._clock.monotonic_s() + wait_s
            self._log.event(
                "secret.refresh_failed",
                level="warning",
                ref=subject,
                reason=error.reason,
                error=error.message,
                retry_in_s=wait_s,
            )
            return set()
        item.full_lease_s = 0.0
        self._begin(item, self._lease(item))
        changed = {ref for ref in item.refs if after[ref].reveal() != before[ref]}
        if changed:
            self._log.event("secret.rotated", ref=subject, version=after[item.refs[0]].version)
        return changed

    def _renewed(self, item: _Item, cancel: CancelToken) -> bool:
        """Whether the lease got enough new time; if not, it is near the end of all its renewals and is to be replaced.

        The old lease is not given back before the end: until the app has read the new value, it works with the old one.
        """
        try:
            for ref in item.refs[:1]:
                self._resolver.renew(ref, cancel)
        except (SecretNotFound, SecretExpiredToken):
            return False
        lease = self._lease(item)
        if lease is None or lease.duration_s < item.full_lease_s * _WORTH_KEEPING:
            return False
        self._begin(item, lease)
        return True

    def _leave(self, item: _Item) -> None:
        """The process that has it in its variables cannot be given another: nothing more can be done than to say so."""
        lease = self._lease(item)
        left_s = 0.0 if lease is None else max(0.0, lease.expires_at_s - self._clock.monotonic_s())
        item.due_at_s = math.inf
        self._log.event(
            "secret.ends",
            level="warning",
            ref=describe_ref(item.refs[0]),
            left_s=round(left_s, 1),
            why="its lease cannot be renewed any more, and a variable of a running process cannot be replaced",
            hint="Ask for it as a file, or for a longer max_ttl.",
        )

    def _lease(self, item: _Item) -> Lease | None:
        return lease_of(self._resolver.values()[item.refs[0]])

    # --- files ---------------------------------------------------------------------------------------------------------

    def _rewrite(self, cancel: CancelToken) -> list[Path]:
        """Writes every file a changed value is in, all of them or none. What cannot be written is logged and tried again."""
        stale = self._unwritten
        values = self._resolver.values()
        try:
            contents = [(file, values[ref].reveal()) for file, ref in self._files if ref in stale]
            contents += [
                (each.file, each.render(self._resolver, cancel)) for each in self._templates if stale & set(each.refs())
            ]
            contents = [(file, data) for file, data in contents if not same_content(file.path, data)]
            with SecretFiles(allow_disk=self._allow_disk) as files:
                for file, data in contents:
                    files.stage(file, data)
                files.publish()
        except Interrupted:
            raise
        except CopilotError as error:
            self._rewrite_at_s = self._clock.monotonic_s() + _LAST_RETRY_S
            self._log.event("secret.rewrite_failed", level="error", reason=error.reason, error=error.message)
            return []
        self._unwritten = set()
        return [file.path for file, _ in contents]
