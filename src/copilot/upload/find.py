"""Where an output is: ``<dir>/<variable>``, or the only ``<dir>/<variable>.*``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from copilot.core import podfiles
from copilot.core.errors import BadOutput, MissingOutput, UnreadableOutput
from copilot.upload.entries import LocalEntry, look, printable, some_names

if TYPE_CHECKING:
    from collections.abc import Collection


@dataclass(frozen=True, slots=True)
class OutputDirectory:
    """The directory a task writes its outputs into.

    Attributes:
        base: as it was given.
        root: with every link resolved.
        names: what is in it, by name; read once.
        declared: the names of all outputs, so that one output's file is never taken for another's.
    """

    base: Path
    root: str
    names: tuple[str, ...]
    declared: frozenset[str]

    @classmethod
    def open(cls, base: Path, declared: Collection[str]) -> OutputDirectory:
        """Looks at the directory. One that is not there holds nothing: the task never wrote an output.

        Raises:
            UnreadableOutput: it cannot be listed.
        """
        base = Path(os.path.abspath(base))  # noqa: PTH100 — Path.resolve would follow links
        try:
            found = sorted(os.listdir(base))  # noqa: PTH208 — names are what is needed
        except (FileNotFoundError, NotADirectoryError):
            found = []
        except OSError as cause:
            raise UnreadableOutput(
                f"the output directory {printable(base)} cannot be read ({(cause.strerror or '').lower()})",
                op="plan",
                subject=printable(base),
                hint="Mount it into the sidecar, and let the sidecar's user read it.",
            ) from cause
        return cls(base, os.path.realpath(base), tuple(found), frozenset(declared))

    def path_text(self, variable: str) -> str:
        """The path looked at first, for messages."""
        return printable(self.base / variable)

    def find(self, variable: str) -> LocalEntry | None:
        """The variable's file or directory; None if there is none.

        Raises:
            BadOutput: the variable's name cannot be a file's.
            UnreadableOutput: two candidates, a link out of the directory, a device.
        """
        if not variable or "/" in variable or "\0" in variable or variable in {".", ".."}:
            raise BadOutput(
                f"output {variable!r} cannot be a file of {printable(self.base)}: its name is no file name",
                op="plan",
                subject=variable,
                hint="Rename the output in the task's interface.",
            )
        exact = look(self.base / variable, self.root, self.base, variable)
        if exact is not None:
            return exact
        candidates = [name for name in self.names if name.startswith(f"{variable}.") and name not in self.declared]
        if len(candidates) > 1:
            raise UnreadableOutput(
                f"output {variable!r}: {printable(self.base)} holds {some_names(candidates)}, which of them cannot be told",
                op="plan",
                subject=variable,
                hint=f"Keep one of them, or call it {variable!r}.",
            )
        return look(self.base / candidates[0], self.root, self.base, variable) if candidates else None

    def missing(self, variable: str, wanted: str) -> MissingOutput:
        """The error for an output that was not written: what was looked for, and what is there."""
        there = [name for name in self.names if name not in {podfiles.SUCCESS_MARKER, podfiles.ERROR_MARKER}]
        found = f"holds {some_names(there)}" if there else "is empty"
        if not self.base.is_dir():
            found = "does not exist"
        return MissingOutput(
            f"output {variable!r} ({wanted}) was not written: there is no {self.path_text(variable)} and no "
            f"{self.path_text(variable)}.*, the directory {found}",
            op="plan",
            subject=variable,
            hint=f"Let the task write it to {self.path_text(variable)}.",
        )
