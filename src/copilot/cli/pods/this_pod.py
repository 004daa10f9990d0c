"""Which pod we are in, where nobody has said so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mountinfo")
_OF_A_POD: Final = re.compile(r"/pods/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/")
_ROOT: Final = 3  # the column of what is mounted, seen from its file system's root: proc(5)


def pod_uid(environ: Mapping[str, str], mounts: Path = MOUNTS) -> str:
    """Our pod's UID: ``COPILOT_POD_UID``, else as our mounts have it; empty where it cannot be known.

    The kubelet keeps every pod's volumes, ``/etc/hosts`` and termination logs below ``pods/<uid>/`` on the node, and a mount
    says where in its file system it comes from. Mounts of several pods are a node's own view, and tell nothing.
    """
    told = environ.get("COPILOT_POD_UID", "")
    if told:
        return told
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    roots = (fields[_ROOT] for line in lines if len(fields := line.split()) > _ROOT)
    found = {uid for root in roots for uid in _OF_A_POD.findall(root)}
    return found.pop() if len(found) == 1 else ""
