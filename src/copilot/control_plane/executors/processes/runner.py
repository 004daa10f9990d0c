"""Runs one pod: asks the rules what to do, does it with real processes, and tells what happened. Lives in one loop's thread."""

from __future__ import annotations

import contextlib
import copy
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from copilot.control_plane.executors.processes.container_state import Now
from copilot.control_plane.executors.processes.expansion import Command, ConfigError, ObjectData, container_command
from copilot.control_plane.executors.processes.launcher import Launch, RunningProcess, StartError
from copilot.control_plane.executors.processes.log_files import log_tail
from copilot.control_plane.executors.processes.machine import Action, PodMachine, RunProbe, Signal, Start
from copilot.control_plane.executors.processes.memory_cgroup import MemoryCgroup, group_name, make_memory_cgroup
from copilot.control_plane.executors.processes.mounts import Mount, container_mounts
from copilot.control_plane.executors.processes.spec import PodSpec
from copilot.control_plane.executors.processes.status import StatusStyle, pod_status
from copilot.control_plane.executors.processes.volumes import prepare_volumes, remove_memory
from copilot.core.quantities import quantity_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from copilot.control_plane.executors.processes.loop import Loop, Timer
    from copilot.control_plane.executors.processes.sandbox import Sandbox

MAX_MESSAGE_BYTES: Final = 4096
TERMINATION_LOG: Final = "/dev/termination-log"

OnStatus = Callable[[Mapping[str, Any]], None]


def instant() -> Now:
    """This machine's time."""
    return Now(time.monotonic(), time.time())


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """How a node runs its pods.

    Attributes:
        sandbox: see ``find_sandbox``.
        base_env: what every container gets before its own environment (``PATH``, ``LANG``): never the server's own environment.
        notice_s, eager_s: see ``PodMachine``.
        style: how statuses are written.
        limits: memory limits are enforced where this machine permits.
    """

    sandbox: Sandbox
    base_env: Mapping[str, str] = field(default_factory=dict)
    notice_s: float = 0.0
    eager_s: float | None = None
    style: StatusStyle = field(default_factory=StatusStyle)
    limits: bool = True


