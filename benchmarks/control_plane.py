"""The control plane's own cost: tasks that do nothing, from their submission to their client knowing of their end.

Usage: scripts/bench control-plane [--quick] [--database sqlite|postgresql|both] [--serial 50] [--flight 100] [--runs 2000]

Each database gets a server of its own on the process executor, with its defaults but for ``--max-pods``. On each, in one go:

- ``one``: ``--serial`` runs, one after the other, each paired with the same pod given straight to the process executor and with
  the same command as a plain subprocess: what is more than these is the control plane's.
- ``output``: ``--serial`` runs of a second whose output a sidecar publishes (``exit_to_known``: main's last act → known);
  ``at_once``: of a task that ends while its sidecar still loads what it publishes with;
  ``wrapped``: those of a second on a server with ``--wrap always``, where ``copilot exec`` tells of main's end.
- ``flight``: ``--runs`` runs, ``--flight`` of them in flight all the time.

Times are milliseconds. ``to_start``: CreateRun sent → main started. ``to_known``: main ended → its client has the end, from a
watch. ``overhead``: both together, less the same of the executor by itself. A run that does not succeed is counted and shown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from flyteidl2.common.identifier_pb2 import ActionIdentifier, RunIdentifier
from flyteidl2.workflow.run_service_connect import RunServiceClientSync
from flyteidl2.workflow.run_service_pb2 import WatchActionDetailsRequest

from copilot.control_plane.client import ControlPlaneClient, container_task
from copilot.control_plane.executors.process import ProcessExecutor
from copilot.control_plane.lifecycle.phases import ROOT, Phase
from copilot.core.idl import LiteralMap, LiteralType, SimpleType
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.testing.server_process import ServerProcess
from copilot.testing.servers.postgresql import postgres_server

NUMBER = {"m": LiteralType(simple=SimpleType.INTEGER)}
COMMAND = ["/bin/true"]
PROJECT, DOMAIN = "flytesnacks", "development"
NAMESPACE = "bench"
MIB = 1024
SAMPLES = 4
TASK_S = 1


@dataclass(frozen=True, slots=True)
class Took:
    """One run, in seconds. ``answered``: CreateRun's own time; 0 where there is none."""

    answered: float
    to_start: float
    to_known: float

    @property
    def both(self) -> float:
        return self.to_start + self.to_known


class Client:
    """Submits and watches as the command line does, without what only people need. For one thread at a time."""

    def __init__(self, url: str) -> None:
        self._submitter = ControlPlaneClient(url, project=PROJECT, domain=DOMAIN)
        self._watcher = RunServiceClientSync(url)

    def run(self, command: Sequence[str] = COMMAND, outputs: Mapping[str, LiteralType] | None = None) -> Took:
        spec = container_task("bench", "none", list(command), inputs={}, outputs=outputs or {})
        asked = time.time()
        name = self._submitter.submit(spec, LiteralMap())
        answered = time.time()
        run = RunIdentifier(project=PROJECT, domain=DOMAIN, name=name)
        request = WatchActionDetailsRequest(action_id=ActionIdentifier(run=run, name=ROOT))
        for message in self._watcher.watch_action_details(request):
            details = message.details
            if Phase(details.status.phase).terminal:
                known = time.time()
                break
        else:
            msg = f"the watch of {name} ended before its run"
            raise RuntimeError(msg)
        if details.status.phase != Phase.SUCCEEDED:
            msg = f"{Phase(details.status.phase).name}: {details.error_info.message}"
            raise RuntimeError(msg)
        attempt = details.attempts[-1]
        started = next(each.start_time for each in attempt.phase_transitions if each.phase == Phase.RUNNING)
        return Took(answered - asked, started.ToMicroseconds() / 1e6 - asked, known - attempt.end_time.ToMicroseconds() / 1e6)


class Bare:
    """The process executor by itself: the floor of whatever stands on it."""

    def __init__(self, executor: ProcessExecutor) -> None:
        self._executor, self._number = executor, 0
        self._ended: queue.SimpleQueue[tuple[Mapping[str, Any], float]] = queue.SimpleQueue()
        self._cancel = Token(SystemClock())
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        for kind, pod in self._executor.watch(NAMESPACE, self._cancel):
            if kind == "MODIFIED" and pod["status"].get("phase") in {"Succeeded", "Failed"}:
                self._ended.put((pod, time.time()))

    def run(self) -> Took:
        self._number += 1
        name = f"bare-{self._number}"
        container = {"name": "main", "image": "none", "command": COMMAND}
        asked = time.time()
        self._executor.create(
            {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"restartPolicy": "Never", "containers": [container]}}
        )
        while True:
            pod, known = self._ended.get(timeout=60)
            if pod["metadata"]["name"] == name:
                break
        assert pod["status"]["phase"] == "Succeeded", pod["status"]
        state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        started, ended = (datetime.fromisoformat(state[key]).timestamp() for key in ("startedAt", "finishedAt"))
        self._executor.delete(NAMESPACE, name, grace_s=0)
        return Took(0.0, started - asked, known - ended)


