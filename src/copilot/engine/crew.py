"""A bounded crew of threads: jobs come from an iterator as there is room, results leave as they are made, nothing piles up.

Store calls block inside libraries and cannot be interrupted. So the thread that consumes the results is also the watchman: it
looks at the clock, at the caller's ``CancelToken`` and at each worker's *beat* ten times a second. A worker without a beat
for ``stall_s`` is disowned: its job starts again on a new thread, and whatever the old one still has in hand is refused when
it wakes (``Beat.lock`` makes that refusal and the writing of a chunk exclude each other).
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from copilot.core.errors import Cancelled, CopilotError, DeadlineExceeded, InternalError, Stalled
from copilot.engine.cancel import wait_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from copilot.core.ports import CancelToken, Clock, Log
    from copilot.engine.budget import Limits
    from copilot.engine.retry import Patience, Retrier

T = TypeVar("T")

_WATCH_S = 0.1
_QUEUED_JOBS = 256
_QUEUED_RESULTS = 1024
_HELD_HEAVY = 16
_LEAVE_S = 0.6
_SILENT_S = 3.0
_NETWORK = "Check the network between this pod and the store."


class Disowned(BaseException):
    """Raised inside a worker that nobody waits for any more. Not an ``Exception``: nothing on the way may swallow it."""


class Beat:
    """A worker's sign of life. ``touch`` it whenever bytes moved; write what arrived under ``lock`` after ``check``."""

    __slots__ = ("_clock", "at_s", "busy", "crew", "disowned", "job", "lock", "slack_s")

    def __init__(self, crew: Crew[Any], clock: Clock) -> None:
        """Belongs to one thread of ``crew``."""
        self.crew = crew
        self._clock = clock
        self.lock = threading.Lock()
        self.disowned = False
        self.busy = False
        self.job: Job[Any] | None = None
        self.at_s = clock.monotonic_s()
        self.slack_s = 0.0

    def check(self) -> None:
        """Raises ``Disowned`` when this thread's work is not wanted any more."""
        if self.disowned or self.crew.stopping:
            raise Disowned

    def touch(self) -> None:
        """Something moved just now."""
        self.at_s = self._clock.monotonic_s()
        if self.disowned or self.crew.stopping:
            raise Disowned

    @contextmanager
    def waiting(self, slack_s: float) -> Iterator[None]:
        """Inside, ``slack_s`` more seconds of silence are no stall: what was handed over may still be on its way."""
        self.slack_s = slack_s
        try:
            yield
        finally:
            self.slack_s = 0.0


class Job(Protocol[T]):
    """One piece of work. ``run`` may be called again after a stall, on another thread."""

    heavy: bool
    patience: Patience

    @property
    def subject(self) -> str:
        """The object, for messages."""
        ...

    def run(self, crew: Crew[T], beat: Beat) -> T | None:
        """Does it; the result, or None when another job will bring it."""
        ...


class _Failure:
    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _End:
    __slots__ = ()


