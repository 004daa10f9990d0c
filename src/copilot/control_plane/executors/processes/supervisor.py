"""The small program that looks after one pod's processes, detached from the server that started it.

It holds the pod's lock while it lives, writes the status, and obeys ``deletion.json``. SIGTERM (the machine goes down) ends the
pod in order, with the condition a real node sets then.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
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
SHUTDOWN: Final = ("TerminationByKubelet", "Pod was terminated in response to imminent node shutdown.")


def supervise(directory: Path, root: Path, settings: NodeSettings, objects: Path) -> int:
    """Runs the pod in ``directory`` to its end. 0, or 1 where another supervisor has it or it is gone."""
    record = PodRecord(directory)
    pod = record.read()
    if pod is None or not record.hold() or record.begun():
        return 1
    record.write_status({"phase": "Pending"})  # from here on nobody begins this pod again
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    listeners, loop = Listeners(root / "listeners"), Loop()

    def show(status: Any) -> None:  # noqa: ANN401  the API's own JSON
        record.write_processes(runner.pids())
        record.write_status(status)
        listeners.tell(namespace, name)

    runner = PodRunner(pod, directory, loop, settings, data=_data(objects), on_status=show, on_finished=loop.stop)
    told: list[float] = []

    def look() -> None:
        deletion = record.deletion()
        if deletion is None:
            return
        grace = float(deletion["deletionGracePeriodSeconds"])
        if not told or grace < told[-1]:
            told.append(grace)
            runner.delete(grace)

    mailbox = record.open_mailbox()

    def letter() -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(mailbox, 4096):
                pass
        look()

    loop.add_reader(mailbox, letter)
    grace_s = float(pod["spec"].get("terminationGracePeriodSeconds") or 30)
    loop.wake_on_signals()
    signal.signal(signal.SIGTERM, lambda *_: loop.call_soon(lambda: runner.evict(*SHUTDOWN, grace_s)))
    loop.call_soon(runner.begin)
    loop.call_soon(look)
    loop.run()
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
