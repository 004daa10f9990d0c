"""What a task left, as seen by the builder of literals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Entry(Protocol):
    """A file or a directory the task wrote; links are already followed, devices already refused."""

    @property
    def name(self) -> str:
        """Its own name, without the directories above."""
        ...

    @property
    def shown(self) -> str:
        """Its path, for messages."""
        ...

    @property
    def is_directory(self) -> bool:
        """Whether it is one; else it is a regular file."""
        ...

    def read(self) -> bytes:
        """A file's whole content."""
        ...

    def entries(self) -> Sequence[Entry]:
        """What a directory holds, by name."""
        ...

    def beside(self, path: str) -> Entry | None:
        """What ``path`` means to the task: a path below the output directory; None if nothing is there."""
        ...


@dataclass(frozen=True, slots=True)
class Sending:
    """An entry whose bytes belong to a literal, and the URI the literal names."""

    entry: Entry
    uri: str
