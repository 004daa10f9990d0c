"""What this machine allows for its pods' processes, found out by trying, and the command line that uses it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from copilot.control_plane.executors.processes.mounts import Mount, bubblewrap_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

FULL: Final = "full"
MOUNTS: Final = "mounts"
PLAIN: Final = "plain"
_TRY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Sandbox:
    """How containers are started.

    Attributes:
        mode: ``full`` (own mounts and process namespace: the command is PID 1 as in a container), ``mounts`` (own mounts
            only) or ``plain`` (neither: paths in command, arguments and environment are rewritten).
        bubblewrap: its executable, or empty.
    """

    mode: str
    bubblewrap: str = ""

    @property
    def has_mounts(self) -> bool:
        """Volumes appear at their mount paths."""
        return self.mode != PLAIN

    def command(self, argv: Sequence[str], mounts: Sequence[Mount], workdir: str, info_fd: int | None) -> list[str]:
        """The command line that runs ``argv`` in its sandbox; bubblewrap writes the process's id to ``info_fd``."""
        if self.mode == PLAIN:
            return list(argv)
        spaces = ["--unshare-pid", "--as-pid-1"] if self.mode == FULL else []
        told = ["--info-fd", str(info_fd)] if info_fd is not None else []
        where = ["--chdir", workdir]
        return [self.bubblewrap, "--die-with-parent", *spaces, *told, *bubblewrap_arguments(mounts), *where, "--", *argv]


@functools.cache
def find_sandbox() -> Sandbox:
    """The best that works here: bubblewrap is started once for each mode, best first, until one does."""
    bubblewrap = shutil.which("bwrap")
    for mode in (FULL, MOUNTS) if bubblewrap else ():
        sandbox = Sandbox(mode, bubblewrap or "")
        command = sandbox.command(["/bin/sh", "-c", ":"], [], "/", None)
        try:
            done = subprocess.run(command, check=False, capture_output=True, timeout=_TRY_S, env={"PATH": os.defpath})
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return sandbox
    return Sandbox(PLAIN)
