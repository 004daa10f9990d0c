"""Several witnesses at once: a proof ends the wait at once, anything less waits a little for those who may know more."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from copilot.core.completion import Saw, Witness, judge, may_change
from copilot.core.errors import CopilotError, DeadlineExceeded, InternalError
from copilot.engine.cancel import Token

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from copilot.core.ports import CancelToken, Clock, Completion, CompletionWatcher, Log
    from copilot.engine.cancel import Latch

_SLICE_S: Final = 0.1

SIGNAL_PATIENCE_S: Final = 1.0
"""After SIGTERM: main's state is in the API by then, and where main ate the whole grace period, SIGKILL comes 2 s later."""
MARKER_PATIENCE_S: Final = 2.0
"""After ``_SUCCESS``, while the wrapper lives: the task's last act is followed by its end, which may be a failure."""
GONE_PATIENCE_S: Final = 10.0
"""After the task's processes have gone: the status follows, and SIGTERM about a second later."""
LAST_WORDS_S: Final = 1.2


@runtime_checkable
class Prompt(Protocol):
    """What a watcher may have beside ``wait``: it can say whether to wait for it, and be asked to hurry."""

    witness: Witness

    def may_speak(self) -> bool:
        """Whether its word may still come."""
        ...

    def hurry(self) -> None:
        """Somebody waits for its word."""
        ...


@runtime_checkable
class Attached(Protocol):
    """A watcher that knows whether the task still runs."""

    def running(self) -> bool:
        """Whether it does."""
        ...


@dataclass(frozen=True, slots=True)
class Heard:
    """What the witnesses have said.

    Attributes:
        completions: their words, in order.
        failures: why others have said nothing.
    """

    completions: list[Completion]
    failures: list[CopilotError]


def await_completion(watchers: Sequence[CompletionWatcher], *, clock: Clock, log: Log, cancel: CancelToken) -> Heard:
    """Blocks until the end was seen and no witness is worth waiting for, and returns what all of them have said by then.

    A proof of success is enough by itself. After any other word, those who may overrule it are asked to hurry and waited for:
    as long as it takes while the wrapper says that the task still runs, else for the patience that the word is worth. A watcher
    that fails is logged and no longer asked. The first is the one that was asked for the end: when it fails before anything was
    seen, or all have failed, nobody would ever say anything, and the error is raised.

    Raises:
        Interrupted: ``cancel`` ended first.
        CopilotError: the first watcher has failed, or no watcher is left.
    """
    if not watchers:
        raise InternalError("Nobody was asked to watch the task", op="watch")
    hearing = _Hearing(watchers, clock, log, cancel)
    hearing.begin()
    try:
        while not hearing.seen:
            hearing.listen(_SLICE_S)
            cancel.check()
            hearing.check_left()
        hearing.settle()
    finally:
        hearing.stop.cancel("the task's end was seen")
    hearing.last_words()
    return Heard(hearing.seen, hearing.failures)


def await_start(
    watcher: CompletionWatcher, *, timeout_s: float | None, clock: Clock, cancel: CancelToken, over: Latch | None = None
) -> None:
    """Blocks until the start watcher says the task has begun, or ``over`` that nobody has to ask any more.

    Raises:
        DeadlineExceeded: it did not within ``timeout_s``.
        Interrupted: ``cancel`` ended first.
    """
    token = Token(clock, timeout_s=timeout_s, parent=cancel, latch=over, budget="--start-timeout")
    if watcher.wait(token) is None:
        cancel.check()
        if over is not None and over.is_set():
            return
        raise DeadlineExceeded(
            f"the task did not start within --start-timeout ({timeout_s:g} s)",
            op="watch",
            hint="Give it more time; 0 waits as long as it takes.",
        )


