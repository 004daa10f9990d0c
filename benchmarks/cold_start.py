"""How long a pod's start takes: exec to the signals handled, and exec to the first request.

Prints one JSON document with the machine's facts. ``--runs N`` sets the number of runs (10). Bytecode is compiled once before,
as it is in an image.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

COPILOT = Path(sys.executable).with_name("copilot")
BUDGETS_MS = {"armed": 40, "first_request": 200}


def armed(environ: dict[str, str], home: Path) -> float:
    control = home / f"control-{time.monotonic_ns()}"
    control.mkdir()
    began = time.perf_counter()
    with subprocess.Popen(
        [COPILOT, "sidecar", "--control-dir", control, "--interface", ""], env=environ, stderr=subprocess.DEVNULL
    ) as process:
        while not os.path.exists(control / "ARMED"):  # noqa: PTH110 - a tight loop
            if process.poll() is not None and not (control / "ARMED").exists():
                message = "the sidecar ended without ARMED"
                raise RuntimeError(message)
        return time.perf_counter() - began


def first_request(environ: dict[str, str], home: Path) -> float:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        flags = ["--inputs", "s3://bucket/inputs.pb", "--to", str(home / "in"), "--endpoint", endpoint]
        began = time.perf_counter()
        with subprocess.Popen([COPILOT, "init", *flags], env=environ, stderr=subprocess.DEVNULL) as process:
            connection, _ = server.accept()
            connection.recv(1)
            took = time.perf_counter() - began
            process.kill()
            connection.close()
            return took


def bare_interpreter(environ: dict[str, str], _home: Path) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], env=environ, check=True)
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    measures: dict[str, Callable[[dict[str, str], Path], float]] = {
        "bare_interpreter": bare_interpreter,
        "armed": armed,
        "first_request": first_request,
    }
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": name,
            "PYTHONPYCACHEPREFIX": str(home / "bytecode"),
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        }
        for title, measure in measures.items():
            measure(environ, home)
            times = sorted(measure(environ, home) * 1000 for _ in range(runs))
            results[title] = {
                "min_ms": round(times[0], 1),
                "median_ms": round(statistics.median(times), 1),
                "max_ms": round(times[-1], 1),
            }
    facts = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    print(
        json.dumps(
            {"benchmark": "cold_start", "runs": runs, "budgets_ms": BUDGETS_MS, "results": results, "machine": facts}, indent=2
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
