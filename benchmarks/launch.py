"""Starts a program and prints its cost: ``launch.py PROGRAM ARGUMENT…``. Kept tiny: its own memory is the figure's floor."""

import os
import sys
import time

began_s = time.monotonic()
pid = os.fork()
if pid == 0:
    os.dup2(2, 1)
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - a program, not a shell's line
_, status, usage = os.wait4(pid, 0)
print(time.monotonic() - began_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
sys.exit(os.waitstatus_to_exitcode(status) and 1)
