"""The nursery as its server sees it: a process that is asked for supervisors, and replaced when it died."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import copilot

_PROGRAM: Final = (
    "import sys; sys.path.insert(0, {source!r}); from copilot.control_plane.executors.processes.nursery import main; main()"
)


class NurseryProcess:
    """A running nursery. To be used by one thread at a time.

    Args:
        path: the ``PATH`` it has; it is given nothing else of the server's environment.
    """

    def __init__(self, path: str) -> None:
        """Starts it; the first supervisor waits until it is up."""
        self._path = path
        self.process = self._new()

    def ask(self, told: Mapping[str, Any]) -> None:
        """One more supervisor, for ``supervise_as_told``. One that is lost is missed by the executor, and asked for again."""
        line = json.dumps(told).encode() + b"\n"
        for again in (False, True):
            if again:
                self.close()
                self.process = self._new()
            pipe = self.process.stdin
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.write(line)
                    return

    def close(self) -> None:
        """Ends it, without its supervisors."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()

    def _new(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM.format(source=str(Path(copilot.__file__).parent.parent))],
            stdin=subprocess.PIPE,
            bufsize=0,
            env={"PATH": self._path},
            cwd="/",
            start_new_session=True,
        )
