"""How often the kernel killed for want of memory in our control group.

Sources: the kernel's documentation of cgroup v2 (``memory.events``) and v1 (``memory.oom_control``).
"""

from __future__ import annotations

ROOT = "/sys/fs/cgroup"
SELF = "/proc/self/cgroup"


def oom_kills(root: str = ROOT, own: str = SELF) -> int:
    """The count of ``oom_kill`` so far; 0 where it cannot be known.

    In a container the group's files are mounted at ``root`` itself; elsewhere they are below, at the path that ``own`` tells.
    """
    for file in _candidates(root, own):
        try:
            with open(file) as events:  # noqa: PTH123 - pathlib would cost more than the task's own start
                lines = events.read().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdigit():
                return int(count)
    return 0


def _candidates(root: str, own: str) -> list[str]:
    try:
        with open(own) as lines:  # noqa: PTH123 - as above
            groups = [line.rstrip("\n").split(":", 2) for line in lines]
    except OSError:
        groups = []
    found = []
    for group in groups:
        if len(group) != 3:  # noqa: PLR2004 - the format's three fields
            continue
        _, controllers, path = group
        if "memory" in controllers.split(","):
            found += [f"{root}/memory{path}/memory.oom_control", f"{root}/memory/memory.oom_control"]
        elif not controllers:
            found += [f"{root}{path}/memory.events", f"{root}/memory.events"]
    return found
