"""A pod of the process executor on disk: who may write what, and how changes are told to whoever listens.

``pod.json`` is written once, by the executor. ``status.json`` is written by the pod's supervisor, ``deletion.json`` by the
executor, each as a whole and with the number of its writing: files' times are too coarse to tell two writings apart.
``lock`` is held by the supervisor while it lives, ``control`` is its mailbox.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

POKE: Final = b"poke\n"
_HOLD_S: Final = 1.0
_HOLD_AGAIN_S: Final = 0.005
_START_TIME: Final = 19  # the place of starttime after the name in /proc/<pid>/stat


@dataclass(frozen=True, slots=True)
class PodRecord:
    """One pod's directory."""

    directory: Path

    def read(self) -> dict[str, Any] | None:
        """The whole pod as the API shows it, or None where there is none (any more)."""
        released, deletion, told = self.released(), self.deletion(), self._told()
        pod = _read(self.directory / "pod.json")  # last: a directory that goes away meanwhile is no pod without a status
        if pod is None:
            return None
        metadata = {**pod["metadata"], **({"finalizers": []} if released else {})}
        if deletion is not None:
            metadata["deletionTimestamp"] = deletion["deletionTimestamp"]
            metadata["deletionGracePeriodSeconds"] = deletion["deletionGracePeriodSeconds"]
        # Each of the parts only counts up, so the sum grows with each change, whoever makes it.
        metadata["resourceVersion"] = str(1 + told.get("revision", 0) + (deletion or {}).get("revision", 0) + released)
        return {**pod, "metadata": metadata, "status": told.get("status") or {"phase": "Pending"}}

    def write_status(self, status: Mapping[str, Any]) -> None:
        """The supervisor's word."""
        write_whole(self.directory / "status.json", {"revision": self._told().get("revision", 0) + 1, "status": status})

    def _told(self) -> dict[str, Any]:
        return _read(self.directory / "status.json") or {}

    def begun(self) -> bool:
        """A supervisor took it on once."""
        return (self.directory / "status.json").exists()

    def write_processes(self, pids: Sequence[int]) -> None:
        """Which processes to end if the supervisor dies; a number alone could be another's by then, so their birth is kept."""
        births = {str(pid): birth for pid in pids if (birth := _birth(pid)) is not None}
        write_whole(self.directory / "processes.json", births)

    def kill_processes(self) -> None:
        """Ends what a dead supervisor left. Most died with it."""
        for pid, birth in (_read(self.directory / "processes.json") or {}).items():
            if _birth(int(pid)) == birth:
                for kill in (os.killpg, os.kill):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        kill(int(pid), signal.SIGKILL)

    def deletion(self) -> dict[str, Any] | None:
        """When and with how much grace it was deleted, or None."""
        return _read(self.directory / "deletion.json")

    def write_deletion(self, at: str, grace_s: float) -> None:
        """Somebody wants it gone."""
        revision = (self.deletion() or {}).get("revision", 0) + 1
        deletion = {"deletionTimestamp": at, "deletionGracePeriodSeconds": grace_s, "revision": revision}
        write_whole(self.directory / "deletion.json", deletion)

    def release(self) -> None:
        """The finalizers are off."""
        (self.directory / "released").touch()

    def released(self) -> bool:
        """The finalizers are off: nobody needs its last state any more."""
        return (self.directory / "released").exists()

    def lock(self) -> int | None:
        """The supervisor's lock as an open file, or None where another holds it."""
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def hold(self) -> bool:
        """Takes the lock for as long as this process lives, and writes its id into it; False where another has it.

        Whoever asks whether a supervisor lives has the lock for an instant; only who keeps it is another supervisor.
        """
        deadline = time.monotonic() + _HOLD_S
        while (descriptor := self.lock()) is None:
            if self.begun() or time.monotonic() > deadline:
                return False
            time.sleep(_HOLD_AGAIN_S)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        return True

    def supervised(self) -> bool:
        """A supervisor lives."""
        try:
            descriptor = self.lock()
        except FileNotFoundError:
            return False
        if descriptor is None:
            return True
        os.close(descriptor)
        return False

    def open_mailbox(self) -> int:
        """The supervisor's end of the mailbox; it never sees an end of file."""
        path = self.directory / "control"
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def poke(self) -> None:
        """Tells the supervisor to look at ``deletion.json``; nobody there is no error."""
        _write_pipe(self.directory / "control", POKE)


def write_whole(path: Path, value: Mapping[str, Any], mode: int = 0o644) -> None:
    """A JSON file that appears whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w") as file:
        json.dump(value, file)
    new.replace(path)


class Listeners:
    """Pipes in one directory, one for each process that wants to hear of changes."""

    def __init__(self, directory: Path) -> None:
        """See the class."""
        self.directory = directory

    def tell(self, namespace: str, name: str) -> None:
        """Something about this pod changed. A pipe that is full is left: its reader looks at everything now and then."""
        for pipe in self._pipes():
            if not _write_pipe(pipe, f"{namespace}/{name}\n".encode()):
                with contextlib.suppress(OSError):
                    pipe.unlink()

    def open(self, name: str) -> int:
        """A new pipe's reading end. The pipe has its name once somebody reads it: one without a reader is taken away."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f".{name}"
        os.mkfifo(path, 0o600)
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        path.rename(self.directory / name)
        return descriptor

    def close(self, name: str) -> None:
        """No more."""
        with contextlib.suppress(OSError):
            (self.directory / name).unlink()

    def _pipes(self) -> Iterator[Path]:
        with contextlib.suppress(OSError):
            yield from (each for each in self.directory.iterdir() if not each.name.startswith("."))


def _write_pipe(path: Path, data: bytes) -> bool:
    """False when nobody reads there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return error.errno not in {errno.ENXIO, errno.ENOENT, errno.ENOTDIR}
    try:
        os.write(descriptor, data)
    except BlockingIOError:
        return True
    except BrokenPipeError:  # its reader went away just now
        return False
    finally:
        os.close(descriptor)
    return True


def _birth(pid: int) -> int | None:
    """When a process began, in the kernel's ticks; None where there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_START_TIME])
    except (OSError, ValueError, IndexError):
        return None


def _read(path: Path) -> dict[str, Any] | None:
    """None where there is no such file, or no whole one (the machine went down); any other trouble is raised."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found
