"""``scripts/demo`` as somebody sees it who types it: what it shows, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, str(ROOT / "scripts" / "demo.py")]

pytestmark = pytest.mark.slow


def left_behind(directory: Path) -> list[str]:
    """The processes that were started from a directory."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            words = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found += [words] if str(directory) in words else []
    return found


def test_the_demo_shows_the_main_job_and_leaves_nothing_behind(tmp_path: Path) -> None:
    ended = subprocess.run(
        PROGRAM, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=240, check=False
    )
    shown = ended.stdout
    assert ended.returncode == 0, shown + ended.stderr
    for sentence in (
        "✓ S3 server (SeaweedFS) at http://127.0.0.1:",
        "✓ copilot server at http://127.0.0.1:",
        "native sidecar  copilot-sidecar",
        "init container  copilot-init",
        "settings: country=US above_m=1500 signing_key=***",
        "phase: SUCCEEDED",
        "✓ the report in S3 carries the signature of the key",
        "phase: FAILED",
        "✓ exit code 23",
        "What happened  No airport of 'XX' lies above 1500 m.",
        "To try it yourself:",
    ):
        assert sentence in shown, (sentence, shown)
    assert int(re.findall(r"airports_found: (\d+)", shown)[0]) > 100
    assert list(tmp_path.iterdir()) == []
    assert left_behind(tmp_path) == []


def test_a_signal_while_a_task_runs_ends_everything(tmp_path: Path) -> None:
    with subprocess.Popen(PROGRAM, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True) as demo:
        try:
            assert demo.stdout is not None
            shown = ""
            while not shown.endswith("    run: airports\n"):
                line = demo.stdout.readline()
                assert line, shown
                shown += line
            demo.send_signal(signal.SIGTERM)
            rest = demo.stdout.read()
            assert demo.wait(120) == 128 + signal.SIGTERM, shown + rest
            assert list(tmp_path.iterdir()) == []
            assert left_behind(tmp_path) == []
        finally:
            demo.kill()
