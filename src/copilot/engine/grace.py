"""What can still be brought away between SIGTERM and SIGKILL. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_KEPT_BACK_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """Whether the grace period suffices.

    Attributes:
        grace_s: seconds from SIGTERM to SIGKILL.
        left_bytes: what is still to be moved.
        bytes_per_s: what moved a second so far; None before anything was measured.
    """

    grace_s: float
    left_bytes: int
    bytes_per_s: float | None

    @property
    def needed_s(self) -> float | None:
        """Seconds the rest will take, or None where nothing was measured yet."""
        if self.left_bytes == 0:
            return 0.0
        return self.left_bytes / self.bytes_per_s if self.bytes_per_s else None

    @property
    def enough(self) -> bool | None:
        """Whether it fits with two seconds for the commit and the receipt; None where nobody can say."""
        needed_s = self.needed_s
        return None if needed_s is None else needed_s + _KEPT_BACK_S <= self.grace_s


@dataclass(slots=True)
class Rate:
    """Bytes a second while something moved: idle time does not count."""

    size_bytes: int = 0
    seconds: float = 0.0

    def add(self, size_bytes: int, seconds: float) -> None:
        """So much moved in that time."""
        self.size_bytes += size_bytes
        self.seconds += seconds

    @property
    def bytes_per_s(self) -> float | None:
        """The mean, or None before anything has moved."""
        return self.size_bytes / self.seconds if self.size_bytes and self.seconds > 0 else None