class Crew(Generic[T]):
    """Runs jobs on at most ``limits.max_workers`` threads.

    Args:
        jobs: where they come from; iterated on a thread of its own, never more than a few hundred ahead.
        limits: how many threads, how long a silence.
        heavy_slots: how many jobs with ``heavy`` set may run at once.
        retrier: whose patience a stalled job uses up.
        clock: for beats.
        cancel: the caller's token.
        log: hears ``stalled`` when a worker was disowned.
    """

    def __init__(
        self,
        jobs: Iterator[Job[T]],
        *,
        limits: Limits,
        heavy_slots: int,
        retrier: Retrier,
        clock: Clock,
        cancel: CancelToken,
        log: Log,
    ) -> None:
        """See the class."""
        self.stopping = False
        self._jobs = jobs
        self._limits = limits
        self._retrier = retrier
        self._clock = clock
        self._cancel = cancel
        self._log = log
        lock = threading.Lock()
        self._state = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._ready: deque[Job[T]] = deque()
        self._urgent: deque[Job[T]] = deque()
        self._heavy: deque[Job[T]] = deque()
        self._heavy_free = heavy_slots
        self._running = 0
        self._idle = 0
        self._fed = False
        self._beats: dict[Beat, threading.Thread] = {}
        self._results: queue.SimpleQueue[T | _Failure | _End] = queue.SimpleQueue()

    # --- for jobs -----------------------------------------------------------------------------------------------------

    def urgent(self, jobs: list[Job[T]]) -> None:
        """Puts the further parts of something begun before everything that is not."""
        with self._state:
            self._urgent.extend(jobs)
            self._hire()
            self._state.notify(len(jobs))

    # What a job passes as the CancelToken of its waits: the crew's own end, known without asking the clock.

    def check(self) -> None:
        """Raises ``Cancelled`` when the crew has been stopped."""
        if self.stopping:
            raise Cancelled("the transfer was stopped")

    @property
    def cancelled(self) -> bool:
        """Whether the crew has been stopped."""
        return self.stopping

    def remaining_s(self) -> float | None:
        """As the caller's token says."""
        return self._cancel.remaining_s()

    def wait(self, seconds: float) -> bool:
        """Sleeps on the clock, or until the crew is stopped; True if it was."""
        return wait_on(self, self._clock, seconds)

    # --- for the caller -----------------------------------------------------------------------------------------------

    def results(self) -> Iterator[T]:
        """Results as they come, in no order. The first error stops everything and is raised when all have stopped."""
        self._cancel.check()
        feeder = threading.Thread(target=self._feed, name="copilot-feed", daemon=True)
        feeder.start()
        watched_s = time.monotonic()
        try:
            while True:
                try:
                    item = self._results.get(timeout=_WATCH_S)
                except queue.Empty:
                    item = None
                if item is None or time.monotonic() - watched_s >= _WATCH_S:
                    watched_s = time.monotonic()
                    self._check_time()
                    self._watch()
                if isinstance(item, _End):
                    return
                if isinstance(item, _Failure):
                    raise item.error
                if item is not None:
                    yield item
        finally:
            self._leave(feeder)

    def _check_time(self) -> None:
        """As the caller's token; but where nobody gets on, what keeps them says more than that the time is over."""
        try:
            self._cancel.check()
        except DeadlineExceeded as error:
            now_s = self._clock.monotonic_s()
            busy = [(job, now_s - beat.at_s) for beat in list(self._beats) if beat.busy and (job := beat.job) is not None]
            stuck = [(job, silent_s) for job, silent_s in busy if job.patience.failed is not None or silent_s >= _SILENT_S]
            if not stuck or len(stuck) < len(busy):
                raise
            for job, _ in stuck:
                if job.patience.failed is not None:
                    raise job.patience.failed from None
            job, silent_s = stuck[0]
            said = f"{error.message}, and nothing was heard of {job.subject} for {silent_s:.0f} s"
            raise DeadlineExceeded(said, op=error.op, subject=job.subject, hint=_NETWORK) from None

    def _watch(self) -> None:
        now_s = self._clock.monotonic_s()
        for beat in list(self._beats):
            silent_s = now_s - beat.at_s
            if not beat.busy or silent_s < self._limits.stall_s + beat.slack_s:
                continue
            # A worker that holds its lock is writing to the disk: that is not the silence we look for.
            if not beat.lock.acquire(blocking=False):
                continue
            job = beat.job
            beat.disowned = beat.busy
            beat.lock.release()
            if beat.disowned and job is not None:
                self._replace(beat, job, silent_s)

    def _replace(self, beat: Beat, job: Job[T], silent_s: float) -> None:
        with self._state:
            self._beats.pop(beat, None)
        error = Stalled(
            f"Nothing was heard of {job.subject} for {silent_s:.0f} s",
            op="transfer",
            subject=job.subject,
            hint=_NETWORK,
        )
        if self._retrier.stop(error, job.patience):
            self._fail(error)
            return
        self._log.event(
            "stalled", level="warning", subject=job.subject, silent_s=round(silent_s, 1), attempt=job.patience.attempts
        )
        with self._state:
            # In one step: a job that is neither running nor waiting would be the end for others, one that is both for nobody.
            # Its slot, if it is heavy, is its own again.
            self._running -= 1
            self._urgent.append(job)
            self._hire()
            self._state.notify()

    def _leave(self, feeder: threading.Thread) -> None:
        """Stops everybody and waits a moment for those who can hear it."""
        with self._state:
            self.stopping = True
            self._state.notify_all()
            self._room.notify_all()
        until_s = time.monotonic() + _LEAVE_S
        for thread in [feeder, *self._beats.values()]:
            thread.join(max(0.0, until_s - time.monotonic()))

    # --- threads ------------------------------------------------------------------------------------------------------

    def _feed(self) -> None:
        try:
            for job in self._jobs:
                with self._state:
                    while len(self._ready) >= _QUEUED_JOBS and not self.stopping:
                        self._room.wait()
                    if self.stopping:
                        return
                    self._ready.append(job)
                    self._hire()
                    if self._idle:
                        self._state.notify()
            with self._state:
                self._fed = True
                if self._finished():
                    self._end()
        except BaseException as error:  # noqa: BLE001 - it is raised again, where the caller is
            self._fail(error)

    def _hire(self) -> None:
        missing = min(len(self._ready) + len(self._urgent) - self._idle, self._limits.max_workers - len(self._beats))
        for _ in range(missing):
            beat = Beat(self, self._clock)
            thread = threading.Thread(target=self._work, args=(beat,), name="copilot-worker", daemon=True)
            self._beats[beat] = thread
            thread.start()

    def _work(self, beat: Beat) -> None:
        try:
            while (job := self._next(beat)) is not None:
                result = job.run(self, beat)
                self._done(beat, job)
                if result is not None:
                    self._results.put(result)
                    self._let_consumer_catch_up()
                self._settle()
        except Disowned:
            return
        except BaseException as error:  # noqa: BLE001 - as above
            if not beat.disowned:
                self._fail(error)

    def _next(self, beat: Beat) -> Job[T] | None:
        with self._state:
            while not self.stopping and not beat.disowned:
                job = self._take()
                if job is not None:
                    self._running += 1
                    beat.job = job
                    beat.at_s = self._clock.monotonic_s()
                    beat.busy = True
                    return job
                if self._finished():
                    self._end()
                    return None
                self._idle += 1
                self._state.wait()
                self._idle -= 1
        return None

    def _take(self) -> Job[T] | None:
        if self._heavy and self._heavy_free:
            self._heavy_free -= 1
            return self._heavy.popleft()
        if self._urgent:
            return self._urgent.popleft()
        while self._ready and len(self._heavy) < _HELD_HEAVY:
            job = self._ready.popleft()
            if len(self._ready) == _QUEUED_JOBS // 2:
                self._room.notify()
            if not job.heavy:
                return job
            if self._heavy_free:
                self._heavy_free -= 1
                return job
            self._heavy.append(job)
        return None

    def _done(self, beat: Beat, job: Job[T]) -> None:
        with beat.lock:
            # From here on the result counts, or the job has been given to somebody else: never both.
            if beat.disowned:
                raise Disowned
            beat.busy = False
            beat.job = None
        if job.heavy:
            with self._state:
                self._heavy_free += 1
                self._state.notify()

    def _settle(self) -> None:
        with self._state:
            self._running -= 1
            if self._finished():
                self._end()

    def _finished(self) -> bool:
        return self._fed and not (self._running or self._ready or self._urgent or self._heavy)

    def _end(self) -> None:
        self._results.put(_End())
        self.stopping = True
        self._state.notify_all()

    def _let_consumer_catch_up(self) -> None:
        while self._results.qsize() > _QUEUED_RESULTS and not self.stopping:
            time.sleep(_WATCH_S / 10)

    def _fail(self, error: BaseException) -> None:
        with self._state:
            if self.stopping:
                return
            self.stopping = True
            if not isinstance(error, CopilotError | KeyboardInterrupt | SystemExit):
                unexpected = InternalError(f"A transfer broke on {type(error).__name__}", op="transfer")
                unexpected.__cause__ = error
                error = unexpected
            self._results.put(_Failure(error))
            self._state.notify_all()
            self._room.notify_all()
