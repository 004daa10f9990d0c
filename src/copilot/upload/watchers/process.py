"""The task's processes, seen in a shared process namespace (``shareProcessNamespace: true``): they tell when, never how.

``/proc`` shows every process of the pod. Not the task's are: those of our own container (we, whoever started us, whatever we
start, and what the kubelet runs beside us as a probe), the pause container, and copilot's own commands in other containers
(``init`` runs after a native sidecar has started). All others, or those of one name, are the task's: without a name, so are
those of other people's init containers. Source: proc(5), cgroup_namespaces(7).
"""

from __future__ import annotations

import os
import select
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.core.completion import Saw, Witness
from copilot.core.ports import Completion

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken, Clock, Log
    from copilot.upload.watchers.context import WatcherContext

LOOK_EVERY_S: Final = 0.2
PROC: Final = Path("/proc")
_PAUSE: Final = "pause"
_KERNEL_THREAD: Final = 0x00200000
_NOT_YET: Final = ("runc:[", "crun", "youki")
"""What a process is called while a container runtime makes a container's process of it."""
_NAMES: Final = frozenset({"copilot", "flyte-copilot"})
_COMMANDS: Final = frozenset({"download", "exec", "init", "probe", "secrets", "sidecar"})
_TASKS: Final = "exec"
_MOST_WORDS: Final = 64
_MAX_BYTES: Final = 32 * 1024

Process = tuple[int, str]
"""Its number, and the time it started in clock ticks: a number alone may be used again."""


class ProcessWatcher:
    """Waits until the task's processes have been there and have all gone.

    Args:
        clock: for the time of the observation.
        log: hears ``task.processes`` when the task is seen first; None tells nobody.
        name: only processes of this name count (``comm``, 15 characters at most); empty: all that are not ours.
        proc: where the kernel shows processes.
        own: our own process number.
    """

    witness: Final = Witness.PROCESS

    def __init__(
        self, clock: Clock, log: Log | None = None, *, name: str = "", proc: Path = PROC, own: int | None = None
    ) -> None:
        """See the class."""
        self._clock = clock
        self._log = log
        self._name = name[:15]
        self._proc = proc
        self._own = os.getpid() if own is None else own
        self._seen: set[Process] = set()
        self._alive: set[Process] = set()

    def wait(self, cancel: CancelToken) -> Completion | None:
        """Blocks until all have gone; None when it is told to stop before."""
        while True:
            there = self.remember()
            if self._seen and not there:
                evidence = {"processes": str(len(self._seen))}
                return Completion(Witness.PROCESS, Saw.GONE, evidence=evidence, observed_at_s=self._clock.now_s())
            if cancel.cancelled:
                return None
            _await_end(there)

    def remember(self) -> set[Process]:
        """One look that counts: what is there now, and was seen from now on."""
        there = self.scan()
        if there and not self._seen and self._log is not None:
            self._log.event("task.processes", count=len(there), name=self._name)
        # One that turns out to be no task's, now that it is what it was to become, never was.
        self._seen = {process for process in self._seen if process in there or process not in self._alive} | there
        return there

    def may_speak(self) -> bool:
        """Whether the task was ever seen."""
        return bool(self._seen)

    def hurry(self) -> None:
        """It looks often enough."""

    def scan(self) -> set[Process]:
        """The task's processes now."""
        facts = dict(self._processes())
        ours = self._ours({pid: parent for pid, (parent, _, _) in facts.items()})
        self._alive = {(pid, started) for pid, (_, started, _) in facts.items()}
        return {
            (pid, started)
            for pid, (_, started, name) in facts.items()
            if pid not in ours and pid != 1 and self._fits(name) and self._strange(pid)
        }

    def _fits(self, name: str) -> bool:
        return name == self._name if self._name else name != _PAUSE and not name.startswith(_NOT_YET)

    def _strange(self, pid: int) -> bool:
        """Whether it is neither one of our container's nor one of copilot's own commands."""
        # Who named the task's process may have it beside us: no containers, no difference.
        return (bool(self._name) or self._container(pid) != self._container(self._own)) and not _serves(self._words(pid))

    def _container(self, pid: int) -> tuple[str, str]:
        """What the processes of one container have in common. The namespace is shown to the same user only."""
        home, mounts = self._proc / str(pid), ""
        with suppress(OSError):
            mounts = str((home / "ns" / "mnt").readlink())
        try:
            return (home / "cgroup").read_text(errors="replace"), mounts
        except OSError:
            return "", mounts

    def _words(self, pid: int) -> list[str]:
        try:
            with (self._proc / str(pid) / "cmdline").open("rb") as file:
                return file.read(_MAX_BYTES).decode(errors="replace").split("\0")[:_MOST_WORDS]
        except OSError:
            return []

    def _processes(self) -> list[tuple[int, tuple[int, str, str]]]:
        found = []
        for entry in self._proc.iterdir():
            if entry.name.isdecimal():
                with suppress(OSError, ValueError, IndexError):
                    text = (entry / "stat").read_text(errors="replace")
                    # The name is in parentheses and may hold anything, also a parenthesis; a zombie has ended.
                    name, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
                    if rest[0] not in {"Z", "X"} and not int(rest[6]) & _KERNEL_THREAD:
                        found.append((int(entry.name), (int(rest[1]), rest[19], name)))
        return found

    def _ours(self, parents: dict[int, int]) -> set[int]:
        above, pid = {self._own}, self._own
        while parents.get(pid, 0) > 1:
            pid = parents[pid]
            above.add(pid)
        below = {self._own}
        grown = True
        while grown:
            more = {child for child, parent in parents.items() if parent in below} - below
            below |= more
            grown = bool(more)
        return above | below


def open_watcher(context: WatcherContext) -> ProcessWatcher:
    """For the registry."""
    return ProcessWatcher(context.clock, context.log, name=context.process_name)


def _serves(words: list[str]) -> bool:
    """Whether this command line is one of copilot's that is no task: ``copilot exec`` and what follows it are the task's."""
    names = [place for place, word in enumerate(words) if word.rpartition("/")[2] in _NAMES]
    said = next((word for word in words[names[0] + 1 :] if word in _COMMANDS), _TASKS) if names else _TASKS
    return said != _TASKS


def _await_end(processes: set[Process]) -> None:
    """Until one of them ends or the next look is due."""
    poller, descriptors = select.poll(), []
    try:
        for pid, _ in processes:
            with suppress(OSError):
                descriptors.append(os.pidfd_open(pid))
                poller.register(descriptors[-1], select.POLLIN)
        poller.poll(LOOK_EVERY_S * 1000)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
