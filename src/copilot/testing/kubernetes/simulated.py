"""A kubelet that plays pods by the same rules and runs nothing: for thousands of pods at once."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from copilot.control_plane.executors.processes.container_state import Now
from copilot.control_plane.executors.processes.loop import Loop, Timer
from copilot.control_plane.executors.processes.machine import Action, PodMachine, RunProbe, Signal, Start
from copilot.control_plane.executors.processes.spec import MAIN, SIDECAR, PodSpec
from copilot.control_plane.executors.processes.status import StatusStyle, pod_status
from copilot.testing.kubernetes.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from copilot.testing.kubernetes.storage import Change, Object, Storage

NODE: Final = "simulated-0"
_STYLE: Final = StatusStyle(precise=False, runtime="containerd")


def _now() -> Now:
    return Now(time.monotonic(), time.time())


class _Played:
    """One pod: its rules, and what was written of them last."""

    def __init__(self, pod: Object) -> None:
        self.pod = pod
        self.machine = PodMachine(PodSpec.of(pod), _now())
        self.shown: dict[str, Any] = {}
        self.timer: Timer | None = None


class SimulatedKubelet:
    """One node of any size.

    Args:
        storage: the API's objects.
        main_s: how long a main container runs; init containers end at once, sidecars when they are told.
    """

    def __init__(self, storage: Storage, *, main_s: float) -> None:
        """See the class."""
        self._storage, self._main_s = storage, main_s
        self._loop = Loop()
        self._played: dict[str, _Played] = {}
        self._thread = threading.Thread(target=self._loop.run, name="kubelet", daemon=True)
        storage.listen(self._hear)

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def stop(self) -> None:
        """Ends."""
        self._loop.stop()
        self._thread.join(timeout=30)

    def log_file(self, pod: Mapping[str, Any], container: str, *, previous: bool = False) -> Path | None:
        """There are no logs."""
        del pod, container, previous
        return None

    def writes(self, pod: Mapping[str, Any], container: str) -> bool:
        """Nothing is written."""
        del pod, container
        return False

    def _hear(self, change: Change) -> None:
        if change.plural == "pods":
            self._loop.call_soon(lambda: self._see(change))

    def _see(self, change: Change) -> None:
        pod, uid = change.after, change.after["metadata"]["uid"]
        if change.kind == "ADDED":
            self._change(pod, lambda fresh: {**fresh, "spec": {**fresh["spec"], "nodeName": NODE}})
            played = self._played[uid] = _Played(pod)
            self._act(played, played.machine.begin(_now()))
        elif change.kind == "DELETED":
            self._played.pop(uid, None)
        elif "deletionTimestamp" in pod["metadata"] and uid in self._played and self._played[uid].machine.stop is None:
            grace = pod["metadata"]["deletionGracePeriodSeconds"]
            self._act(self._played[uid], self._played[uid].machine.delete(grace, _now()))

    def _act(self, played: _Played, actions: list[Action]) -> None:
        machine = played.machine
        for action in actions:
            match action:
                case Start(name):
                    self._act(played, machine.began(name, _now()))
                    role = machine.containers[name].spec.role
                    if role != SIDECAR:
                        self._end(played, name, self._main_s if role == MAIN else 0.0)
                case Signal(name, _):
                    self._end(played, name, 0.0)
                case RunProbe(name, kind):
                    self._act(played, machine.probed(name, kind, _now(), passed=True))
        self._show(played)

    def _end(self, played: _Played, name: str, after_s: float) -> None:
        attempt = played.machine.containers[name].attempt

        def end() -> None:
            state = played.machine.containers[name]
            if state.life == "running" and state.attempt == attempt:
                self._act(played, played.machine.exited(name, 0, _now()))

        self._loop.call_at(time.monotonic() + after_s, end)

    def _show(self, played: _Played) -> None:
        if played.timer is not None:
            played.timer.cancel()
        at = played.machine.wake_at()
        played.timer = (
            self._loop.call_at(at, lambda: self._act(played, played.machine.tick(_now()))) if at is not None else None
        )
        status = pod_status(played.machine, played.pod, _STYLE)
        if status != played.shown:
            played.shown = status
            self._change(played.pod, lambda fresh: {**fresh, "status": status})
        if played.machine.finished:
            self._finished(played.pod)

    def _finished(self, pod: Object) -> None:
        metadata = pod["metadata"]
        with contextlib.suppress(ApiError):
            fresh = self._storage.get("pods", metadata["namespace"], metadata["name"])
            if "deletionTimestamp" in fresh["metadata"]:
                self._storage.delete("pods", metadata["namespace"], metadata["name"], grace_s=0, uid=metadata["uid"])

    def _change(self, pod: Object, changing: Any) -> None:  # noqa: ANN401  a function of the object
        with contextlib.suppress(ApiError):
            self._storage.change("pods", pod["metadata"]["namespace"], pod["metadata"]["name"], changing)
