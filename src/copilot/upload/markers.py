"""``_SUCCESS`` and ``_ERROR`` in the output directory: what the task itself says of its end."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.core import podfiles
from copilot.core.completion import Saw, Witness
from copilot.core.errors import TaskFailed
from copilot.core.ports import Completion
from copilot.upload.entries import printable, unreadable

if TYPE_CHECKING:
    from copilot.core.ports import Clock

NO_WORDS: Final = "the task wrote an empty _ERROR"


def look_for_marker(directory: Path, clock: Clock) -> Completion | None:
    """What the markers say now; ``_ERROR`` counts before ``_SUCCESS``."""
    for name, saw in ((podfiles.ERROR_MARKER, Saw.ERROR_MARKER), (podfiles.SUCCESS_MARKER, Saw.SUCCESS_MARKER)):
        path = directory / name
        if _exists(path):
            return Completion(Witness.MARKER, saw, evidence={"path": printable(path)}, observed_at_s=clock.now_s())
    return None


def task_error(directory: Path) -> TaskFailed:
    """The error a task's ``_ERROR`` is, with the task's own text (its first MiB).

    Raises:
        UnreadableOutput: the file is there and may not be read.
    """
    path = directory / podfiles.ERROR_MARKER
    try:
        facts = path.lstat()
        if not stat.S_ISREG(facts.st_mode):
            return TaskFailed(f"the task failed, and its {printable(path)} is no file with the reason", op="completion")
        with path.open("rb") as file:
            content = file.read(podfiles.MAX_ERROR_MARKER_BYTES)
    except OSError as cause:
        raise unreadable(podfiles.ERROR_MARKER, path, cause) from cause
    text = content.decode("utf-8", "replace").replace("\0", "\ufffd").strip()
    if facts.st_size > podfiles.MAX_ERROR_MARKER_BYTES:
        text = f"{text} … (the first {podfiles.MAX_ERROR_MARKER_BYTES:,} of {facts.st_size:,} bytes)"
    return TaskFailed(text or NO_WORDS, op="completion", subject=podfiles.ERROR_MARKER)


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True