@dataclass(slots=True)
class _Hearing:
    """One wait: who has spoken, and who may yet."""

    watchers: Sequence[CompletionWatcher]
    clock: Clock
    log: Log
    cancel: CancelToken
    seen: list[Completion] = field(default_factory=list)
    failures: list[CopilotError] = field(default_factory=list)
    stop: Token = field(init=False)
    _silent: list[CompletionWatcher] = field(init=False)
    _lost: bool = False
    _said: SimpleQueue[tuple[CompletionWatcher, Completion | CopilotError | None]] = field(default_factory=SimpleQueue)

    def __post_init__(self) -> None:
        self.stop = Token(self.clock, parent=self.cancel)
        self._silent = list(self.watchers)

    def begin(self) -> None:
        """Every watcher waits in a thread of its own."""
        for watcher in self.watchers:
            name = f"watch-{type(watcher).__name__}"
            threading.Thread(target=self._ask, args=(watcher,), name=name, daemon=True).start()

    def _ask(self, watcher: CompletionWatcher) -> None:
        try:
            self._said.put((watcher, watcher.wait(self.stop)))
        except CopilotError as error:
            self._said.put((watcher, error))
        except Exception as cause:  # noqa: BLE001 - whatever it was: who waits for this thread must hear of it
            broken = InternalError(f"A watcher broke on {type(cause).__name__}", op="watch", subject=type(watcher).__name__)
            broken.__cause__ = cause
            self._said.put((watcher, broken))

    def listen(self, timeout_s: float) -> bool:
        """Takes one answer, if one comes in time; True if one did."""
        try:
            watcher, answer = self._said.get(timeout=max(0.0, timeout_s)) if timeout_s > 0 else self._said.get_nowait()
        except Empty:
            return False
        self._silent.remove(watcher)
        if isinstance(answer, CopilotError):
            self.failures.append(answer)
            self._lost = self._lost or watcher is self.watchers[0]
            self.log.event("watch.failed", level="warning", reason=answer.reason, error=answer.message)
        elif answer is not None:
            self.seen.append(answer)
            self.log.event("task.seen", level="debug", witness=answer.witness, saw=answer.reason, exit_code=answer.exit_code)
        return True

    def check_left(self) -> None:
        """Raises when nobody is left who could say anything."""
        if not self.seen and (self._lost or not self._silent):
            self.cancel.check()
            raise self.failures[-1] if self.failures else InternalError("Every watcher gave up without a word", op="watch")

    def settle(self) -> None:
        """Waits for those who may overrule what is known."""
        while self.listen(0):
            pass
        began_s, known = self.clock.monotonic_s(), len(self.seen)
        for watcher in self._prompts():
            watcher.hurry()
        while self._worth_waiting(self.clock.monotonic_s() - began_s):
            self.listen(_SLICE_S)
            self.cancel.check()
            if len(self.seen) != known:
                began_s, known = self.clock.monotonic_s(), len(self.seen)

    def _worth_waiting(self, waited_s: float) -> bool:
        # The markers are looked at when the wait is over: nobody has to wait for them.
        pending = {watcher.witness for watcher in self._prompts() if watcher.may_speak()}
        if judge(self.seen, trust_signal=False).publishes:
            marker = any(one.reason == Saw.SUCCESS_MARKER for one in self.seen)
            return marker and Witness.WRAPPER in pending and waited_s < MARKER_PATIENCE_S
        if not may_change(self.seen, pending):
            return False
        running = any(isinstance(watcher, Attached) and watcher.running() for watcher in self._silent)
        return running or waited_s < max(_PATIENCE_S.get(one.witness, SIGNAL_PATIENCE_S) for one in self.seen)

    def last_words(self) -> None:
        """What the others say now that the wait is over; where success is proven, nobody is waited for."""
        while self.listen(0):
            pass
        until_s = self.clock.monotonic_s() + LAST_WORDS_S
        while not judge(self.seen, trust_signal=False).publishes and self._awaited() and self.clock.monotonic_s() < until_s:
            self.listen(_SLICE_S)

    def _awaited(self) -> bool:
        pending = {watcher.witness for watcher in self._prompts() if watcher.may_speak()}
        return may_change(self.seen, pending)

    def _prompts(self) -> Iterator[Prompt]:
        return (watcher for watcher in self._silent if isinstance(watcher, Prompt))


_PATIENCE_S: Final = {Witness.PROCESS.value: GONE_PATIENCE_S}
