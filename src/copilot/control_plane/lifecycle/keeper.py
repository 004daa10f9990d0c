"""One attempt's life: its pod is made, watched, judged, and cleared away. A task of the event loop; its state is in rows.

Whatever the moment at which a keeper dies, another may begin from the row: making a pod that is there already finds it, a phase
that was reached is not reached again, and an end that was written is not written again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from copilot.control_plane.db.models import Action, Attempt
from copilot.control_plane.errors import StateChanged
from copilot.control_plane.hub import Subscription, action_topic, hint_topic
from copilot.control_plane.lifecycle import moves
from copilot.control_plane.lifecycle.archive import archive_log
from copilot.control_plane.lifecycle.claims import Claimed, token_hash
from copilot.control_plane.lifecycle.lost import lost_ending, node_lost
from copilot.control_plane.lifecycle.moves import Blame, Budgets, Ending
from copilot.control_plane.lifecycle.observe import Pod, Sight, look, main_name
from copilot.control_plane.lifecycle.obstacles import obstacle
from copilot.control_plane.lifecycle.phases import Phase
from copilot.control_plane.lifecycle.published import published
from copilot.control_plane.lifecycle.records import AttemptRecord, load_attempt
from copilot.core.errors import CopilotError, Kind, PodError, PodRefused

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from copilot.control_plane.db.database import Unit
    from copilot.control_plane.lifecycle.work import Published
    from copilot.control_plane.office import Office

_MOST_RETRY_S = 10.0
_LONGEST_BACKOFF_S = 365 * 86_400.0
_WORTH_TELLING_S = 1.0
"""What is tried again after so long is told to those who look at the run; what is over sooner is not."""


@dataclass(slots=True)
class _Wait:
    """A wait that doubles."""

    seconds: float

    def next(self) -> float:
        """How long this time."""
        now, self.seconds = self.seconds, min(self.seconds * 2, _MOST_RETRY_S)
        return now


class Keeper:
    """Looks after one claimed attempt until its pod is gone.

    Args:
        office: what all keepers share.
        claimed: the attempt.
    """

    def __init__(self, office: Office, claimed: Claimed) -> None:
        self._office = office
        self._claimed = claimed
        self._told: Sight | None = None
        self._closing = _Wait(office.settings.timing.retry_s)
        self.pod: Pod | None = None
        self.wakeup: Subscription | None = None

    async def run(self) -> None:
        """Until the pod is gone, through whatever fails meanwhile."""
        wait = _Wait(self._office.settings.timing.retry_s)
        hint = hint_topic(self._claimed.attempt_id)
        with self._office.hub.subscribe(action_topic(self._claimed.action_id), hint) as self.wakeup:
            while True:
                try:
                    if await self._step(self.wakeup, hint):
                        return
                except CopilotError as error:
                    self._office.log.event(
                        "attempt.again", level="warning", attempt=self._claimed.attempt_id, error=error.sentence()
                    )
                    pause_s = wait.next()
                    if pause_s >= _WORTH_TELLING_S:
                        await self._tell_waiting(error)
                    await asyncio.sleep(pause_s)
                else:
                    wait = _Wait(self._office.settings.timing.retry_s)

    async def _tell_waiting(self, error: CopilotError) -> None:
        """Who looks at the run reads what it waits for: the server's log is not theirs."""
        now = self._office.clock.now_s()

        def waiting(unit: Unit) -> None:
            record = load_attempt(unit.session, self._claimed.attempt_id)
            if record is not None and not record.ended:
                said = f"waiting: {error.sentence()}"
                moves.note(unit, record.action, record.attempt.number, said, at=now, reason=error.reason, warning=True)

        with contextlib.suppress(CopilotError):  # it may be the database itself
            await self._office.database.write(waiting)

    async def give_up(self, error: BaseException) -> None:
        """Ends an attempt that a bug of ours keeps from going on: its run ends with a reason, and does not wait for ever."""
        record = await self._load()
        if record is not None and not record.ended:
            message = f"something that should not happen did ({type(error).__name__}): a bug in copilot, see the server's log"
            await self._end(record, Ending(Phase.FAILED, Blame.SYSTEM, "Internal", message, retryable=False))
        await self.run()

    def see(self, pod: Pod | None) -> None:
        """The executor says something of this pod."""
        self.pod = pod
        if self.wakeup is not None:
            self.wakeup.wake()

    async def _step(self, wakeup: Subscription, hint: str) -> bool:
        """Does what can be done now, and waits for the next reason to look; True: nothing is left to do."""
        record = await self._load()
        if record is None or record.attempt.pod_gone:
            return True
        if record.ended:
            return await self._clear(record, wakeup)
        if not record.attempt.pod_created and not await self._make(record):
            return False
        hinted = hint in wakeup.heard
        wakeup.heard.discard(hint)
        if self.pod is None or hinted:
            # A report is faster than the executor's own watch: look for oneself.
            try:
                await self._ask(record)
            except CopilotError:
                wakeup.heard |= {hint} if hinted else set()
                raise
        if await self._look(record, hinted=hinted):
            return False
        if not await wakeup.wait(self._patience(record)):
            # Nobody said anything for a while: look for oneself, in case something was missed.
            self.pod = None
        return False

    async def _ask(self, record: AttemptRecord) -> None:
        """Asks for the pod. What the watch says while the answer is on its way is not older than the answer, and stays."""
        before = self.pod
        found = await self._office.executor.get(record.attempt.pod_name)
        if self.pod is before:
            self.pod = found

    # --- making the pod ---------------------------------------------------------------------------------------------

    async def _make(self, record: AttemptRecord) -> bool:
        """Makes the pod, or ends the attempt when it cannot be made."""
        found = None if self._claimed.token else await self._office.executor.get(record.attempt.pod_name)
        if found is None:
            try:
                token = self._claimed.token or await self._new_token(record)
                work = await self._office.work_for(record, token=token)
                built = self._office.maker.build(work)
                found = await self._office.executor.create(built.manifest, built.secrets)
            except CopilotError as error:
                if error.transient and not isinstance(error, PodRefused):
                    raise
                await self._end(record, _refused(error))
                return False
            notes = list(built.warnings) + self._office.executor_notes(built.manifest)
        else:
            notes = []
        # What the watch has said meanwhile is newer than the answer to our own request.
        self.pod = self.pod or found
        now = self._office.clock.now_s()

        def made(unit: Unit) -> bool:
            action, attempt = _locked(unit, record)
            attempt.pod_created = True
            for text in notes:
                moves.note(unit, action, attempt.number, text, at=now, reason="Note", warning=True)
            return attempt.pod_gone

        if await self._office.database.write(made):
            # We were away for so long that another server has seen this attempt to its end: nobody else knows of this pod.
            await self._office.executor.delete(record.attempt.pod_name, grace_s=0)
            await self._office.executor.release(record.attempt.pod_name)
            return False
        return True

    async def _new_token(self, record: AttemptRecord) -> str:
        """The pod was not made before the takeover, so the token in its row was never handed out: another one."""
        token = secrets.token_urlsafe(24)

        def renew(unit: Unit) -> None:
            _, attempt = _locked(unit, record)
            attempt.token_hash = token_hash(token)

        await self._office.database.write(renew)
        return token

    # --- watching it ------------------------------------------------------------------------------------------------

    async def _look(self, record: AttemptRecord, *, hinted: bool) -> bool:
        """Writes what is new of the pod; True when the attempt has ended by it."""
        now = self._office.clock.now_s()
        pod = self.pod
        sight = look(pod) if pod is not None else None
        late = self._overdue(record, sight, now)
        # Who has ended is judged first: it may have done so in time, and nobody was there to see it.
        if late is not None and (sight is None or not sight.main_ended):
            await self._end(record, late)
            return True
        if sight is None or sight.main_ended or sight.finished or hinted:
            ending = await self._judge(record, pod)
            if ending is not None:
                await self._end(record, ending if sight is None else replace(ending, times={**sight.times, **ending.times}))
                return True
        if late is not None:
            await self._end(record, late)
            return True
        if sight is not None and sight != self._told:
            await self._tell(record, sight, now)
            self._told = sight
        blocked = obstacle(pod, now=now, patience_s=self._office.settings.timing.start_s) if pod is not None else None
        if blocked is not None:
            await self._end(record, blocked)
            return True
        if pod is not None and self._lost(pod):
            judged = await self._judge(record, None)
            await self._end(record, lost_ending(pod) if judged is None or judged.blame is Blame.PREEMPTION else judged)
            return True
        return False

    def _lost(self, pod: Pod) -> bool:
        return node_lost(pod, now=self._office.clock.now_s(), patience_s=self._office.settings.timing.lost_s)

    async def _judge(self, record: AttemptRecord, pod: Pod | None) -> Ending | None:
        left = await self._published(record)
        work = await self._office.work_for(record, token="")
        return self._office.maker.judge(work, pod, left)

    async def _published(self, record: AttemptRecord) -> Published:
        return await self._office.objects.run(lambda: published(self._office.objects, record.attempt.output_prefix))

    async def _tell(self, record: AttemptRecord, sight: Sight, now: float) -> None:
        def tell(unit: Unit) -> None:
            action, attempt = _locked(unit, record)
            if attempt.ended_at is not None:
                return
            for word in sight.words:
                at = min(word.at or now, now)
                moves.note(unit, action, attempt.number, word.message, at=at, reason=word.reason, warning=word.warning)
            moves.advance(unit, action, attempt, sight.phase, now=now, times=sight.times, reason="observed")

        await self._office.database.write(tell)

    async def _end(self, record: AttemptRecord, ending: Ending) -> None:
        now = self._office.clock.now_s()
        budgets = self._budgets(record)

        def end(unit: Unit) -> None:
            action, attempt = _locked(unit, record)
            moves.end_attempt(unit, action, attempt, ending, budgets, now=now)

        await self._office.database.write(end)

    def _budgets(self, record: AttemptRecord) -> Budgets:
        """The server's budgets, with the back-off the task itself asks for."""
        budgets = self._office.settings.budgets
        backoff = record.spec.task_template.metadata.retries.backoff
        base_s = backoff.base.ToTimedelta().total_seconds()
        if base_s <= 0:
            return budgets
        cap_s = backoff.cap.ToTimedelta().total_seconds() or _LONGEST_BACKOFF_S
        try:
            wait_s = base_s * (backoff.factor if backoff.factor > 1 else 1.0) ** record.action.user_failures
        except OverflowError:
            wait_s = cap_s
        return replace(budgets, user_backoff_s=min(wait_s, cap_s))

    def _timeout_s(self, record: AttemptRecord) -> float:
        return float(record.spec.task_template.metadata.timeout.ToTimedelta().total_seconds())

    def _overdue(self, record: AttemptRecord, sight: Sight | None, now: float) -> Ending | None:
        """The end of an attempt that takes too long. After the action's own deadline no further attempt can be in time."""
        times = sight.times if sight is not None else {}
        if record.action.deadline is not None and now > record.action.deadline:
            message = "the task and its attempts took longer than its deadline"
            return Ending(Phase.TIMED_OUT, Blame.USER, "TimedOut", message, retryable=False, ended_at=now, times=times)
        running = times.get(Phase.RUNNING) if sight is not None and not sight.main_ended else None
        timeout_s = self._timeout_s(record)
        if timeout_s <= 0 or running is None or now <= timeout_at(running, timeout_s):
            return None
        message = "the task took longer than its timeout"
        return Ending(Phase.TIMED_OUT, Blame.USER, "TimedOut", message, ended_at=now, times=times)

    def _patience(self, record: AttemptRecord) -> float:
        """Seconds to the next look without a reason: a deadline, or the resync.

        Once main has ended its outputs may appear any moment, and who reports them may not get through: soon, then less often.
        """
        now = self._office.clock.now_s()
        due = [now + self._office.settings.timing.resync_s]
        if self._told is not None and self._told.main_ended and not self._told.finished:
            due.append(now + self._closing.next())
        if record.action.deadline is not None:
            due.append(record.action.deadline)
        running = self._told.times.get(Phase.RUNNING) if self._told is not None else None
        if running is not None and (timeout_s := self._timeout_s(record)) > 0:
            due.append(timeout_at(running, timeout_s))
        return max(0.01, min(due) - now + 0.001)

    # --- clearing it away -------------------------------------------------------------------------------------------

    async def _clear(self, record: AttemptRecord, wakeup: Subscription) -> bool:
        """The attempt has ended: its pod ends too, its log is kept, and it goes."""
        executor, timing, clock = self._office.executor, self._office.settings.timing, self._office.clock
        name = record.attempt.pod_name
        pod = await executor.get(name)
        asked = False
        # What was not asked to stop gets the time to finish what it is doing: a sidecar its upload, say.
        by_itself = record.attempt.phase in (int(Phase.SUCCEEDED), int(Phase.FAILED))
        deadline = (record.attempt.ended_at or clock.now_s()) + (timing.settle_s if by_itself else 0.0)
        pause = _Wait(timing.retry_s)
        while pod is not None and not look(pod).finished and not self._lost(pod):
            if not asked and clock.now_s() >= deadline:
                await executor.delete(name, grace_s=timing.abort_grace_s)
                asked = True
            await wakeup.wait(pause.next() if asked else max(timing.retry_s, min(deadline - clock.now_s(), timing.resync_s)))
            wakeup.heard.clear()
            pod = await executor.get(name)
        archived = record.attempt.logs_archived
        if pod is not None and not archived and look(pod).times.get(Phase.RUNNING) is not None and not self._lost(pod):
            archived = await self._archive(record, main_name(pod))
        if pod is not None:
            await executor.release(name)
            await executor.delete(name, grace_s=0)

        def gone(unit: Unit) -> None:
            action, attempt = _locked(unit, record)
            attempt.pod_gone = True
            attempt.logs_archived = archived
            attempt.logs_available = attempt.logs_available or archived
            moves.told(unit, action)

        await self._office.database.write(gone)
        return True

    async def _archive(self, record: AttemptRecord, main: str) -> bool:
        """Keeps main's log; False when nobody gives it, or takes it: then its pod goes without, instead of staying for ever.

        A store that is away is waited for; one that refuses is given the time to be mended.
        """
        office, attempt = self._office, record.attempt
        known = await office.known_secrets(record)
        try:
            return await archive_log(office.executor, office.objects, attempt.pod_name, main, attempt.logs_uri, known=known)
        except CopilotError as error:
            early = office.clock.now_s() < (attempt.ended_at or 0.0) + office.settings.timing.log_s
            if (error.transient and early) if isinstance(error, PodError) else (error.transient or early):
                raise
            office.log.event("attempt.log_lost", level="warning", attempt=attempt.id, error=error.sentence())
            return False

    async def _load(self) -> AttemptRecord | None:
        def load(session: Session) -> AttemptRecord | None:
            return load_attempt(session, self._claimed.attempt_id)

        return await self._office.database.read(load)


def timeout_at(running: float, timeout_s: float) -> float:
    """When main has had its time. Kubernetes tells starts in whole seconds, rounded down: it may have begun later."""
    return running + timeout_s + (1.0 if float(running).is_integer() else 0.0)


def _locked(unit: Unit, record: AttemptRecord) -> tuple[Action, Attempt]:
    action = moves.lock(unit.session, record.action.id)
    attempt = unit.session.get(Attempt, record.attempt.id, with_for_update=True)
    if action is None or attempt is None:
        raise StateChanged(f"attempt {record.attempt.id} is not there any more")
    return action, attempt


def _refused(error: CopilotError) -> Ending:
    blame = Blame.USER if error.kind is Kind.USER else Blame.SYSTEM
    return Ending(Phase.FAILED, blame, error.reason, error.sentence(), retryable=False)
