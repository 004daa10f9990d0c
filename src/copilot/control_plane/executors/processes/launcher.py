"""Starts one container's process in its sandbox, keeps its log, and tells how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from copilot.control_plane.executors.processes.log_files import LogWriter
from copilot.control_plane.executors.processes.mounts import Mount, host_path, rewritten
from copilot.control_plane.executors.processes.sandbox import FULL, Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from copilot.control_plane.executors.processes.loop import Loop
    from copilot.control_plane.executors.processes.memory_cgroup import MemoryCgroup

_INFO_S: Final = 10.0
_BLOCK_BYTES: Final = 64 * 1024
_MOST_LAST_BLOCKS: Final = 32
_JOIN_GROUP: Final = 'echo 0 >"$1" && shift && exec "$@"'

OnExit = Callable[[int, bool], None]


class StartError(Exception):
    """The process could not be started; the text is as a container runtime words it."""

    def __init__(self, reason: str, message: str, exit_code: int = 128) -> None:
        """See the class."""
        super().__init__(message)
        self.reason, self.message, self.exit_code = reason, message, exit_code


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything that starting one process takes."""

    argv: Sequence[str]
    env: Mapping[str, str]
    mounts: Sequence[Mount]
    workdir: str
    log: Path | None = None
    group: MemoryCgroup | None = None


def resolve_program(program: str, env: Mapping[str, str], mounts: Sequence[Mount]) -> None:
    """Refuses a command that is not there, as a container runtime does.

    Raises:
        StartError: in runc's words.
    """
    prefix = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
    prefix += f'unable to start container process: exec: "{program}": '
    if not program:
        raise StartError("StartError", prefix + "no command specified: unknown")
    if "/" in program:
        path = host_path(program, mounts)
        if not path.exists():
            raise StartError("StartError", f"{prefix}stat {program}: no such file or directory: unknown")
        if path.is_dir() or not os.access(path, os.X_OK):
            raise StartError("StartError", prefix + "permission denied: unknown")
    elif not any(
        shutil.which(program, path=str(host_path(each, mounts))) for each in env.get("PATH", os.defpath).split(":") if each
    ):
        raise StartError("StartError", prefix + "executable file not found in $PATH: unknown")


class RunningProcess:
    """One started process. ``on_exit`` is called once in the loop's thread, after its log is complete."""

    def __init__(self, launch: Launch, sandbox: Sandbox, loop: Loop, on_exit: OnExit) -> None:
        """Starts it.

        Raises:
            StartError: it cannot be started.
        """
        resolve_program(launch.argv[0] if launch.argv else "", launch.env, launch.mounts)
        self._loop, self._on_exit, self._group = loop, on_exit, launch.group
        self._oom_before = launch.group.oom_kills() if launch.group else 0
        self._whole_space = sandbox.mode == FULL
        argv, env, workdir = list(launch.argv), dict(launch.env), launch.workdir
        if not sandbox.has_mounts:
            argv = [rewritten(each, launch.mounts) for each in argv]
            env = {name: rewritten(value, launch.mounts) for name, value in env.items()}
            workdir = str(host_path(workdir, launch.mounts))
        info, told = os.pipe2(os.O_CLOEXEC)
        command = sandbox.command(argv, launch.mounts, workdir, told)
        if launch.group:
            command = ["/bin/sh", "-c", _JOIN_GROUP, "sh", str(launch.group.procs), *command]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if launch.log else subprocess.DEVNULL,
                stderr=subprocess.PIPE if launch.log else subprocess.DEVNULL,
                env=env,
                cwd=None if sandbox.has_mounts else workdir,
                pass_fds=(told,) if sandbox.has_mounts else (),
                start_new_session=True,
            )
        except OSError as cause:
            os.close(info)
            raise StartError("StartError", f"the process could not be started: {cause.strerror}") from cause
        finally:
            os.close(told)
        try:
            self.pid = self._inner_pid(info) if sandbox.has_mounts else self._process.pid
        finally:
            os.close(info)
        self._log = LogWriter(launch.log) if launch.log else None
        self._streams = {"stdout": self._process.stdout, "stderr": self._process.stderr}
        for name, stream in self._streams.items():
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                loop.add_reader(stream.fileno(), self._reader(name))
        self._pidfd = os.pidfd_open(self._process.pid)
        loop.add_reader(self._pidfd, self._ended)

    def send(self, name: str) -> None:
        """``TERM`` to the command itself; ``KILL`` to it and all it started."""
        number = signal.SIGKILL if name == "KILL" else signal.SIGTERM
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        if name == "KILL" and not self._whole_space:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _inner_pid(self, info: int) -> int:
        text = b""
        while select.select([info], [], [], _INFO_S)[0]:
            block = os.read(info, 4096)
            text += block
            if not block or text.rstrip().endswith(b"}"):
                break
        try:
            return int(json.loads(text)["child-pid"])
        except ValueError:
            self._process.kill()
            said = (self._process.communicate()[1] or b"").decode(errors="replace").strip()
            raise StartError("ContainerCannotRun", f"the sandbox could not be made: {said or 'no reason was given'}") from None

    def _reader(self, name: str) -> Callable[[], None]:
        return lambda: self._read(name)

    def _read(self, name: str, *, last: bool = False) -> None:
        stream = self._streams[name]
        if stream is None or self._log is None:
            return
        # What escaped its group may write for ever: of that, no more than a pipe can hold at the end of the command itself.
        for _ in range(_MOST_LAST_BLOCKS if last else 1):
            try:
                block = os.read(stream.fileno(), _BLOCK_BYTES)
            except BlockingIOError:
                break
            if not block:
                last = True
                break
            self._log.feed(name, block)
        if last:
            self._loop.remove_reader(stream.fileno())
            stream.close()
            self._streams[name] = None

    def _ended(self) -> None:
        code = self._process.wait()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        if not self._whole_space:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        for name in self._streams:
            self._read(name, last=True)
        if self._log is not None:
            self._log.close()
        oom = False
        if self._group is not None:
            self._group.kill_all()
            oom = self._group.oom_kills() > self._oom_before
            self._group.remove()
        self._on_exit(128 - code if code < 0 else code, oom)
