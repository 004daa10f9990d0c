"""Claims attempts and gives each a keeper; renews leases; ends what has waited too long. Three loops and no state of its own.

Everything that must survive is in the database. Stopping cancels the keepers in the middle of whatever they do: that is what a
crash does as well, and the next server begins from the rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from copilot.control_plane.errors import ControlPlaneError
from copilot.control_plane.hub import PODS, QUEUE
from copilot.control_plane.lifecycle import claims
from copilot.control_plane.lifecycle.keeper import Keeper

if TYPE_CHECKING:
    from copilot.control_plane.db.database import Unit
    from copilot.control_plane.lifecycle.claims import Claimed
    from copilot.control_plane.lifecycle.observe import Pod
    from copilot.control_plane.office import Office

_SMALL_S = 0.01
_AT_MOST_AFTER_CRASH_S = 60.0
_CRASHES = 3
"""So often an attempt is taken up anew after a bug of ours; then it ends with that for its reason."""


class Scheduler:
    """The loops of one server.

    Args:
        office: what it works with.
    """

    def __init__(self, office: Office) -> None:
        self._office = office
        self.owner = secrets.token_hex(8)
        self._keepers: dict[int, asyncio.Task[None]] = {}
        self._crashes: Counter[int] = Counter()
        self._by_pod: dict[str, Keeper] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._stopped = False
        self._renewed_at = office.clock.monotonic_s()

    @property
    def keeping(self) -> int:
        """How many attempts this server looks after."""
        return len(self._keepers)

    async def start(self) -> None:
        """Takes over what another server left, and begins. After a ``stop`` as another server would: under a new name."""
        self.owner, self._stopped = secrets.token_hex(8), False
        self._office.executor.watch(self._seen)
        everything = self._office.database.sqlite
        # Without the database there is nothing to take over yet: the sweep does it when it answers.
        with contextlib.suppress(ControlPlaneError):
            await self._take_over(everything=everything)
        self._loops = [
            asyncio.create_task(self._forever(self._claim_loop), name="claim"),
            asyncio.create_task(self._forever(self._sweep_loop), name="sweep"),
            asyncio.create_task(self._forever(self._renew_loop), name="renew"),
        ]

    async def stop(self) -> None:
        """Stops claiming and keeping; pods go on, and their attempts may be taken over at once."""
        self._stopped = True
        tasks = [*self._loops, *self._keepers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(ControlPlaneError):
            await self._office.database.write(lambda unit: claims.release(unit, owner=self.owner))

    def _seen(self, kind: str, pod: Pod) -> None:
        """The executor's word on a pod, on the event loop."""
        name = (pod.get("metadata") or {}).get("name", "")
        keeper = self._by_pod.get(name)
        if keeper is not None:
            keeper.see(None if kind == "DELETED" else pod)

    async def _forever(self, loop: Callable[[], Awaitable[None]]) -> None:
        wait_s = self._office.settings.timing.retry_s
        while True:
            try:
                await loop()
            except ControlPlaneError as error:
                self._office.log.event("scheduler.wait", level="warning", error=error.sentence())
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, 5.0)
            else:
                wait_s = self._office.settings.timing.retry_s

    async def _claim_loop(self) -> None:
        settings, clock = self._office.settings, self._office.clock
        with self._office.hub.subscribe(QUEUE, PODS) as wakeup:
            while True:
                now = clock.now_s()

                def claim(unit: Unit, now: float = now) -> list[Claimed]:
                    return claims.claim_waiting(
                        unit,
                        owner=self.owner,
                        now=now,
                        lease_s=settings.timing.lease_s,
                        limits=settings.limits,
                        namespace=settings.namespace,
                        store_base=settings.store_base,
                    )

                for claimed in await self._office.database.write(claim):
                    self._keep(claimed)
                due = await self._office.database.read(partial(claims.next_due, now=now))
                patience_s = settings.timing.sweep_s if due is None else min(settings.timing.sweep_s, due - clock.now_s())
                await wakeup.wait(max(patience_s, _SMALL_S))

    async def _sweep_loop(self) -> None:
        timing, clock = self._office.settings.timing, self._office.clock
        while True:
            await asyncio.sleep(timing.sweep_s)
            await self._office.database.write(lambda unit: claims.expire(unit, now=clock.now_s()))
            await self._take_over(everything=False)

    async def _renew_loop(self) -> None:
        timing, clock = self._office.settings.timing, self._office.clock
        while True:
            await asyncio.sleep(timing.lease_s / 3)
            if self._keepers:
                await self._office.database.write(
                    lambda unit: claims.renew(unit, owner=self.owner, now=clock.now_s(), lease_s=timing.lease_s)
                )

    async def _take_over(self, *, everything: bool) -> None:
        timing, now = self._office.settings.timing, self._office.clock.now_s()

        def take(unit: Unit) -> list[Claimed]:
            return claims.take_over(unit, owner=self.owner, now=now, lease_s=timing.lease_s, everything=everything, kept=kept)

        kept = frozenset(self._keepers) | self._crashes.keys()
        for claimed in await self._office.database.write(take):
            self._keep(claimed)

    def _keep(self, claimed: Claimed, crashed: BaseException | None = None) -> None:
        if claimed.attempt_id in self._keepers or self._stopped:
            return
        name = claimed.pod_name
        keeper = Keeper(self._office, claimed)
        self._by_pod[name] = keeper
        hopeless = crashed is not None and self._crashes[claimed.attempt_id] % _CRASHES == 0
        work = keeper.give_up(crashed) if crashed is not None and hopeless else keeper.run()
        task = asyncio.create_task(work, name=f"keep-{name}")
        self._keepers[claimed.attempt_id] = task
        task.add_done_callback(lambda done: self._kept(claimed, done))

    def _kept(self, claimed: Claimed, done: asyncio.Task[None]) -> None:
        self._keepers.pop(claimed.attempt_id, None)
        self._by_pod.pop(claimed.pod_name, None)
        if not done.cancelled() and (error := done.exception()) is not None:
            # A bug of ours in one attempt must not stop the others, nor lose this one: it is taken up anew from its row.
            self._office.log.event("attempt.crashed", level="error", attempt=claimed.attempt_id, error=repr(error))
            self._crashes[claimed.attempt_id] += 1
            pause_s = min(self._office.settings.timing.crash_s * self._crashes[claimed.attempt_id], _AT_MOST_AFTER_CRASH_S)
            asyncio.get_running_loop().call_later(pause_s, self._keep, claimed, error)
        else:
            self._crashes.pop(claimed.attempt_id, None)
