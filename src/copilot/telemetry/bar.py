"""A progress bar on a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from copilot.telemetry.progress import Count

if TYPE_CHECKING:
    from copilot.core.ports import Clock

_EVERY_S = 0.1


class BarProgress(Count):
    """Draws on standard error once the first byte has moved; leaves the terminal as it was."""

    def __init__(self, clock: Clock) -> None:
        """See the class."""
        super().__init__(clock, _EVERY_S)
        from rich.console import Console  # noqa: PLC0415 - on a terminal only
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415

        self._bar = Progress(
            "{task.fields[objects]} objects",
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            transient=True,
            auto_refresh=False,
        )
        self._task = self._bar.add_task("", objects="0", total=None)
        self._shown = False

    def tell(self) -> None:
        """Draws."""
        if not self._shown:
            self._bar.start()
            self._shown = True
        self._bar.update(
            self._task,
            completed=self.size_bytes,
            total=max(self.bytes_planned, self.size_bytes) or None,
            objects=f"{self.objects}/{max(self.objects_planned, self.objects)}",
        )
        self._bar.refresh()

    def above(self, text: str) -> bool:
        """Writes whole lines above the bar; False, and nothing, while it is not shown."""
        if not self._shown:
            return False
        from rich.text import Text  # noqa: PLC0415 - as above

        self._bar.console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=True)
        return True

    def close(self) -> None:
        """Takes the bar away; it comes back when more moves."""
        if self._shown:
            self._bar.stop()
            self._shown = False
