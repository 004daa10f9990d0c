"""Runs `copilot` again and again in forks of a process that has everything imported: one JSON line in, one out.

In: ``{"argv": [...], "environ": {...}, "log": path, "kill_after_s": seconds or null}``.
Out: ``{"code": exit code, or minus the signal}``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback

import obstore  # noqa: F401 - so that forks need not
import urllib3  # noqa: F401 - as above

from copilot.cli import entry  # noqa: F401 - as above
from copilot.cli.pods import download, sidecar  # noqa: F401 - as above
from copilot.engine import ranged, resumable, transfer  # noqa: F401 - as above
from copilot.stores import http, registry, s3  # noqa: F401 - as above


def child(argv: list[str], environ: dict[str, str], log: str) -> int:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv = argv
    os.environ.clear()
    os.environ.update(environ)
    from copilot.__main__ import main  # noqa: PLC0415 - as an executable does

    return main()


def run(order: dict[str, object]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = child(order["argv"], order["environ"], order["log"])  # type: ignore[arg-type]  # as the protocol says
        except BaseException:  # noqa: BLE001 - it is told, and the code says so
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    after_s = order["kill_after_s"]
    timer = None
    if isinstance(after_s, float):
        timer = threading.Timer(after_s, os.kill, (pid, signal.SIGKILL))
        timer.start()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # not reaped yet: its number is nobody else's
    if timer is not None:
        timer.cancel()
        timer.join()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    for line in sys.stdin:
        code = run(json.loads(line))
        sys.stdout.write(json.dumps({"code": code}) + "\n")
        sys.stdout.flush()
