"""The directories that Copilot adds to somebody's container: which cannot be, and which are in each other's way. Pure."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any, Final

from copilot.control_plane.pods.refusal import refused
from copilot.control_plane.pods.settings import BIN_DIR, CONTROL_DIR

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: A volume here hides what a container cannot do without, or holds what others put there.
_SYSTEM: Final = frozenset(
    {"/", "/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib"}  # noqa: S108
    | {"/usr/local", "/usr/local/bin", "/usr/local/lib", "/var", "/var/lib", "/var/run", "/var/tmp"}  # noqa: S108
)
_KERNEL: Final = ("/proc/", "/sys/")


def directory(path: str, what: str) -> str:
    """``path`` as it is mounted.

    Args:
        path: an absolute path.
        what: what it is for, to begin the sentence with.

    Raises:
        PodRefused: no volume can be there.
    """
    normal = "/" + posixpath.normpath(path).lstrip("/")
    if not path.startswith("/"):
        raise refused(what, f"is {path}, which is no absolute path")
    if ":" in path:
        raise refused(what, f"is {path}, and Kubernetes takes no colon in it")
    if normal in _SYSTEM or normal.startswith(_KERNEL):
        raise refused(what, f"is {normal}, where a volume would hide what containers need", hint="Say a directory of its own.")
    return normal


def check_apart(*, inputs: str, outputs: str, secrets: Iterable[str]) -> None:
    """Raises ``PodRefused`` when one of Copilot's directories lies in another, or is it; those of secrets may.

    Args:
        inputs: where main has them; empty: nowhere.
        outputs: likewise.
        secrets: the directories of secret files.
    """
    own = [(path, what) for path, what in ((inputs, "the inputs"), (outputs, "the outputs")) if path]
    own += [(path, "secrets") for path in secrets] + [(path, "Copilot itself") for path in (CONTROL_DIR, BIN_DIR)]
    for place, (one, for_one) in enumerate(own):
        for other, for_other in own[place + 1 :]:
            if for_one != for_other and (within(one, other) or within(other, one)):
                hint = "What lies with the outputs would be published." if "the outputs" in {for_one, for_other} else ""
                what = f"{one} is for {for_one}" if one == other else f"{one} for {for_one} and {other} for {for_other}"
                rest = f"and for {for_other} too" if one == other else "lie one in the other"
                raise refused(what, rest, hint=hint or "Say another directory.")


def check_mounts(main: Mapping[str, Any], own: Sequence[str], *, outputs: str, where: str) -> None:
    """Raises ``PodRefused`` when ``main`` has volumes of its own where Copilot puts one, or below its outputs."""
    for each in main.get("volumeMounts") or ():
        path = posixpath.normpath(str(each.get("mountPath", "")))
        if path in own:
            raise refused(f"{where}.volumeMounts", f"has {path}, where Copilot puts a volume", hint="Say another directory.")
        if outputs and within(path, outputs):
            raise refused(
                f"{where}.volumeMounts",
                f"has {path}, a volume of its own below the outputs: what is written there would not be published",
                hint="Say another output directory, or mount it elsewhere.",
            )


def within(path: str, place: str) -> bool:
    """Whether ``path`` is ``place`` or lies below it."""
    return f"{path}/".startswith(f"{place}/")
