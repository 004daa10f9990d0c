"""How much of this machine a transfer may use, from the container's own limits.

Reads the cgroup files through a root path, so that tests bring their own tree. Their formats: the kernel's
``Documentation/admin-guide/cgroup-v2.rst`` and ``cgroup-v1/memory.rst``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from copilot.engine.retry import RetryPolicy

MIB: Final = 1024 * 1024

_NO_LIMIT: Final = 1 << 60  # v1 spells "no limit" as a number near 2^63
_INTERPRETER_BYTES: Final = 48 * MIB  # the process before it moves a byte: Python, protobuf, the store's library


@dataclass(frozen=True, slots=True)
class Limits:
    """What a transfer may use, and how patient it is.

    Attributes:
        max_workers: most requests in flight.
        part_bytes: length of one range of a big object, and of one part of a big upload.
        memory_bytes: what transfers may hold at any moment, over the interpreter itself.
        stall_s: seconds without a byte after which a request is given up (and tried again elsewhere).
        slowest_bytes_s: a connection that moves this much is slow, not silent. Libraries hand over up to a MiB at a time, so
            ``stall_s`` is extended by what that takes at this rate.
        read_twice: over plain http, objects of which nothing says what their content is are read twice and compared.
        max_read_bytes: most that ``read`` takes when its caller does not say.
        retry: when and how long to try again.
    """

    max_workers: int = 16
    part_bytes: int = 16 * MIB
    memory_bytes: int = 64 * MIB
    stall_s: float = 60.0
    slowest_bytes_s: int = 4096
    read_twice: bool = True
    max_read_bytes: int = 64 * MIB
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    @classmethod
    def detect(cls, root: Path = Path("/"), *, cpus: int | None = None) -> Limits:
        """Limits that fit the container we are in.

        Args:
            root: where ``/proc`` and ``/sys`` are looked for.
            cpus: the machine's cores; None asks the scheduler.
        """
        return fit(cls(), memory_bytes=memory_limit_bytes(root), cpus=cpu_limit(root, cpus=cpus))

    def slack_s(self, size_bytes: int) -> float:
        """Seconds that ``size_bytes`` may take at the slowest, beyond ``stall_s``."""
        return size_bytes / self.slowest_bytes_s


def fit(limits: Limits, *, memory_bytes: int | None, cpus: float) -> Limits:
    """``limits``, made smaller where the container is small. Pure.

    Half of what is left beside the interpreter may be used, at most ``limits.memory_bytes``; the rest belongs to sockets and
    the page cache's dirty pages, which count against the container as well.
    """
    workers = max(2, min(limits.max_workers, int(8 * cpus)))
    if memory_bytes is None:
        return replace(limits, max_workers=workers)
    budget = max(4 * MIB, min(limits.memory_bytes, (memory_bytes - _INTERPRETER_BYTES) // 2))
    # A worker holds about a MiB: a chunk on its way, the socket's buffers, its stack.
    workers = max(2, min(workers, budget // (2 * MIB)))
    part = max(5 * MIB, min(limits.part_bytes, budget // 4))
    return replace(limits, max_workers=workers, memory_bytes=budget, part_bytes=part)


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """The container's memory limit in bytes: the smallest of its cgroup and those above it; None without one."""
    found = [
        value
        for base, name in _cgroup_directories(root, "memory", v1_file="memory.limit_in_bytes", v2_file="memory.max")
        if (value := _number(base / name)) is not None and value < _NO_LIMIT
    ]
    return min(found, default=None)


def cpu_limit(root: Path = Path("/"), *, cpus: int | None = None) -> float:
    """How many cores' worth of time we get: the cores we may run on, or the cgroup's quota if that is less."""
    best = float(cpus if cpus is not None else len(os.sched_getaffinity(0)))
    for base, name in _cgroup_directories(root, "cpu", v1_file="cpu.cfs_quota_us", v2_file="cpu.max"):
        if name == "cpu.max":
            words = _text(base / name).split()
            quota, period = (_parse(words[0]), _parse(words[1])) if len(words) == 2 else (None, None)  # noqa: PLR2004 - "quota period"
        else:
            quota, period = _number(base / name), _number(base / "cpu.cfs_period_us")
        if quota is not None and quota > 0 and period:
            best = min(best, quota / period)
    return best


def _cgroup_directories(root: Path, controller: str, *, v1_file: str, v2_file: str) -> list[tuple[Path, str]]:
    """Every directory whose limit binds us: ours and each above it, in whichever hierarchy has the controller."""
    found: list[tuple[Path, str]] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            mounts, name = (root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"), v2_file
        elif controller in controllers.split(","):
            mounts, name = (root / "sys/fs/cgroup" / controller, root / "sys/fs/cgroup" / controllers), v1_file
        else:
            continue
        for mount in mounts:
            below = Path(path.lstrip("/"))
            # In a container the path of the host may not exist under the mount: the mount itself is then ours.
            found += [(mount / step, name) for step in (below, *below.parents)]
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    return _parse(_text(path).strip())


def _parse(word: str) -> int | None:
    return int(word) if word.isascii() and word.isdigit() else None
