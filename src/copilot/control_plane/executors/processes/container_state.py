"""One container's state as the rules keep it: its life, its probes, its restarts. Pure; time comes in with each call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from copilot.control_plane.executors.processes.spec import STARTUP, ContainerSpec

WAITING: Final = "waiting"
STARTING: Final = "starting"
RUNNING: Final = "running"
ENDED: Final = "ended"

FIRST_BACKOFF_S: Final = 10.0
MAX_BACKOFF_S: Final = 300.0
BACKOFF_FORGOTTEN_S: Final = 600.0


class Now(NamedTuple):
    """An instant on both clocks: ``mono`` orders and counts, ``wall`` (seconds since the epoch) is shown."""

    mono: float
    wall: float


@dataclass(frozen=True, slots=True)
class Ended:
    """How one run of a container ended. ``started_wall_s`` is 0 where it never ran."""

    exit_code: int
    reason: str
    message: str
    started_wall_s: float
    finished_wall_s: float


@dataclass(slots=True)
class ProbeState:
    """Where one probe stands: when it is due (monotonic, None while it runs), successes and failures in a row.

    ``counted_at`` is when a failure last counted: eager looks in between count only if they pass.
    """

    due_at: float | None
    counted_at: float = 0.0
    successes: int = 0
    failures: int = 0


@dataclass(slots=True)
class ContainerState:
    """One container. ``attempt`` is its restart count; ``eager_s`` how often its startup probe is run if oftener."""

    spec: ContainerSpec
    eager_s: float | None = None
    life: str = WAITING
    attempt: int = 0
    started_wall_s: float = 0.0
    ended: Ended | None = None
    last: Ended | None = None
    started: bool = False
    ready: bool = False
    told_to_stop: bool = False
    kill_at: float | None = None
    restart_at: float | None = None
    backoff_s: float = 0.0
    backoff_at: float = 0.0
    probes: dict[str, ProbeState] = field(default_factory=dict)

    @property
    def never_ran(self) -> bool:
        """No process of it ran yet."""
        return self.life in {WAITING, STARTING} and self.last is None

    def began(self, now: Now) -> None:
        """Its process runs."""
        self.life, self.started_wall_s, self.restart_at = RUNNING, now.wall, None
        self.told_to_stop, self.kill_at, self.started, self.ready, self.probes = False, None, False, False, {}
        if STARTUP in self.spec.probes:
            self._arm(STARTUP, now)
        else:
            self._is_up(now)

    def over(self, ended: Ended) -> None:
        """Its process ended, or could not be started."""
        self.life, self.ended = ENDED, ended
        self.started = self.ready = False
        self.kill_at, self.probes = None, {}

    def restart_later(self, now: Now) -> None:
        """It will be started again: at once the first time, then after 10, 20 … 300 s; ten quiet minutes forget it."""
        if self.backoff_s and now.mono - self.backoff_at > BACKOFF_FORGOTTEN_S:
            self.backoff_s = 0.0
        self.restart_at = now.mono + self.backoff_s
        self.backoff_s = min(self.backoff_s * 2, MAX_BACKOFF_S) if self.backoff_s else FIRST_BACKOFF_S
        self.backoff_at = self.restart_at

    def again(self) -> None:
        """The next run begins: the ended one becomes the last."""
        self.last, self.ended, self.life = self.ended, None, WAITING
        self.attempt += 1

    def probe_due(self, now: Now) -> list[str]:
        """The probes to run now; each is taken out of the schedule until ``probed`` is called for it."""
        due = [kind for kind, state in self.probes.items() if state.due_at is not None and state.due_at <= now.mono]
        for kind in due:
            self.probes[kind].due_at = None
        return due

    def probed(self, kind: str, now: Now, *, passed: bool) -> bool:
        """One probe's answer. True when the container must be killed for it."""
        state, probe = self.probes.get(kind), self.spec.probes[kind]
        if state is None or self.life != RUNNING:
            return False
        state.due_at = now.mono + probe.period_s
        if kind == STARTUP and self.eager_s is not None and not passed:
            state.due_at = now.mono + self.eager_s
            if now.mono < state.counted_at + probe.period_s:
                return False
            state.counted_at = now.mono
        state.successes, state.failures = (state.successes + 1, 0) if passed else (0, state.failures + 1)
        if kind == "readiness":
            if state.successes >= probe.success_threshold:
                self.ready = True
            elif state.failures >= probe.failure_threshold:
                self.ready = False
            return False
        if kind == STARTUP and state.successes >= probe.success_threshold:
            del self.probes[STARTUP]
            self._is_up(now)
        return state.failures >= probe.failure_threshold

    def timers(self) -> list[float]:
        """The monotonic times at which something about this container is due."""
        due = [at for at in (self.kill_at, self.restart_at) if at is not None]
        return due + [state.due_at for state in self.probes.values() if state.due_at is not None]

    def _is_up(self, now: Now) -> None:
        self.started = True
        self.ready = "readiness" not in self.spec.probes
        for kind in ("liveness", "readiness"):
            if kind in self.spec.probes:
                self._arm(kind, now)

    def _arm(self, kind: str, now: Now) -> None:
        delay_s = self.spec.probes[kind].initial_delay_s
        if kind == STARTUP and self.eager_s is not None:
            delay_s = max(delay_s, self.eager_s)
        self.probes[kind] = ProbeState(due_at=now.mono + delay_s, counted_at=now.mono)
