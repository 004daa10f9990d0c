"""What a container sees of the machine's files: a plan of mounts, and its spelling for bubblewrap. No file is touched here.

The root is this machine's own. Where a mount point does not exist on it, the directories on the way are rebuilt in memory
with binds of what they hold, so that a pod never leaves a directory behind on the host.
"""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OWN_DEVICES: Final = ("nvidia", "dri", "kfd", "fuse", "infiniband")

#: Where a directory with more entries than this is mounted as a whole.
_CROWDED: Final = 64
_ASIDE: Final = "/.host"


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or directory of the host at another place in the container."""

    source: Path
    target: str
    read_only: bool = False


def container_mounts(container: Mapping[str, Any], volumes: Mapping[str, Path]) -> list[Mount]:
    """The container's ``volumeMounts`` over the volumes' directories on the host; deeper targets later."""
    mounts = []
    for each in container.get("volumeMounts") or ():
        source = volumes[each["name"]]
        if each.get("subPath"):
            source = source / posixpath.normpath("/" + each["subPath"]).lstrip("/")
        mounts.append(Mount(source, posixpath.normpath(each["mountPath"]), read_only=bool(each.get("readOnly"))))
    return sorted(mounts, key=lambda each: each.target.count("/"))


def host_path(path: str, mounts: Sequence[Mount]) -> Path:
    """Where a container's path lies on the host."""
    for each in sorted(mounts, key=lambda mount: -len(mount.target)):
        if path == each.target or path.startswith(each.target.rstrip("/") + "/"):
            return each.source / path[len(each.target) :].lstrip("/")
    return Path(path)


def bubblewrap_arguments(mounts: Sequence[Mount]) -> list[str]:
    """The root and the mounts as bubblewrap's arguments, without anything created on the host."""
    settled = [Mount(each.source, os.path.realpath(each.target), each.read_only) for each in mounts]
    devices = [each for each in settled if each.target.startswith("/dev/")]
    others = [each for each in settled if not each.target.startswith("/dev/")]
    arguments = ["--tmpfs", "/", *_rebuilt(Path("/"), [each.target for each in others])]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    for device in sorted(Path("/dev").iterdir()):
        if device.name.startswith(OWN_DEVICES):
            arguments += ["--dev-bind", str(device), str(device)]
    for each in [*others, *devices]:
        arguments += ["--ro-bind" if each.read_only else "--bind", str(each.source), each.target]
    return arguments


def _rebuilt(directory: Path, targets: Sequence[str]) -> list[str]:
    """What stands beside mounts whose places are not there: each is shown as it is.

    A mount each costs bubblewrap seconds in a directory like ``/tmp`` with a thousand entries, because every mount looks
    through all others. So a crowded directory is mounted once, out of the way, and its entries are links into it.
    """
    arguments: list[str] = []
    paths = sorted(directory.iterdir())
    aside = f"{_ASIDE}{directory}" if len(paths) > _CROWDED else ""
    if aside:
        arguments += ["--dev-bind", str(directory), aside]
    for path in paths:
        name = str(path)
        if name in {"/proc", "/dev"} or name in targets:
            continue
        below = [target for target in targets if target.startswith(name + "/")]
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), name]
        elif below and not all(Path(target).exists() for target in below) and path.is_dir():
            arguments += ["--dir", name, *_rebuilt(path, below)]
        elif aside and not below:
            arguments += ["--symlink", f"{aside}/{path.name}", name]
        else:
            arguments += ["--dev-bind-try", name, name]
    return arguments


def rewritten(text: str, mounts: Sequence[Mount]) -> str:
    """The text with every mounted path replaced by its place on the host, for machines without bubblewrap.

    A path is replaced only where it stands as a whole path: not inside a longer name, not after another path's end.
    """
    if not mounts:
        return text
    by_target = {each.target: str(each.source) for each in mounts}
    longest_first = sorted(by_target, key=len, reverse=True)
    pattern = "(?<![A-Za-z0-9_./-])(" + "|".join(re.escape(each) for each in longest_first) + r")(?![A-Za-z0-9_.-])"
    return re.sub(pattern, lambda found: by_target[found.group(1)], text)
