"""Where ``copilot run`` works: ``inputs/`` and ``outputs/`` below a directory of the user's, or below a temporary one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from copilot.engine.atomic import local_errors

if TYPE_CHECKING:
    from copilot.core.ports import Log


@dataclass(frozen=True, slots=True)
class Workplace:
    """The directories of one run.

    Attributes:
        root: what they are in.
        temporary: whether they are gone once the run has ended.
    """

    root: Path
    temporary: bool

    @property
    def inputs(self) -> Path:
        """What the command reads."""
        return self.root / "inputs"

    @property
    def outputs(self) -> Path:
        """What it writes."""
        return self.root / "outputs"

    def keep_outputs(self, log: Log) -> None:
        """What the command left stays on this machine, also where it would be gone. ``log`` hears ``outputs.kept``.

        Raises:
            LocalError: it could not be moved out of the temporary directory.
        """
        with local_errors(self.outputs):
            if not any(self.outputs.iterdir()):
                return
            kept = self.outputs
            if self.temporary:
                kept = Path(tempfile.mkdtemp(prefix="copilot-kept-")) / "outputs"
                self.outputs.rename(kept)
        log.event("outputs.kept", level="warning", directory=str(kept), why="the command succeeded, and they are nowhere else")


@contextmanager
def workplace(directory: str | None) -> Iterator[Workplace]:
    """Below ``directory``, which is made; below a temporary one for None.

    Raises:
        LocalError: it cannot be made.
    """
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="copilot-run-") as name:
            yield Workplace(Path(name), temporary=True)
        return
    root = Path(directory).absolute()
    with local_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    yield Workplace(root, temporary=False)
