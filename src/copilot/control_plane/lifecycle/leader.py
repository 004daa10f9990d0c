"""Which of several servers looks after pods: the one that holds the Lease. All of them answer requests.

That nothing is started twice does not hang on it: attempts have leases of their own in the database, and pods their names. It
keeps the cost at one watch and one set of loops, however many replicas there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol

from copilot.core.errors import CopilotError

if TYPE_CHECKING:
    from copilot.core.ports import Clock, Log

_RENEW: Final = 2 / 15  # of the lease: how often it is renewed
_GIVE_UP: Final = 10 / 15  # of the lease: how long it is believed in without an answer


class Lease(Protocol):
    """What one server at a time can hold; blocking."""

    lease_s: float

    @property
    def identity(self) -> str:
        """Who we are."""
        ...

    def hold(self) -> bool:
        """Takes or renews it; whether it is ours."""
        ...

    def release(self) -> None:
        """Lets go of it."""
        ...


class Leadership:
    """Leads while the lease is ours.

    Args:
        lease: the lease.
        clock: time.
        log: hears ``leader.began`` and ``leader.ended``.
    """

    def __init__(self, lease: Lease, *, clock: Clock, log: Log) -> None:
        """See the class."""
        self._lease, self._clock, self._log = lease, clock, log
        self.leading = False

    async def run(self, begin: Callable[[], Awaitable[None]], end: Callable[[], Awaitable[None]]) -> None:
        """Calls ``begin`` when the lease has become ours, and ``end`` when it is not any more; until it is cancelled.

        A lease that cannot be renewed is given up before anybody else may take it. When cancelled it is let go, so that
        another server need not wait.
        """
        renewed_at = self._clock.monotonic_s()
        patience_s = self._lease.lease_s * _GIVE_UP
        try:
            while True:
                asked_at = self._clock.monotonic_s()
                held = await self._hold(patience_s)
                if held:
                    renewed_at = asked_at
                    if not self.leading:
                        self.leading = True
                        self._log.event("leader.began", identity=self._lease.identity)
                        await begin()
                elif self.leading and (held is False or self._clock.monotonic_s() - renewed_at > patience_s):
                    await self._step_down(end)
                await asyncio.sleep(self._lease.lease_s * _RENEW)
        finally:
            if self.leading:
                await self._step_down(end)
                await self._release()

    async def _hold(self, patience_s: float) -> bool | None:
        """None where nobody knows."""
        try:
            return await asyncio.wait_for(asyncio.to_thread(self._lease.hold), patience_s)
        except TimeoutError:
            return None
        except CopilotError as error:
            self._log.event("leader.unknown", level="warning", error=error.sentence())
            return None

    async def _step_down(self, end: Callable[[], Awaitable[None]]) -> None:
        self.leading = False
        self._log.event("leader.ended", level="warning", identity=self._lease.identity)
        await end()

    async def _release(self) -> None:
        try:
            await asyncio.to_thread(self._lease.release)
        except CopilotError as error:
            self._log.event("leader.not_released", level="warning", error=error.sentence())