def plain() -> float:
    began = time.perf_counter()
    subprocess.run(COMMAND, check=True)
    return time.perf_counter() - began


def with_output(client: Client, end: Path, task_s: float) -> float:
    """A run whose output a sidecar publishes; main itself notes when it ended."""
    client.run(["/bin/sh", "-c", f"sleep {task_s}; echo 42 >/var/outputs/m; date +%s.%N >{end}"], NUMBER)
    return time.time() - float(end.read_text())


def exits(server: ServerProcess, data: Path, count: int, task_s: float) -> dict[str, Any]:
    client, end = Client(server.url), data / "end"
    with_output(client, end, task_s)
    return {"runs": count, "exit_to_known": spread([with_output(client, end, task_s) for _ in range(count)])}


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(seconds)
    return {
        "p50": round(statistics.median(ordered) * 1000, 1),
        "p99": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] * 1000, 1),
    }


def resident_mib(server: ServerProcess, field: str = "VmRSS") -> float:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return round(next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / MIB, 1)


def cpu_s(server: ServerProcess) -> float:
    """What the server itself has used; its pods are others' children."""
    assert server.process is not None
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def one_by_one(server: ServerProcess, data: Path, count: int) -> dict[str, Any]:
    """Runs, bare pods and plain processes by turns, so that each meets the same machine."""
    client = Client(server.url)
    with ProcessExecutor(data / "bare") as executor:
        bare = Bare(executor)
        for warm in (client.run, bare.run):
            warm()
        rows = [(client.run(), bare.run(), plain()) for _ in range(count)]
    ours, floor = [row[0] for row in rows], [row[1] for row in rows]
    return {
        "runs": count,
        "create_run": spread([each.answered for each in ours]),
        "to_start": spread([each.to_start for each in ours]),
        "to_known": spread([each.to_known for each in ours]),
        "executor_to_start": spread([each.to_start for each in floor]),
        "executor_to_known": spread([each.to_known for each in floor]),
        "subprocess": spread([row[2] for row in rows]),
        "overhead": spread([mine.both - theirs.both for mine, theirs in zip(ours, floor, strict=True)]),
    }


