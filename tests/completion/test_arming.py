"""SIGTERM is handled before anything is loaded, and from then on no moment is a bad one for it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.completion.conftest import CLEAN, COPILOT, INTEGER, interface

WINDOW_S = 0.6
"""From ARMED to well after the sidecar has begun to wait, on a machine that has other things to do."""
MOST_MODULES = 40
PROBE = "import os, sys; from copilot import signals; signals.arm(['copilot', 'sidecar'], os.environ)"


def test_few_modules_are_loaded_before_armed_is_written(tmp_path: Path) -> None:
    environ = {**CLEAN, "COPILOT_CONTROL_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    argv = [sys.executable, "-S", "-X", "importtime", "-c", PROBE]
    told = subprocess.run(argv, capture_output=True, text=True, check=True, env=environ).stderr
    loaded = {line.split("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}
    assert (tmp_path / "ARMED").exists()
    assert len(loaded) <= MOST_MODULES, sorted(loaded)


def once(home: Path, delay_s: float) -> tuple[int, bool, str]:
    """One sidecar, told to stop ``delay_s`` after ``ARMED``: its exit code, whether it published, its log."""
    out, control, store = home / "out", home / "control", home / "store"
    out.mkdir(parents=True)
    (out / "n").write_text("5")
    places = [
        "--from-local-dir",
        out,
        "--to-output-prefix",
        store,
        "--control-dir",
        control,
        "--interface",
        interface(n=INTEGER),
    ]
    argv: list[str] = [str(COPILOT), "sidecar", *map(str, places), "--trust-signal", "--no-manifest", "--no-receipt"]
    process = subprocess.Popen(argv, env=CLEAN, stderr=subprocess.PIPE, text=True)
    armed, deadline_s = control / "ARMED", time.monotonic() + 60
    while not armed.exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.0005)
    time.sleep(delay_s)
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=60)[1]
    return process.returncode, (store / "outputs.pb").exists(), told


def lost(tmp_path: Path, moments: int) -> list[tuple[float, int, str]]:
    rng = random.Random(moments)
    delays = [rng.uniform(0, WINDOW_S) for _ in range(moments)]
    with ThreadPoolExecutor(2 * (os.cpu_count() or 2)) as pool:
        ends = pool.map(once, (tmp_path / str(number) for number in range(moments)), delays)
        return [
            (delay, code, told) for delay, (code, published, told) in zip(delays, ends, strict=True) if code or not published
        ]


def test_a_sigterm_soon_after_armed_is_not_lost(tmp_path: Path) -> None:
    assert lost(tmp_path, 24) == []


def test_a_person_who_is_in_a_hurry_gets_no_traceback(tmp_path: Path) -> None:
    """Ctrl-C twice while everything is still being loaded."""
    environ = {**CLEAN, "COPILOT_CONTROL_DIR": str(tmp_path)}
    process = subprocess.Popen([COPILOT, "sidecar", "--interface", interface(n=INTEGER)], env=environ, stderr=subprocess.PIPE)
    while not (tmp_path / "ARMED").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)  # two that are pending at once are one
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert (process.returncode, b"Traceback" in told) == (130, False), told


@pytest.mark.parametrize("arguments", ["version", "explain StoreUnreachable"])
def test_a_command_whose_streams_are_closed_does_its_work(arguments: str) -> None:
    script = f"{COPILOT} {arguments} <&- >&- 2>&-"
    assert subprocess.run(["/bin/sh", "-c", script], env=CLEAN, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_of_a_thousand_sigterms_at_random_moments_none_is_lost(tmp_path: Path) -> None:
    assert lost(tmp_path, 1000) == []
