"""Leases of a command's variables go on while it runs where no sidecar keeps them: in ``copilot exec`` and ``secrets exec``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from copilot.engine.cancel import Token
from copilot.secrets.inject import Delivery
from copilot.secrets.resolver import lease_of
from copilot.secrets.rotate import Rotator

if TYPE_CHECKING:
    from copilot.core.ports import Clock, Log
    from copilot.secrets.resolver import Resolver

_JOIN_S = 10.0


@contextmanager
def renewing(resolver: Resolver, *, clock: Clock, log: Log) -> Iterator[None]:
    """Renews whatever ``resolver`` was lent, in time, while the body runs; on a thread of its own."""
    lent = [Delivery((ref,)) for ref, value in resolver.values().items() if lease_of(value) is not None]
    stop = Token(clock)
    rotator = Rotator(resolver, lent, clock=clock, log=log, interval_s=None)
    thread = threading.Thread(target=rotator.run, args=(stop,), name="leases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.cancel()
        thread.join(_JOIN_S)
