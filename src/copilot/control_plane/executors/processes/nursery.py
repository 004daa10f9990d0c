"""Where supervisors come from: a small process that has everything loaded and forks, in 2 ms instead of 200.

It belongs to its server: it ends with the server's end of the pipe. The supervisors do not: each has a session of its own.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from copilot.control_plane.executors.processes.supervisor import supervise_as_told


def main() -> None:
    """Reads one JSON line a pod (see ``supervise_as_told``) until the end of the input."""
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for supervisors: the kernel clears them away
    gc.freeze()
    for line in sys.stdin.buffer:
        told = json.loads(line)
        if os.fork() == 0:
            _become_supervisor(told)


def _become_supervisor(told: dict[str, Any]) -> None:
    """In the new process; never returns."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(Path(told["directory"]) / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.close(null)
        os.close(log)
        code = supervise_as_told(told)
    except BaseException:  # noqa: BLE001  the last frame of a process: what went wrong goes to its log
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
