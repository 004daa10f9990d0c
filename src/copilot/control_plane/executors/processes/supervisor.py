"""The small program that looks after one pod's processes, detached from the server that started it.

It holds the pod's lock while it lives, writes the status, and obeys ``deletion.json``. SIGTERM (the machine goes down) ends the
pod in order, with the condition a real node sets then.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from copilot.control_plane.executors.processes.expansion import ObjectData, object_data
from copilot.control_plane.executors.processes.loop import Loop
from copilot.control_plane.executors.processes.records import Listeners, PodRecord
from copilot.control_plane.executors.processes.runner import NodeSettings, PodRunner
from copilot.control_plane.executors.processes.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping

EAGER_S: Final = 0.03
AGAIN_S: Final = 0.5
GONE_S: Final = 2.0
SHUTDOWN: Final = ("TerminationByKubelet", "Pod was terminated in response to imminent node shutdown.")


class Supervisor:
    """One pod's: its runner, its record, its mailbox. It holds the pod's lock already.

    Args:
        record: the pod's.
        pod: as it was read there.
        root: the executor's directory.
        settings: the node's.
        objects: the Secrets and ConfigMaps that came with the pod.
    """

    def __init__(self, record: PodRecord, pod: dict[str, Any], root: Path, settings: NodeSettings, objects: Path) -> None:
        """See the class."""
        self._record, self._pod = record, pod
        self._listeners, self._loop = Listeners(root / "listeners"), Loop()
        self._unwritten: list[Mapping[str, Any]] = []
        self._grace_s: float | None = None
        self._gone = False
        self._mailbox = record.open_mailbox()
        self._runner = PodRunner(
            pod, record.directory, self._loop, settings, data=_data(objects), on_status=self._show, on_finished=self._write
        )

    def run(self) -> None:
        """To the pod's end."""
        grace_s = float(self._pod["spec"].get("terminationGracePeriodSeconds") or 30)
        shut_down = partial(self._runner.evict, *SHUTDOWN, grace_s)
        self._loop.wake_on_signals()
        signal.signal(signal.SIGTERM, lambda *_: self._loop.call_soon(shut_down))
        self._loop.add_reader(self._mailbox, self._letter)
        self._loop.call_soon(self._runner.begin)
        self._loop.call_soon(self._look)
        self._loop.call_soon(self._look_around)
        self._loop.run()

    def _show(self, status: Mapping[str, Any]) -> None:
        self._unwritten = [status]
        self._write()

    def _write(self) -> None:
        if self._unwritten and not self._gone:
            try:
                self._record.write_processes(self._runner.pids())
                self._record.write_status(self._unwritten[0])
            except OSError:  # a full disk, say, is no reason to end the task: its end is told when there is room
                self._loop.call_at(time.monotonic() + AGAIN_S, self._write)
                return
            self._unwritten = []
            self._listeners.tell(self._pod["metadata"]["namespace"], self._pod["metadata"]["name"])
        if self._runner.machine.finished:
            self._loop.stop()

    def _look_around(self) -> None:
        """A pod whose directory somebody removed can be asked for by nobody any more: it ends, as one deleted by force."""
        if self._record.directory.is_dir():
            self._loop.call_at(time.monotonic() + GONE_S, self._look_around)
        else:
            self._gone = True
            self._runner.delete(0)
            self._write()

    def _letter(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._mailbox, 4096):
                pass
        self._look()

    def _look(self) -> None:
        try:
            deletion = self._record.deletion()
        except OSError:
            self._loop.call_at(time.monotonic() + AGAIN_S, self._look)
            return
        if deletion is None:
            return
        grace_s = float(deletion["deletionGracePeriodSeconds"])
        if self._grace_s is None or grace_s < self._grace_s:
            self._grace_s = grace_s
            self._runner.delete(grace_s)


def supervise(directory: Path, root: Path, settings: NodeSettings, objects: Path) -> int:
    """Runs the pod in ``directory`` to its end. 0, or 1 where another supervisor has it or it is gone."""
    record = PodRecord(directory)
    pod = record.read()
    if pod is None or not record.hold() or record.begun():
        return 1
    record.write_status({"phase": "Pending"})  # from here on nobody begins this pod again
    Supervisor(record, pod, root, settings, objects).run()
    return 0


def _data(objects: Path) -> ObjectData:
    """Secrets and ConfigMaps that came with the pod."""
    try:
        manifests = json.loads(objects.read_bytes())
    except OSError:
        manifests = []
    known = {(each["kind"], each["metadata"]["name"]): object_data(each) for each in manifests}
    return lambda kind, name: known.get((kind, name))


def supervise_as_told(told: Mapping[str, Any]) -> int:
    """``supervise`` for a new process: ``told`` has directory, root, objects, sandbox, base_env, limits."""
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    os.umask(0o022)
    os.chdir("/")
    settings = NodeSettings(
        sandbox=Sandbox(*told["sandbox"]), base_env=told["base_env"], limits=told["limits"], eager_s=EAGER_S
    )
    return supervise(Path(told["directory"]), Path(told["root"]), settings, Path(told["objects"]))
