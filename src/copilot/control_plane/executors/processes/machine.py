"""The kubelet's rules for one pod, as a state machine without a clock, a process or a file.

Whoever drives it tells it what happened (``began``, ``start_failed``, ``exited``, ``probed``, ``delete``, ``evict``, ``tick``)
and carries out the actions that come back. The rules are those of Kubernetes 1.32 as measured on a real cluster
(``docs/pods.md`` has the table).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from copilot.control_plane.executors.processes.container_state import (
    ENDED,
    RUNNING,
    STARTING,
    WAITING,
    ContainerState,
    Ended,
    Now,
)
from copilot.control_plane.executors.processes.spec import INIT, MAIN, SIDECAR, PodSpec

LEAST_GRACE_S: Final = 2.0  # what a sidecar gets when the main container ate the whole grace period

DONE: Final = "done"
INIT_FAILED: Final = "init-failed"
DELETED: Final = "deleted"
DEADLINE: Final = "deadline"


@dataclass(frozen=True, slots=True)
class Start:
    """Start this container's process; answer with ``began`` or ``start_failed``."""

    container: str


@dataclass(frozen=True, slots=True)
class Signal:
    """Send this container ``TERM`` or ``KILL``."""

    container: str
    signal: str


@dataclass(frozen=True, slots=True)
class RunProbe:
    """Run this probe; answer with ``probed``."""

    container: str
    kind: str


Action = Start | Signal | RunProbe


@dataclass(slots=True)
class Stop:
    """The pod is being stopped: why, and when (monotonic seconds) its grace is over."""

    reason: str
    deadline: float