def in_flight(server: ServerProcess, count: int, width: int) -> dict[str, Any]:
    """``count`` runs, ``width`` of them in flight; memory after each quarter."""
    clients = threading.local()
    memory = {"0": resident_mib(server)}
    marks = {count * quarter // SAMPLES for quarter in range(1, SAMPLES + 1)}
    done, lock, failures = 0, threading.Lock(), Counter[str]()

    def run(_: int) -> Took | None:
        nonlocal done
        if not hasattr(clients, "mine"):
            clients.mine = Client(server.url)
        mine: Client = clients.mine
        try:
            return mine.run()
        except Exception as error:  # noqa: BLE001 - counted, and shown in the result
            failures[f"{type(error).__name__}: {error}"[:200]] += 1
            return None
        finally:
            with lock:
                done += 1
                if done in marks:
                    memory[str(done)] = resident_mib(server)

    began, used = time.monotonic(), cpu_s(server)
    with ThreadPoolExecutor(width) as threads:
        rows = [row for row in threads.map(run, range(count)) if row is not None]
    took = time.monotonic() - began
    return {
        "runs": count,
        "in_flight": width,
        "not_succeeded": dict(failures),
        "create_run": spread([each.answered for each in rows]),
        "to_start": spread([each.to_start for each in rows]),
        "to_known": spread([each.to_known for each in rows]),
        "runs_per_second": round(len(rows) / took, 1),
        "seconds": round(took, 1),
        "server_cpu_ms_per_run": round((cpu_s(server) - used) * 1000 / count, 1),
        "server_rss_mib": memory,
        "server_rss_peak_mib": resident_mib(server, "VmHWM"),
    }


@contextmanager
def database(kind: str, data: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{data / 'copilot.db'}"
        return
    with postgres_server() as postgresql:
        yield postgresql.create_database()


def measure(kind: str, given: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="copilot-bench-", ignore_cleanup_errors=True) as name:
        data = Path(name)
        with database(kind, data) as url:
            server = ServerProcess(data, url, flags=("--max-pods", str(given.max_pods)))
            server.start()
            try:
                found: dict[str, Any] = {"load_before": os.getloadavg()[0]}
                found["one"] = one_by_one(server, data, given.serial)
                say(f"{kind}, one at a time: {found['one']}")
                found["output"] = exits(server, data, given.serial, TASK_S)
                found["at_once"] = exits(server, data, given.serial, 0)
                say(f"{kind}, with an output: {found['output']}, at once: {found['at_once']}")
                found["flight"] = in_flight(server, given.runs, given.flight)
                say(f"{kind}, {given.flight} in flight: {found['flight']}")
                found["load_after"] = os.getloadavg()[0]
            finally:
                server.stop()
            wrapping = ServerProcess(data, url, flags=("--wrap", "always"))
            wrapping.start()
            try:
                found["wrapped"] = exits(wrapping, data, given.serial, TASK_S)
                say(f"{kind}, wrapped: {found['wrapped']}")
            finally:
                wrapping.stop()
    return found


def table(databases: Mapping[str, Any]) -> Iterator[str]:
    """What docs/performance.md shows."""
    yield "| | " + " | ".join(databases) + " |"
    yield "|---|" + "---|" * len(databases)
    rows: list[tuple[str, Callable[[Any], str]]] = [
        ("one at a time: CreateRun → main starts", lambda found: ms(found["one"]["to_start"])),
        ("main ends → the client knows", lambda found: ms(found["one"]["to_known"])),
        ("the executor by itself: create → main starts", lambda found: ms(found["one"]["executor_to_start"])),
        ("main ends → its watcher knows", lambda found: ms(found["one"]["executor_to_known"])),
        ("the control plane's overhead", lambda found: ms(found["one"]["overhead"])),
        ("with an output, a task of 1 s: main exits → the client knows", lambda found: ms(found["output"]["exit_to_known"])),
        ("the same under `--wrap always`", lambda found: ms(found["wrapped"]["exit_to_known"])),
        ("a task that ends before its sidecar has started", lambda found: ms(found["at_once"]["exit_to_known"])),
        ("in flight: CreateRun → main starts", lambda found: ms(found["flight"]["to_start"])),
        ("main ends → the client knows", lambda found: ms(found["flight"]["to_known"])),
        ("runs a second", lambda found: str(found["flight"]["runs_per_second"])),
        ("server CPU a run", lambda found: f"{found['flight']['server_cpu_ms_per_run']} ms"),
        ("server memory, by runs", lambda found: memory(found["flight"]["server_rss_mib"])),
    ]
    for label, cell in rows:
        yield f"| {label} | " + " | ".join(cell(found) for found in databases.values()) + " |"


def ms(found: Mapping[str, float]) -> str:
    return f"{found['p50']:.0f} / {found['p99']:.0f} ms"


def memory(found: Mapping[str, float]) -> str:
    return ", ".join(f"{runs}: {mib:.0f}" for runs, mib in found.items()) + " MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description="The control plane's own cost; see the head of the file.")
    parser.add_argument("--quick", action="store_true", help="10 serial runs and 200 with 100 in flight, unless said otherwise")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--serial", type=int, help="runs one after the other; default 50")
    parser.add_argument("--flight", type=int, default=100, help="runs in flight at once; default 100")
    parser.add_argument("--runs", type=int, help="runs with that many in flight; default 2000")
    parser.add_argument(
        "--max-pods", type=int, default=64, help="the server's own flag; runs get half of it; default 64, as there"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there as well")
    given = parser.parse_args()
    given.serial = given.serial or (10 if given.quick else 50)
    given.runs = given.runs or (200 if given.quick else 2000)
    kinds = ("sqlite", "postgresql") if given.database == "both" else (given.database,)
    found: dict[str, Any] = {"machine": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()}
    found["databases"] = {kind: measure(kind, given, lambda text: print(text, file=sys.stderr, flush=True)) for kind in kinds}
    text = json.dumps(found, indent=2)
    if given.json:
        Path(given.json).write_text(text + "\n")
    print(text)
    print("\n".join(table(found["databases"])))
    if any(each["flight"]["not_succeeded"] for each in found["databases"].values()):
        raise SystemExit("not every run succeeded")


if __name__ == "__main__":
    main()
