"""What a pod's sidecar does with secrets: it keeps them fresh, looks for them in outputs, and gives them back at the end.

Nothing heavy is imported before something was handed over: a pod without secrets pays for one waiting thread.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from copilot.core.errors import CopilotError, Interrupted
from copilot.engine.cancel import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from copilot.core.ports import CancelToken, Clock, Log
    from copilot.secrets.leak_guard import Finding, LeakGuard
    from copilot.secrets.notify import Notify
    from copilot.secrets.resolver import Resolver
    from copilot.secrets.rotate import Rotator

_FIRST_LOOK_S = 0.05
_LAST_LOOK_S = 0.25
_SLOWER = 1.2
_JOIN_S = 15.0


@dataclass(frozen=True, slots=True)
class KeepRequest:
    """How secrets are kept.

    Attributes:
        hand_over: the file that init leaves.
        interval_s: how often values without a lease are read again; None for never.
        notify: tells the app of changes; None for nobody.
        nothing_comes: whether init is over, so that a hand-over that is not there will not come any more.
    """

    hand_over: Path
    interval_s: float | None = 300.0
    notify: Notify | None = None
    nothing_comes: Callable[[], bool] = lambda: False


class Custody:
    """The sidecar's side, from its start to the task's end. ``begin`` it, ask its ``guard``, and ``finish`` it in any case.

    Args:
        request: how secrets are kept.
        open_resolver: makes the resolver, once something was handed over: a pod without secrets pays nothing for it.
        clock: time.
        log: hears of everything but values.
    """

    def __init__(self, request: KeepRequest, open_resolver: Callable[[], Resolver], *, clock: Clock, log: Log) -> None:
        """See the class."""
        self._request = request
        self._open = open_resolver
        self._clock = clock
        self._log = log
        self._stop = Token(clock, why="the task has ended")
        self._lock = threading.Lock()
        self._resolvers: list[Resolver] = []
        self._rotators: list[Rotator] = []
        self._guard: LeakGuard | None = None
        self._guarded = 0
        self._told = False
        self._thread = threading.Thread(target=self._run, name="secrets", daemon=True)

    def begin(self) -> None:
        """Waits for the hand-over, and keeps what is in it fresh, on a thread of its own."""
        self._thread.start()

    def know(self) -> bool:
        """Takes what was handed over, so that every value of it is masked from here on; False where it cannot be read.

        Call it before anything that the task wrote is told: a task may end before our thread looked for the first time.
        """
        try:
            self._take()
        except Interrupted:
            raise
        except CopilotError as error:
            if not self._told:
                self._told = True
                self._log.event("secrets.not_known", level="error", reason=error.reason, error=error.sentence())
            return False
        return True

    def guard(self, roots: Sequence[Path], policy: str, cancel: CancelToken) -> list[Finding]:
        """Looks for every value ever known in ``roots``. Files that were clean and have not changed are not read again.

        Raises:
            SecretLeaked: there is one, and ``policy`` is ``refuse``.
            UnreadableOutput: a file cannot be read.
            LocalIOError: what was handed over cannot be read, and ``policy`` is ``refuse``.
        """
        if policy == "off":
            return []
        if policy == "refuse":
            self._take()
        elif not self.know():  # told by then: a warning is all that was asked for
            return []
        if not self._resolvers:
            return []
        from copilot.secrets.leak_guard import LeakGuard  # noqa: PLC0415 - only a pod with secrets pays for it

        values = [each for resolver in self._resolvers for each in resolver.ever()]
        if self._guard is None or self._guarded != len(values):  # a value more: all has to be looked at anew
            self._guard, self._guarded = LeakGuard(values), len(values)
        return self._guard.enforce(roots, policy, self._log, cancel)

    def finish(self, cancel: CancelToken) -> None:
        """Ends the thread and gives everything back, what nobody took included. Raises nothing: the task's end counts more."""
        self._stop.cancel()
        if self._thread.ident is not None:
            left_s = cancel.remaining_s()
            self._thread.join(_JOIN_S if left_s is None else min(_JOIN_S, left_s / 2))  # the rest is for giving back
        try:
            self._take()
        except CopilotError as error:
            self._log.event("secret.close_failed", level="warning", reason=error.reason, error=error.message)
        for resolver in self._resolvers:
            try:
                resolver.close(cancel)
            except CopilotError as error:
                self._log.event("secret.close_failed", level="warning", reason=error.reason, error=error.message)
            else:
                self._log.event("secrets.given_back")
        with suppress(OSError):
            self._request.hand_over.unlink(missing_ok=True)

    def _take(self) -> bool:
        """Whether there is something in our keeping now; takes what waits to be taken."""
        with self._lock:
            if self._waits():
                from copilot.secrets.keep import keep_secrets  # noqa: PLC0415 - as above

                resolver = self._open()
                self._resolvers.append(resolver)  # first: what it comes to hold is given back, also when it is stopped there
                try:
                    rotator = keep_secrets(
                        self._request.hand_over,
                        resolver,
                        interval_s=self._request.interval_s,
                        notify=self._request.notify,
                        clock=self._clock,
                        log=self._log,
                        cancel=self._stop,
                    )
                except CopilotError:
                    if not (resolver.opened() or resolver.lends()):
                        self._resolvers.remove(resolver)
                    raise
                if rotator is not None:
                    self._rotators.append(rotator)
            return bool(self._rotators)

    def _waits(self) -> bool:
        """Whether something was handed over since we looked last: init may have failed after that, and be run again."""
        if not self._rotators:
            return self._request.hand_over.exists()
        from copilot.secrets.handover import HandOver  # noqa: PLC0415 - as above

        return HandOver(self._request.hand_over, self._clock).waits()

    def _run(self) -> None:
        try:
            if not self._await_hand_over():
                return
            while not self._stop.cancelled:
                self._log.event("secrets.kept", level="debug", interval_s=self._request.interval_s)
                self._rotators[-1].run(
                    Token(self._clock, parent=self._stop, latch=_Anew(self._request, self._clock, self._waits))
                )
                self._take()
        except Interrupted:
            return
        except CopilotError as error:
            self._log.event("secrets.not_kept", level="error", reason=error.reason, error=error.sentence())

    def _await_hand_over(self) -> bool:
        wait_s = _FIRST_LOOK_S
        while True:
            over = self._request.nothing_comes()  # asked first: what was handed over before it is seen
            if self._take():
                return True
            if over or self._stop.wait(wait_s):
                return False
            wait_s = min(_LAST_LOOK_S, wait_s * _SLOWER)


class _Anew:
    """Set once init has handed over again; looked at now and then, and no more once init is over."""

    def __init__(self, request: KeepRequest, clock: Clock, waits: Callable[[], bool]) -> None:
        self._request = request
        self._clock = clock
        self._waits = waits
        self._next_s = 0.0
        self._seen: tuple[int, ...] = ()
        self._over = self._set = False

    def is_set(self) -> bool:
        """Whether something waits."""
        now_s = self._clock.monotonic_s()
        if self._over or now_s < self._next_s:
            return self._set
        self._next_s = now_s + _LAST_LOOK_S
        self._over = self._request.nothing_comes()  # asked first: what was handed over before it is seen
        try:
            facts = self._request.hand_over.stat()
        except OSError:
            return False
        if self._seen != (facts.st_ino, facts.st_mtime_ns):
            self._seen = (facts.st_ino, facts.st_mtime_ns)
            self._set = self._waits()
        return self._set