class PodMachine:
    """One pod's rules.

    Args:
        spec: the pod.
        now: when it was taken over by this node.
        notice_s: how long after main's end that end is noticed (a real kubelet looks once a second; here 0 by default).
        eager_s: startup probes are run this often, although they fail no oftener than their period says; None: as they say.
    """

    def __init__(self, spec: PodSpec, now: Now, *, notice_s: float = 0.0, eager_s: float | None = None) -> None:
        """See the class."""
        self.spec = spec
        self.born = now
        self.containers = {each.name: ContainerState(each, eager_s) for each in spec.containers}
        self.stop: Stop | None = None
        self.finished = False
        self.initialized = False
        self.changed_wall_s = now.wall
        self.disruption: tuple[str, str] | None = None
        self._notice_s = notice_s
        self._done_at: float | None = None
        self._actions: list[Action] = []

    # --- what happened --------------------------------------------------------------------------------------------

    def begin(self, now: Now) -> list[Action]:
        """The pod was given to this node."""
        return self._advance(now)

    def began(self, container: str, now: Now) -> list[Action]:
        """A container's process runs."""
        state = self.containers[container]
        state.began(now)
        self.changed_wall_s = now.wall
        if self.stop is not None and state.spec.role != SIDECAR:
            self._term(state, self.stop.deadline)
        return self._advance(now)

    def start_failed(self, container: str, reason: str, message: str, now: Now, exit_code: int = 128) -> list[Action]:
        """A container's process could not be started at all (the command does not exist)."""
        self.containers[container].over(Ended(exit_code, reason, message, 0.0, now.wall))
        self._after_end(self.containers[container], now)
        return self._advance(now)

    def exited(self, container: str, exit_code: int, now: Now, *, oom: bool = False, message: str = "") -> list[Action]:
        """A container's process ended."""
        state = self.containers[container]
        reason = "OOMKilled" if oom and exit_code else "Error" if exit_code else "Completed"
        state.over(Ended(exit_code, reason, message, state.started_wall_s, now.wall))
        self._after_end(state, now)
        return self._advance(now)

    def probed(self, container: str, kind: str, now: Now, *, passed: bool) -> list[Action]:
        """A probe answered, or ran out of its time."""
        state = self.containers[container]
        before = (state.started, state.ready)
        if state.probed(kind, now, passed=passed) and not state.told_to_stop:
            self._term(state, now.mono + self.spec.grace_s)
        if (state.started, state.ready) != before:
            self.changed_wall_s = now.wall
        return self._advance(now)

    def delete(self, grace_s: float, now: Now) -> list[Action]:
        """The pod's object got a deletion timestamp; a second call can only shorten the grace."""
        self._begin_stop(DELETED, grace_s, now)
        return self._advance(now)

    def evict(self, reason: str, message: str, grace_s: float, now: Now) -> list[Action]:
        """As ``delete``, with the condition ``DisruptionTarget`` first."""
        self.disruption = (reason, message)
        self.changed_wall_s = now.wall
        return self.delete(grace_s, now)

    def tick(self, now: Now) -> list[Action]:
        """Time went by (see ``wake_at``)."""
        return self._advance(now)

    def wake_at(self) -> float | None:
        """The monotonic time of the next ``tick`` that could do anything; None when only events can."""
        if self.finished:
            return None
        due = [at for state in self.containers.values() for at in state.timers()]
        if self.stop is None and self._done_at is not None:
            due.append(self._done_at)
        if self.spec.active_deadline_s is not None and (self.stop is None or self.stop.reason == DONE):
            due.append(self.born.mono + self.spec.active_deadline_s)
        return min(due, default=None)

    # --- the rules ------------------------------------------------------------------------------------------------

    def _advance(self, now: Now) -> list[Action]:
        deadline = self.spec.active_deadline_s
        running_its_course = self.stop is None or self.stop.reason == DONE
        if running_its_course and not self.finished and deadline is not None and now.mono >= self.born.mono + deadline:
            self._begin_stop(DEADLINE, self.spec.grace_s, now)
        for state in self.containers.values():
            if state.life == RUNNING and state.kill_at is not None and now.mono >= state.kill_at:
                state.kill_at = None
                self._actions.append(Signal(state.spec.name, "KILL"))
        if self.stop is not None:
            self._advance_stop(now)
        else:
            self._restart_due(now)
            self._run_init_sequence(now)
        if not self.finished:
            for state in self.containers.values():
                self._actions += [RunProbe(state.spec.name, kind) for kind in state.probe_due(now)]
        actions, self._actions = self._actions, []
        return actions

    def _run_init_sequence(self, now: Now) -> None:
        if not self.initialized:
            for state in self._of(INIT, SIDECAR):
                if state.life == WAITING and state.restart_at is None:
                    self._start(state)
                if state.spec.role == SIDECAR and state.started:
                    continue
                if state.spec.role == INIT and state.ended is not None and state.ended.exit_code == 0:
                    continue
                return
            self.initialized = True
            for state in self._of(MAIN):
                self._start(state)
            return
        if all(state.life == ENDED and state.restart_at is None for state in self._of(MAIN)):
            if self._done_at is None:
                self._done_at = now.mono + self._notice_s
            if now.mono >= self._done_at:
                self._begin_stop(DONE, self.spec.grace_s, now)
                self._advance_stop(now)

    def _after_end(self, state: ContainerState, now: Now) -> None:
        self.changed_wall_s = now.wall
        if self.stop is not None:
            return
        failed = state.ended is not None and state.ended.exit_code != 0
        policy = self.spec.restart_policy
        match state.spec.role:
            case "sidecar":
                again = True
            case "init":
                again = failed and policy != "Never"
            case _:
                again = policy == "Always" or (policy == "OnFailure" and failed)
        if again:
            state.restart_later(now)
        elif failed and state.spec.role == INIT:
            self._begin_stop(INIT_FAILED, self.spec.grace_s, now)

    def _restart_due(self, now: Now) -> None:
        for state in self.containers.values():
            if state.restart_at is not None and now.mono >= state.restart_at:
                state.again()
                self._start(state)

    def _begin_stop(self, reason: str, grace_s: float, now: Now) -> None:
        deadline = now.mono + max(0.0, grace_s)
        if self.stop is None:
            self.stop = Stop(reason, deadline)
        elif reason == DEADLINE:
            self.stop = Stop(reason, min(self.stop.deadline, deadline))
        elif deadline < self.stop.deadline:
            self.stop.deadline = deadline
            for state in self.containers.values():
                if state.kill_at is not None:
                    state.kill_at = min(state.kill_at, deadline)
        for state in self.containers.values():
            state.restart_at = None
            if state.spec.role != SIDECAR and state.life == RUNNING:
                self._term(state, self.stop.deadline)

    def _advance_stop(self, now: Now) -> None:
        stop = self.stop
        if stop is None or any(state.life in {STARTING, RUNNING} for state in self._of(INIT, MAIN)):
            return
        for state in reversed(self._of(SIDECAR)):
            if state.life == STARTING:
                return
            if state.life == RUNNING:
                self._term(state, max(stop.deadline, now.mono + LEAST_GRACE_S))
                return
        self.finished = True

    def _term(self, state: ContainerState, kill_at: float) -> None:
        if state.told_to_stop:
            return
        state.told_to_stop, state.kill_at = True, kill_at
        state.probes = {}
        self._actions.append(Signal(state.spec.name, "TERM"))

    def _start(self, state: ContainerState) -> None:
        state.life, state.restart_at = STARTING, None
        self._actions.append(Start(state.spec.name))

    def _of(self, *roles: str) -> list[ContainerState]:
        return [state for state in self.containers.values() if state.spec.role in roles]
