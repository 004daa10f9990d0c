"""A transfer with everything around it that a test wants to see: over any stores, on a clock that nobody waits for."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from copilot.engine.budget import Limits
from copilot.engine.cancel import Token
from copilot.engine.transfer import Transfer
from copilot.stores.registry import open_stores
from copilot.testing.clock import FakeClock
from copilot.testing.recording import RecordingLog, RecordingProgress

if TYPE_CHECKING:
    from copilot.core.ports import Clock, Stores


@dataclass
class Bench:
    """A transfer and everything around it."""

    stores: Stores
    transfer: Transfer
    clock: Clock
    log: RecordingLog
    progress: RecordingProgress
    cancel: Token


def bench(stores: Stores | None = None, *, limits: Limits | None = None, clock: Clock | None = None) -> Bench:
    """A transfer over ``stores`` (fresh ones by default), on a ``FakeClock`` by default."""
    stores = stores or open_stores()
    clock = clock or FakeClock()
    log, progress = RecordingLog(), RecordingProgress()
    transfer = Transfer(stores, limits=limits or Limits(), clock=clock, log=log, progress=progress, rng=random.Random(7))  # noqa: S311 - seeded on purpose
    return Bench(stores, transfer, clock, log, progress, Token(clock))
