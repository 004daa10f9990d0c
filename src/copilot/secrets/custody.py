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
        self._resolver: Resolver | None = None
        self._rotator: Rotator | None = None
        self._guard: LeakGuard | None = None
        self._guarded = 0
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
            self._log.event("secrets.not_known", level="error", reason=error.reason, error=error.sentence())
            return False
        return True

    def guard(self, roots: Sequence[Path], policy: str, cancel: CancelToken) -> list[Finding]:
        """Looks for every value ever known in ``roots``. Files that were clean and have not changed are not read again.

        Raises:
            SecretLeaked: there is one, and ``policy`` is ``refuse``.
            UnreadableOutput: a file cannot be read.
        """
        if policy == "off" or not self._take():
            return []
        from copilot.secrets.leak_guard import LeakGuard  # noqa: PLC0415 - only a pod with secrets pays for it

        values = [] if self._resolver is None else self._resolver.ever()
        if self._guard is None or self._guarded != len(values):  # a value more: all has to be looked at anew
            self._guard, self._guarded = LeakGuard(values), len(values)
        return self._guard.enforce(roots, policy, self._log, cancel)

    def finish(self, cancel: CancelToken) -> None:
        """Ends the thread and gives everything back, what nobody took included. Raises nothing: the task's end counts more."""
        self._stop.cancel()
        if self._thread.ident is not None:
            left_s = cancel.remaining_s()
            self._thread.join(_JOIN_S if left_s is None else min(_JOIN_S, left_s))
        try:
            if self._take() and self._rotator is not None:
                self._rotator.finish(cancel)
                self._log.event("secrets.given_back")
        except CopilotError as error:
            self._log.event("secret.close_failed", level="warning", reason=error.reason, error=error.message)
        with suppress(OSError):
            self._request.hand_over.unlink(missing_ok=True)

    def _take(self) -> bool:
        """Whether there is something in our keeping now; takes what waits to be taken."""
        with self._lock:
            if self._rotator is None and self._request.hand_over.exists():
                from copilot.secrets.keep import keep_secrets  # noqa: PLC0415 - as above

                self._resolver = self._open()
                self._rotator = keep_secrets(self._request, self._resolver, clock=self._clock, log=self._log, cancel=self._stop)
            return self._rotator is not None

    def _run(self) -> None:
        try:
            if self._await_hand_over() and self._rotator is not None:
                self._log.event("secrets.kept", level="debug", interval_s=self._request.interval_s)
                self._rotator.run(self._stop)
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