class PodRunner:
    """One pod on this machine.

    Args:
        pod: the whole manifest, with ``metadata.uid``.
        place: its directory: volumes, logs, working directories.
        loop: whose thread calls everything here.
        settings: the node's.
        data: Secrets and ConfigMaps by kind and name.
        on_status: called with each new status; the first call comes from ``begin``.
        on_finished: called once, after the last status.
    """

    def __init__(
        self,
        pod: Mapping[str, Any],
        place: Path,
        loop: Loop,
        settings: NodeSettings,
        *,
        data: ObjectData,
        on_status: OnStatus,
        on_finished: Callable[[], None],
    ) -> None:
        """See the class."""
        self.pod, self.place = pod, place
        self._loop, self._settings, self._data = loop, settings, data
        self._on_status, self._on_finished = on_status, on_finished
        self.machine = PodMachine(PodSpec.of(pod), instant(), notice_s=settings.notice_s, eager_s=settings.eager_s)
        self._processes: dict[str, RunningProcess] = {}
        self._volumes: dict[str, Path] = {}
        self._shown: dict[str, Any] = {}
        self._timer: Timer | None = None
        self._told_finished = False

    # --- what it is told --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Makes the volumes and starts the first container."""
        self.place.mkdir(parents=True, exist_ok=True)
        trouble = ""
        try:
            self._volumes = prepare_volumes(self.pod, self.place, self._data)
        except (ConfigError, OSError) as cause:
            trouble = str(cause)
        if trouble:
            self._refuse(trouble)
        else:
            self._act(self.machine.begin(instant()))

    def delete(self, grace_s: float) -> None:
        """The pod's object was deleted."""
        self._act(self.machine.delete(grace_s, instant()))

    def evict(self, reason: str, message: str, grace_s: float) -> None:
        """The pod was evicted."""
        self._act(self.machine.evict(reason, message, grace_s, instant()))

    def kill(self, container: str) -> None:
        """Kills one container from outside, as an administrator would; the rules see it end. One that has ended stays so."""
        if container in self._processes:
            self._processes[container].send("KILL")

    def pids(self) -> list[int]:
        """The first process of every container that runs."""
        return [each.pid for each in self._processes.values()]

    # --- doing ----------------------------------------------------------------------------------------------------------

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start(container):
                    self._start(container)
                case Signal(container, name):
                    if container in self._processes:
                        self._processes[container].send(name)
                case RunProbe(container, kind):
                    self._probe(container, kind)
        self._show()

    def _start(self, name: str) -> None:
        state = self.machine.containers[name]
        spec, attempt = state.spec.manifest, state.attempt
        group: MemoryCgroup | None = None
        try:
            launch_command = container_command(spec, self.pod, self._base_env(name), self._data)
            mounts = self._mounts(spec)
            mounts.append(self._termination_mount(spec, attempt))
            group = self._group(spec, attempt)
            launch = Launch(
                launch_command.argv, launch_command.env, mounts, self._workdir(spec), self._log_path(name, attempt), group
            )
            self._processes[name] = RunningProcess(launch, self._settings.sandbox, self._loop, self._exited(name))
        except (ConfigError, StartError, OSError) as cause:
            if group is not None:
                group.remove()
            reason = cause.reason if isinstance(cause, StartError) else "CreateContainerConfigError"
            code = cause.exit_code if isinstance(cause, StartError) else 128
            self._act(self.machine.start_failed(name, reason, str(cause), instant(), code))
        else:
            self._act(self.machine.began(name, instant()))

    def _exited(self, name: str) -> Callable[[int, bool], None]:
        def exited(code: int, oom: bool) -> None:  # noqa: FBT001  the launcher's callback, two plain facts
            del self._processes[name]
            message = self._message(name, code)
            self._act(self.machine.exited(name, code, instant(), oom=oom, message=message))

        return exited

    def _refuse(self, trouble: str) -> None:
        """Nothing can start: every container that would is shown as not startable, and the pod fails."""
        now = instant()
        first = next(iter(self.machine.containers))
        self.machine.begin(now)
        self.machine.start_failed(first, "CreateContainerConfigError", trouble, now)
        self._act(self.machine.delete(0, now))

    def _probe(self, name: str, kind: str) -> None:
        probe = self.machine.containers[name].spec.probes[kind]
        attempt = self.machine.containers[name].attempt

        def answered(*, passed: bool) -> None:
            state = self.machine.containers.get(name)
            if state is not None and state.attempt == attempt and not self.machine.finished:
                self._act(self.machine.probed(name, kind, instant(), passed=passed))

        if "exec" not in probe.handler:

            def ask() -> None:
                from copilot.control_plane.executors.processes.network_probes import network_probe  # noqa: PLC0415  20 ms

                passed = network_probe(probe.handler, probe.timeout_s)
                self._loop.call_soon(lambda: answered(passed=passed))

            threading.Thread(target=ask, name=f"probe-{name}", daemon=True).start()
            return
        spec = self.machine.containers[name].spec.manifest
        try:
            command: Command = container_command(
                {**spec, "command": probe.handler["exec"].get("command") or [], "args": []},
                self.pod,
                self._base_env(name),
                self._data,
            )
            launch = Launch(command.argv, command.env, self._mounts(spec), self._workdir(spec))

            def ended(code: int, _oom: bool) -> None:  # noqa: FBT001  the launcher's callback
                timer.cancel()
                answered(passed=code == 0)

            process = RunningProcess(launch, self._settings.sandbox, self._loop, ended)
        except (ConfigError, StartError, OSError):
            self._loop.call_soon(lambda: answered(passed=False))
            return
        timer = self._loop.call_at(time.monotonic() + probe.timeout_s, lambda: process.send("KILL"))

    # --- telling ----------------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        at = self.machine.wake_at()
        self._timer = self._loop.call_at(at, self._tick) if at is not None else None
        if self.machine.finished:
            remove_memory(self.pod)
        status = pod_status(self.machine, self.pod, self._settings.style)
        if status != self._shown:
            self._shown = status
            self._on_status(copy.deepcopy(status))
        if self.machine.finished and not self._told_finished:
            self._told_finished = True
            self._on_finished()

    def _tick(self) -> None:
        self._act(self.machine.tick(instant()))

    # --- places ------------------------------------------------------------------------------------------------------------

    def _base_env(self, name: str) -> dict[str, str]:
        home = self.place / "work" / name
        home.mkdir(parents=True, exist_ok=True)
        return {**self._settings.base_env, "HOME": str(home), "HOSTNAME": str(self.pod["metadata"]["name"])}

    def _workdir(self, spec: Mapping[str, Any]) -> str:
        return str(spec.get("workingDir") or self.place / "work" / spec["name"])

    def _mounts(self, spec: Mapping[str, Any]) -> list[Mount]:
        mounts = container_mounts(spec, self._volumes)
        for each in mounts:
            if not each.source.exists():
                each.source.mkdir(parents=True, exist_ok=True)
        return mounts

    def _log_path(self, name: str, attempt: int) -> Path:
        return self.place / "logs" / name / f"{attempt}.log"

    def _message_path(self, name: str, attempt: int) -> Path:
        return self.place / "termination" / f"{name}-{attempt}"

    def _termination_mount(self, spec: Mapping[str, Any], attempt: int) -> Mount:
        path = self._message_path(str(spec["name"]), attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o666)
        return Mount(path, str(spec.get("terminationMessagePath") or TERMINATION_LOG))

    def _message(self, name: str, code: int) -> str:
        state = self.machine.containers[name]
        message = b""
        with contextlib.suppress(OSError), self._message_path(name, state.attempt).open("rb") as file:
            message = file.read(MAX_MESSAGE_BYTES)
        if not message and code and state.spec.manifest.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            return log_tail(self._log_path(name, state.attempt))
        return message.decode(errors="replace")

    def _group(self, spec: Mapping[str, Any], attempt: int) -> MemoryCgroup | None:
        limit = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
        if not limit or not self._settings.limits:
            return None
        name = group_name(str(self.pod["metadata"].get("uid", os.getpid())), spec["name"], attempt)
        return make_memory_cgroup(name, quantity_bytes(limit))
