"""Keeping this process's own memory, which holds secrets, out of core files and out of other processes' reach."""

from __future__ import annotations

import sys

_PR_SET_DUMPABLE = 4  # <linux/prctl.h>


def forbid_core_dumps() -> bool:
    """From now on this process leaves no core file and cannot be traced by its own user; whether that could be had.

    It is the process's own mark and not a limit: it ends with ``exec``, so the task that follows is as it was.
    """
    if sys.platform != "linux":
        return False
    import ctypes  # noqa: PLC0415 - Python has no prctl

    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
