"""The ``READY`` marker: the inputs of exactly this plan are in place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from copilot.core.errors import BadInputs
from copilot.core.gotext import format_timestamp
from copilot.core.podfiles import INPUTS_PB, READY
from copilot.engine.atomic import local_errors, make_directory, write_file

if TYPE_CHECKING:
    from copilot.core.ports import Log
    from copilot.core.values import Totals
    from copilot.download.plan import InputPlan


@dataclass(frozen=True, slots=True)
class Ready:
    """``READY`` in one control directory."""

    control_dir: Path

    def already(self, plan: InputPlan, directory: Path, *, log: Log) -> bool:
        """Whether an earlier run finished this very plan.

        Raises:
            BadInputs: an earlier run finished another plan here.
        """
        path = self.control_dir / READY
        try:
            found = json.loads(path.read_bytes())
            digest = str(found["plan"])
        except FileNotFoundError:
            return False
        except OSError:
            with local_errors(path, op="read"):
                raise
        except (ValueError, KeyError, TypeError):
            log.event("inputs.ready_marker_unreadable", level="warning", path=str(path))
            return False
        if not (directory / INPUTS_PB).is_file():
            log.event("inputs.ready_without_inputs", level="warning", path=str(path), directory=str(directory))
            return False
        if digest != plan.digest:
            raise BadInputs(
                f"{directory} holds the inputs of another plan ({path} says so)",
                op="plan",
                subject=str(directory),
                hint=f"Use an empty input directory and control directory, or remove {path} to stage these inputs over those.",
            )
        return True

    def write(self, plan: InputPlan, totals: Totals, *, now_s: float) -> None:
        """The last act. Raises ``LocalError``."""
        make_directory(str(self.control_dir))
        text = json.dumps(
            {
                "plan": plan.digest,
                "input_dir": plan.input_dir,
                "source": plan.source,
                "objects": totals.objects,
                "size_bytes": totals.size_bytes,
                "seconds": round(totals.seconds, 3),
                "at": format_timestamp(int(now_s)),
            }
        )
        write_file(self.control_dir / READY, f"{text}\n".encode())

    def withdraw(self) -> None:
        """Takes the marker away before the directory changes. Raises ``LocalError``."""
        with local_errors(self.control_dir / READY):
            (self.control_dir / READY).unlink(missing_ok=True)
