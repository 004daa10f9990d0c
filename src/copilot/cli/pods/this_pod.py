"""What a sidecar knows of its own pod: which it is, where it is looked up, how long it has after SIGTERM."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.core.errors import BadFlag
from copilot.engine.cancel import Notice
from copilot.upload.watchers.context import PodSource

if TYPE_CHECKING:
    from copilot.core.ports import Clock

GRACE: Final = "COPILOT_GRACE_S"
DEFAULT_GRACE_S: Final = 30.0
"""Kubernetes' ``terminationGracePeriodSeconds`` where a pod sets none."""
FOR_LAST_WORDS_S: Final = 2.0
"""Seconds before SIGKILL in which nothing is tried any more but to say why."""
FOR_GIVING_BACK_S: Final = 1.0
"""The last of them: what was lent is given back."""
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


@dataclass(frozen=True, slots=True)
class Grace:
    """How long the pod gives us between SIGTERM and SIGKILL.

    Attributes:
        seconds: so long.
        known_from: who says so.
        told: whether it was told; what is only assumed limits nothing.
    """

    seconds: float
    known_from: str
    told: bool = False

    def token(self, clock: Clock, noticed_s: Callable[[], float | None], *, spare_s: float) -> Notice | None:
        """Ends ``spare_s`` seconds before SIGKILL comes, once SIGTERM came; None where nobody told us when that is."""
        if not self.told:
            return None
        return Notice(
            clock,
            noticed_s,
            max(1.0, self.seconds - spare_s),
            budget=f"the grace period ({self.seconds:g} s from SIGTERM to SIGKILL)",
        )


def grace_of(environ: Mapping[str, str], *, drop_in: bool, timeout_s: float | None) -> Grace:
    """``COPILOT_GRACE_S``, else what a pod of this kind has.

    Args:
        environ: the environment.
        drop_in: whether the pod is Flyte's, which sets the grace period to ``--timeout``.
        timeout_s: ``--timeout``.

    Raises:
        BadFlag: the variable is no number of seconds.
    """
    text = environ.get(GRACE, "").strip()
    if not text:
        if drop_in and timeout_s is not None:
            return Grace(timeout_s, "--timeout, as Flyte sets its pods' terminationGracePeriodSeconds")
        return Grace(DEFAULT_GRACE_S, f"Kubernetes' default, since {GRACE} is not set")
    if not text.isascii() or not text.isdecimal():
        raise BadFlag(
            f"{GRACE} is {text!r}, which is no number of seconds",
            op="flags",
            subject=GRACE,
            hint="Give the pod's terminationGracePeriodSeconds, a whole number.",
        )
    return Grace(float(text), GRACE, told=True)


def pod_source(environ: Mapping[str, str]) -> PodSource | None:
    """Where our own pod is looked up; None where there is no Kubernetes API. Inside a pod the host's name is the pod's."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    in_cluster = f"https://{f'[{host}]' if ':' in host else host}:{port}" if host else ""
    api, name = environ.get("COPILOT_KUBERNETES_API") or in_cluster, environ.get("COPILOT_POD_NAME") or environ.get("HOSTNAME")
    if not api or not name:
        return None
    own = PodSource(api, name)
    return replace(
        own,
        namespace=environ.get("COPILOT_POD_NAMESPACE", ""),
        container=environ.get("COPILOT_MAIN_CONTAINER", ""),
        token_file=environ.get("COPILOT_KUBERNETES_TOKEN_FILE", own.token_file),
    )
