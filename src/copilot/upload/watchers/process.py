"""The task's processes, seen in a shared process namespace (``shareProcessNamespace: true``): they tell when, never how.

``/proc`` shows every process of the pod. Ours are those of our own session of descent: we, whoever started us, and whatever we
start; the first process of such a pod is the pause container's. All others, or those of one name, are the task's.
Source: proc(5).
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
    from copilot.core.ports import CancelToken, Clock
    from copilot.upload.watchers.registry import WatcherContext

LOOK_EVERY_S: Final = 0.2
PROC: Final = Path("/proc")
_PAUSE: Final = "pause"
_KERNEL: Final = 2

Process = tuple[int, str]
"""Its number, and the time it started in clock ticks: a number alone may be used again."""


class ProcessWatcher:
    """Waits until the task's processes have been there and have all gone.

    Args:
        clock: for the time of the observation.
        name: only processes of this name count (``comm``, 15 characters at most); empty: all that are not ours.
        proc: where the kernel shows processes.
        own: our own process number.
    """

    witness: Final = Witness.PROCESS

    def __init__(self, clock: Clock, *, name: str = "", proc: Path = PROC, own: int | None = None) -> None:
        """See the class."""
        self._clock = clock
        self._name = name[:15]
        self._proc = proc
        self._own = os.getpid() if own is None else own
        self._seen: set[Process] = set()

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
        self._seen |= there
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
        return {
            (pid, started)
            for pid, (parent, started, name) in facts.items()
            if pid not in ours
            and parent != _KERNEL
            and pid not in {1, _KERNEL}
            and (name == self._name if self._name else name != _PAUSE)
        }

    def _processes(self) -> list[tuple[int, tuple[int, str, str]]]:
        found = []
        for entry in self._proc.iterdir():
            if entry.name.isdecimal():
                with suppress(OSError, ValueError, IndexError):
                    text = (entry / "stat").read_text(errors="replace")
                    # The name is in parentheses and may hold anything, also a parenthesis; a zombie has ended.
                    name, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
                    if rest[0] not in {"Z", "X"}:
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
    return ProcessWatcher(context.clock, name=context.process_name)


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
