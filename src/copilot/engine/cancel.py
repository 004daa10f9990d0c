"""Reasons to stop, passed explicitly: a deadline on a clock, a latch a signal handler sets, a call to ``cancel``.

A token is checked, never delivered: work stops at the next check, which every loop of the engine makes at least ten times a
second. A *child* stops when its parent does and may have a shorter deadline. A *grace* token is what work after SIGTERM runs
under: it has a budget of its own and no longer listens to what stopped its parent.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from copilot.core.errors import Cancelled, DeadlineExceeded, Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from copilot.core.ports import CancelToken, Clock

_SLICE_S = 0.05


class Latch(Protocol):
    """Something that is set once and stays set: a signal, an event."""

    def is_set(self) -> bool:
        """Whether it has happened."""
        ...


class Token:
    """A ``CancelToken``.

    Args:
        clock: whose monotonic time the deadline is in.
        timeout_s: seconds from now to the deadline; None for no deadline.
        latch: stops the token once it is set; None for none.
        parent: another token whose end is this token's end; None for none.
        why: what a person reads when ``latch`` stopped us.
        budget: what the deadline was for, as a person reads it.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        timeout_s: float | None = None,
        latch: Latch | None = None,
        parent: CancelToken | None = None,
        why: str = "we were asked to stop",
        budget: str = "the time given for this",
    ) -> None:
        """See the class."""
        self._clock = clock
        self._timeout_s = timeout_s
        self._deadline_s = None if timeout_s is None else clock.monotonic_s() + timeout_s
        self._latch = latch
        self._parent = parent
        self._why = why
        self._budget = budget
        self._cancelled: Cancelled | None = None
        self._lock = threading.Lock()

    def cancel(self, why: str = "") -> None:
        """Stops everything under this token. The first reason stays."""
        with self._lock:
            if self._cancelled is None:
                self._cancelled = Cancelled(why or self._why)

    def child(self, *, timeout_s: float | None = None, budget: str = "the time given for this") -> Token:
        """A token that ends with this one, or ``timeout_s`` seconds from now, whichever is first."""
        return Token(self._clock, timeout_s=timeout_s, parent=self, budget=budget)

    def grace(self, budget_s: float | None, *, latch: Latch | None = None) -> Token:
        """A token for the work after this one ended: ``budget_s`` seconds of its own, deaf to what stopped this one.

        Args:
            budget_s: the grace period in seconds; None for one without end.
            latch: a second request to stop (a second SIGTERM); None for none.
        """
        return Token(self._clock, timeout_s=budget_s, latch=latch, budget="the grace period", why="we were asked to stop again")

    def _ended(self) -> Interrupted | None:
        if self._cancelled is not None:
            return self._cancelled
        if self._latch is not None and self._latch.is_set():
            return Cancelled(self._why)
        if self._deadline_s is not None and self._clock.monotonic_s() >= self._deadline_s:
            return DeadlineExceeded(
                f"{self._budget} ({self._timeout_s:g} s) is over",
                hint="Give it more time, or find out what is slow in the log.",
            )
        return None

    def check(self) -> None:
        """Raises ``Cancelled`` or ``DeadlineExceeded`` when it is time to stop; else returns at once."""
        ended = self._ended()
        if ended is not None:
            raise ended
        if self._parent is not None:
            self._parent.check()

    @property
    def cancelled(self) -> bool:
        """Whether it is time to stop, for whatever reason."""
        return self._ended() is not None or (self._parent is not None and self._parent.cancelled)

    def remaining_s(self) -> float | None:
        """Seconds to the nearest deadline of this token and its parents, never negative; None without one."""
        above = self._parent.remaining_s() if self._parent is not None else None
        if self._deadline_s is None:
            return above
        own = max(0.0, self._deadline_s - self._clock.monotonic_s())
        return own if above is None else min(own, above)

    def wait(self, seconds: float) -> bool:
        """Sleeps ``seconds`` on the clock, or until it is time to stop; True if it was."""
        return wait_on(self, self._clock, seconds)


class Late:
    """A token that ends ``by_s`` seconds after another does: what has begun and is soon over is better ended than left open.

    Args:
        clock: whose monotonic time the seconds are in.
        token: the other one.
        by_s: how much later.
    """

    def __init__(self, clock: Clock, token: CancelToken, by_s: float) -> None:
        """See the class."""
        self._clock = clock
        self._token = token
        self._by_s = by_s
        self._ends_s: float | None = None

    def check(self) -> None:
        """Raises what the other token raises, later."""
        if self.cancelled:
            self._token.check()

    @property
    def cancelled(self) -> bool:
        """Whether it is time to stop."""
        if self._ends_s is None and self._token.cancelled:
            self._ends_s = self._clock.monotonic_s() + self._by_s
        return self._ends_s is not None and self._clock.monotonic_s() >= self._ends_s

    def remaining_s(self) -> float | None:
        """As the other token says, and ``by_s`` more."""
        left_s = self._token.remaining_s()
        return None if left_s is None else left_s + self._by_s

    def wait(self, seconds: float) -> bool:
        """As ``Token.wait``."""
        return wait_on(self, self._clock, seconds)


class Notice:
    """A token that ends ``seconds`` after a notice: what a process has left once it was told to end.

    Args:
        clock: whose monotonic time the seconds are in.
        noticed_s: when the notice came, in those seconds; None until then, and this token has no end.
        seconds: from the notice to the end.
        budget: what the seconds are, as a person reads it.
    """

    def __init__(self, clock: Clock, noticed_s: Callable[[], float | None], seconds: float, *, budget: str) -> None:
        """See the class."""
        self._clock = clock
        self._noticed_s = noticed_s
        self._seconds = seconds
        self._budget = budget

    def check(self) -> None:
        """Raises ``DeadlineExceeded`` once the time is over."""
        if self.cancelled:
            raise DeadlineExceeded(
                f"{self._budget} is over",
                hint="Give the pod a longer terminationGracePeriodSeconds, or leave less for the end.",
            )

    @property
    def cancelled(self) -> bool:
        """Whether the time is over."""
        return self.remaining_s() == 0

    def remaining_s(self) -> float | None:
        """Seconds that are left; None before the notice."""
        noticed_s = self._noticed_s()
        return None if noticed_s is None else max(0.0, noticed_s + self._seconds - self._clock.monotonic_s())

    def wait(self, seconds: float) -> bool:
        """As ``Token.wait``."""
        return wait_on(self, self._clock, seconds)


def wait_on(token: CancelToken, clock: Clock, seconds: float) -> bool:
    """Sleeps ``seconds`` on the clock, or until ``token`` says that it is time to stop; True if it was."""
    until_s = clock.monotonic_s() + seconds
    while not token.cancelled:
        left_s = until_s - clock.monotonic_s()
        if left_s <= 0:
            return False
        clock.sleep(min(left_s, _SLICE_S))
    return True


def never(clock: Clock) -> Token:
    """A token that only ``cancel()`` ends."""
    return Token(clock)
