"""The control plane's own cost: a task that does nothing, from its submission to its client knowing of its end.

Usage: python benchmarks/control_plane.py [--serial 30] [--parallel 100] [--postgresql] [--json FILE]

Times are seconds. ``create_to_start``: CreateRun sent → main started. ``end_to_known``: main ended → the client has it.
``exit_to_known``: the last act of a main that leaves an output → the client has it, through the sidecar and the store.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from copilot.control_plane.client import ControlPlaneClient, container_task
from copilot.core.idl import LiteralMap, LiteralType, SimpleType
from copilot.testing.server_process import ServerProcess
from copilot.testing.servers.postgresql import postgres_server

NUMBER = {"m": LiteralType(simple=SimpleType.INTEGER)}


def one(url: str) -> tuple[float, float, float]:
    client = ControlPlaneClient(url, project="flytesnacks", domain="development")
    spec = container_task("nothing", "none", ["/bin/true"], inputs={}, outputs={})
    asked = time.time()
    name = client.submit(spec, LiteralMap())
    answered = time.time()
    ended = client.wait_times(name)
    known = time.time()
    return answered - asked, ended["started"] - asked, known - ended["ended"]


def with_output(url: str, end: Path) -> float:
    """A run whose output a sidecar publishes; main itself notes when it ended."""
    client = ControlPlaneClient(url, project="flytesnacks", domain="development")
    script = f"echo 42 >/var/outputs/m; date +%s.%N >{end}"
    spec = container_task("leaves", "none", ["/bin/sh", "-c", script], inputs={}, outputs=NUMBER)
    ended = client.wait(client.submit(spec, LiteralMap()))
    known = time.time()
    assert ended["phase"] == "SUCCEEDED", ended
    return known - float(end.read_text())


def summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"p50": round(statistics.median(ordered), 4), "p99": round(ordered[int(0.99 * (len(ordered) - 1))], 4)}


def measure(server: ServerProcess, count: int, width: int) -> dict[str, object]:
    began = time.monotonic()
    with ThreadPoolExecutor(width) as threads:
        rows = list(threads.map(lambda _: one(server.url), range(count)))
    took = time.monotonic() - began
    call, start, known = zip(*rows, strict=True)
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return {
        "runs": count,
        "in_flight": width,
        "create_run": summary(list(call)),
        "create_to_start": summary(list(start)),
        "end_to_known": summary(list(known)),
        "runs_per_second": round(count / took, 2),
        "server_rss_mib": round(resident / 1024, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--serial", type=int, default=30)
    parser.add_argument("--parallel", type=int, default=100)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--json")
    given = parser.parse_args()
    found: dict[str, object] = {"machine": platform.platform(), "cpus": os.cpu_count(), "load": os.getloadavg()}
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        with postgres_server() as postgresql:
            url = postgresql.create_database() if given.postgresql else f"sqlite:///{data / 'copilot.db'}"
            server = ServerProcess(data, url)
            server.start()
            one(server.url)
            found["serial"] = measure(server, given.serial, 1)
            late = [with_output(server.url, data / "end") for _ in range(given.serial)]
            found["with_output"] = {"runs": given.serial, "in_flight": 1, "exit_to_known": summary(late)}
            found["parallel"] = measure(server, given.parallel, min(given.parallel, 100))
            server.stop()
    text = json.dumps(found, indent=2)
    if given.json:
        Path(given.json).write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
