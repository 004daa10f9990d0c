"""The one retry loop of the program. Adapters say what is transient; here it is decided whether and when to try again.

Patience is a deadline, not a count: an attempt may follow another for as long as ``RetryPolicy.deadline_s`` after the last
progress. Waits grow exponentially with jitter and are never shorter than what the other side asked for (``Retry-After``). A
store that has not answered once in this process gets less patience: a wrong endpoint should not cost minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from copilot.core.errors import ChecksumMismatch, CopilotError, NoIdentity, ObjectChanged, SecretUnreachable, Unreachable
from copilot.core.uri import redact

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tenacity import RetryCallState

    from copilot.core.ports import CancelToken, Clock, Log

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patient to be.

    Attributes:
        deadline_s: seconds after the last progress in which a transient failure is tried again.
        first_contact_s: the same for ``Unreachable`` while the store has not answered once.
        identity_s: the same for ``NoIdentity``: what gives a pod its credentials may begin some seconds after the pod.
        least_attempts: attempts that are made whatever the deadline says: one long silence must not be the end.
        attempts: most attempts without progress; None for no limit but the deadline.
        content_attempts: most attempts when what fails is the content (it changed, its checksum is wrong).
        first_wait_s: the first wait's upper bound, in seconds; doubled each time.
        max_wait_s: a wait's upper bound, in seconds, unless the store itself asks for more.
    """

    deadline_s: float = 300.0
    first_contact_s: float = 30.0
    identity_s: float = 10.0
    least_attempts: int = 3
    attempts: int | None = None
    content_attempts: int = 5
    first_wait_s: float = 0.2
    max_wait_s: float = 20.0


class Patience:
    """What one piece of work has used of its policy. Travels with the work when another thread takes it over."""

    __slots__ = ("attempts", "began_s", "content_failures", "failed")

    def __init__(self, began_s: float) -> None:
        """Starts whole at ``began_s`` (monotonic seconds)."""
        self.began_s = began_s
        self.attempts = 0
        self.content_failures = 0
        self.failed: CopilotError | None = None
        """What the last attempt without progress failed on."""

    def renew(self, now_s: float) -> None:
        """There was progress: start counting anew, except for failures of the content itself."""
        self.began_s = now_s
        self.attempts = 0
        self.failed = None


class Retrier:
    """Runs store calls, again and again where that makes sense.

    Args:
        policy: how patient to be.
        clock: whose time deadlines and waits are in.
        log: hears ``retry`` (warning) before each wait: op, subject, reason, error, attempt, wait_s.
        rng: the jitter's randomness; give a seeded one for reproducible waits.
    """

    def __init__(self, policy: RetryPolicy, *, clock: Clock, log: Log, rng: random.Random | None = None) -> None:
        """See the class."""
        self.policy = policy
        self._clock = clock
        self._log = log
        self._rng = rng
        self._answered = False

    def patience(self) -> Patience:
        """A fresh one, starting now."""
        return Patience(self._clock.monotonic_s())

    def call(self, fn: Callable[[], T], *, cancel: CancelToken, op: str, subject: str, patience: Patience | None = None) -> T:
        """``fn()``, tried again while its ``CopilotError`` is transient and there is patience left.

        ``subject`` is a URI as it is; only its public part is logged. The last error is raised as it is.
        ``Cancelled`` or ``DeadlineExceeded`` is raised from the wait when ``cancel`` says so.
        """
        try:
            result = fn()
        except CopilotError as error:
            if not error.transient:
                raise
            return self._again(fn, error, cancel=cancel, op=op, subject=subject, patience=patience or self.patience())
        self._answered = True
        return result

    def stop(self, error: CopilotError, patience: Patience) -> bool:
        """Counts ``error``; whether it is the last one to bear."""
        patience.attempts += 1
        patience.failed = error
        if isinstance(error, ObjectChanged | ChecksumMismatch):
            patience.content_failures += 1
            if patience.content_failures >= self.policy.content_attempts:
                return True
        if self.policy.attempts is not None and patience.attempts >= self.policy.attempts:
            return True
        if patience.attempts < self.policy.least_attempts:
            return False
        return self._clock.monotonic_s() - patience.began_s >= self._limit_s(error)

    def _limit_s(self, error: CopilotError) -> float:
        limit_s = self.policy.deadline_s
        if not self._answered and isinstance(error, Unreachable | SecretUnreachable):
            limit_s = min(limit_s, self.policy.first_contact_s)
        elif not self._answered and isinstance(error, NoIdentity):
            limit_s = min(limit_s, self.policy.identity_s)
        return limit_s

    def wait_s(self, error: CopilotError, patience: Patience) -> float:
        """Seconds until the next attempt: full jitter over an exponential bound, at least what the store asked for."""
        bound_s = min(self.policy.max_wait_s, self.policy.first_wait_s * 2 ** min(patience.attempts - 1, 16))
        if self._rng is None:
            from random import Random  # noqa: PLC0415 - as tenacity: for who needs a second attempt

            self._rng = Random()  # noqa: S311 - jitter, not cryptography
        return max(self._rng.uniform(bound_s / 2, bound_s), error.retry_after_s or 0.0)

    def _within(self, cancel: CancelToken, wait_s: float) -> float:
        """``wait_s``, or half of the time that is left if that is less: the last attempts come before the deadline."""
        left_s = cancel.remaining_s()
        return wait_s if left_s is None or wait_s < left_s else left_s / 2

    def _is_over(self, cancel: CancelToken) -> bool:
        """Whether there is no time for another attempt: what failed says more then than that the time is over."""
        left_s = cancel.remaining_s()
        return left_s is not None and left_s < self.policy.first_wait_s

    def _again(
        self, fn: Callable[[], T], first: CopilotError, *, cancel: CancelToken, op: str, subject: str, patience: Patience
    ) -> T:
        from tenacity import Retrying, retry_if_exception  # noqa: PLC0415 - 50 ms nobody pays who needs no second attempt

        pending: list[CopilotError] = [first]

        def attempt() -> T:
            if pending:
                raise pending.pop()
            result = fn()
            self._answered = True
            return result

        def failure(state: RetryCallState) -> CopilotError:
            error = state.outcome.exception() if state.outcome is not None else None
            assert isinstance(error, CopilotError)  # noqa: S101 - retry_if_exception let nothing else pass
            return error

        def sleep(seconds: float) -> None:
            cancel.wait(seconds)
            cancel.check()

        def tell(state: RetryCallState) -> None:
            error = failure(state)
            self._log.event(
                "retry",
                level="warning",
                op=op,
                subject=redact(subject),
                reason=error.reason,
                error=error.message,
                attempt=patience.attempts,
                wait_s=round(state.upcoming_sleep, 3),
            )

        return Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, CopilotError) and error.transient),
            stop=lambda state: self.stop(failure(state), patience) or self._is_over(cancel),
            wait=lambda state: self._within(cancel, self.wait_s(failure(state), patience)),
            sleep=sleep,
            before_sleep=tell,
            reraise=True,
        )(attempt)
