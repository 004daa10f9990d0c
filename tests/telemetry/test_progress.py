"""Progress is told now and then, never for every byte."""

from __future__ import annotations

import io
import json
from pathlib import Path

from copilot.telemetry.log import JsonLog
from copilot.telemetry.progress import Everybody, FileProgress, LogProgress
from copilot.telemetry.redact import Redactor
from copilot.testing.clock import FakeClock


def test_log_lines_come_every_ten_seconds_at_most() -> None:
    clock, stream = FakeClock(), io.StringIO()
    progress = LogProgress(JsonLog(stream, clock=clock, redactor=Redactor()), clock)
    progress.planned(2, 200)
    for _ in range(100):
        clock.sleep(0.5)
        progress.moved(2)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["bytes"] for line in lines] == [40, 80, 120, 160, 200]
    assert lines[0]["bytes_planned"] == 200


def test_the_progress_file_is_whole_at_the_end_and_a_lost_directory_stops_nobody(tmp_path: Path) -> None:
    clock = FakeClock()
    here = FileProgress(tmp_path / "progress", clock)
    nowhere = FileProgress(tmp_path / "none" / "progress", clock)
    both = Everybody([here, nowhere])
    both.planned(1, 3)
    both.moved(3)
    both.finished("x", 3)
    clock.sleep(2)
    here.close()
    nowhere.close()
    told = json.loads((tmp_path / "progress").read_text())
    assert told == {"objects": 1, "objects_planned": 1, "bytes": 3, "bytes_planned": 3, "seconds": 2.0}
    assert [path.name for path in tmp_path.iterdir()] == ["progress"]
