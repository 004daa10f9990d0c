"""``GET /metrics``: the metrics in Prometheus' text format, or as OpenMetrics where the client asks for it.

It has a port of its own and asks nobody who they are: the port that clients use may be behind an Ingress or a load balancer,
and a scraper should need no token of the control plane. Who may connect is a NetworkPolicy's affair. What can be read is
numbers: no project, no run, no name stands in a label.
"""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from prometheus_client.exposition import choose_encoder

from copilot.control_plane.api.http import Receive, Scope, Send, answer, header
from copilot.control_plane.api.live_runs import live_runs
from copilot.control_plane.errors import ControlPlaneError

if TYPE_CHECKING:
    from copilot.control_plane.api.metrics import ServerMetrics
    from copilot.control_plane.db.database import Database
    from copilot.core.ports import Clock

PATH: Final = "/metrics"
_FRESH_S: Final = 1.0
_PATIENCE_S: Final = 5.0


class MetricsEndpoint:
    """An ASGI application.

    However many ask, the database is asked once a second at most, by one of them.

    Args:
        metrics: what is told.
        database: asked for what is going on.
        clock: time.
    """

    def __init__(self, metrics: ServerMetrics, database: Database, clock: Clock) -> None:
        self._metrics, self._database, self._clock = metrics, database, clock
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        del receive
        if scope["type"] != "http":
            return
        if scope["path"] != PATH:
            await answer(send, HTTPStatus.NOT_FOUND, f"only {PATH} is here\n".encode())
            return
        if scope["method"] not in {"GET", "HEAD"}:
            await answer(send, HTTPStatus.METHOD_NOT_ALLOWED, b"metrics are read with GET\n", headers={"allow": "GET, HEAD"})
            return
        await self._look()
        encode, kind = choose_encoder(header(scope, "accept"))
        # On the event loop, a few milliseconds: some gauges are read from what lives there.
        await answer(send, HTTPStatus.OK, encode(self._metrics.registry), kind=kind)

    async def _look(self) -> None:
        async with self._asking:
            if self._clock.monotonic_s() - self._asked_at < _FRESH_S:
                return
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    self._metrics.live.now = await self._database.read(partial(live_runs, now=self._clock.now_s()))
            except (ControlPlaneError, TimeoutError):
                self._metrics.live.now = None
            self._asked_at = self._clock.monotonic_s()
