"""Telling the app that its secret files changed: by a signal, or by a command of its choice."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from copilot.core.ports import Log

_MOST_PID = 2**22  # Linux's PID_MAX_LIMIT
_INTERPRETERS = ("bash", "node", "perl", "php", "python", "ruby", "sh")

Notify = Callable[[Sequence[Path]], None]
"""Hears which files changed. Does not raise: a rotation that cannot be told is still a rotation, and is logged."""


def by_signal(number: signal.Signals, find: Callable[[], Iterable[int]], log: Log) -> Notify:
    """Sends ``number`` to the processes ``find`` names at that moment."""

    def notify(paths: Sequence[Path]) -> None:
        told = 0
        for pid in find():
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError) as error:
                log.event("secret.notify_failed", level="warning", pid=pid, signal=number.name, error=type(error).__name__)
            else:
                told += 1
        level = "info" if told else "warning"
        log.event("secret.notified", level=level, signal=number.name, processes=told, files=len(paths))

    return notify


def by_command(argv: Sequence[str], log: Log, *, environ: Mapping[str, str], timeout_s: float = 30.0) -> Notify:
    """Runs ``argv`` with the changed paths, one a line, in ``COPILOT_CHANGED_SECRETS``. Its output goes nowhere."""

    def notify(paths: Sequence[Path]) -> None:
        env = {**environ, "COPILOT_CHANGED_SECRETS": "\n".join(map(str, paths))}
        try:
            ended = subprocess.run(
                argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=timeout_s,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            log.event("secret.notify_failed", level="warning", command=argv[0], error=type(error).__name__)
            return
        level = "warning" if ended.returncode else "info"
        log.event("secret.notified", level=level, command=argv[0], exit_code=ended.returncode, files=len(paths))

    return notify


def pid_in(path: Path) -> Callable[[], list[int]]:
    """The process whose number stands in a pid file; none while it is not there."""

    def find() -> list[int]:
        try:
            pid = int(path.read_text("ascii"))
        except (OSError, ValueError):
            return []
        # 0 and negative numbers are groups of processes, and everybody; the file is the task's, and may hold anything.
        return [pid] if 0 < pid <= _MOST_PID else []

    return find


def processes_called(name: str, *, proc: Path = Path("/proc")) -> Callable[[], list[int]]:
    """Every process, but ourselves, whose program is called ``name``, or the script that an interpreter was started with.

    Other containers' need a shared process namespace.
    """

    def find() -> list[int]:
        found = []
        for entry in proc.iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            program, *arguments = (os.fsdecode(word).rpartition("/")[2] for word in words)
            script = next((word for word in arguments if not word.startswith("-")), "")
            if program == name or (script == name and program.startswith(_INTERPRETERS)):
                found.append(int(entry.name))
        return sorted(found)

    return find
