"""What thousands of pods in flight cost the Kubernetes executor: ``python benchmarks/kubernetes_scale.py [PODS ...]``.

The API double runs in a process of its own and plays its pods, long enough that all are in flight at once; this process
creates them, watches and releases them. Prints JSON. A real API server adds its own latency a call (1 to 20 ms) and writes
each change to etcd; the number of calls and of events is the same.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from copilot.control_plane.executors.cluster import Cluster
from copilot.control_plane.executors.kubernetes import KubernetesExecutor
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.testing.recording import RecordingLog
from copilot.testing.small_pods import container, ended, manifest, over, sidecar

CREATED_A_SECOND = 70  # with room to spare: main must run longer than creating all of them takes
SERVER = """
import json, sys, tempfile
from pathlib import Path
from copilot.testing.kubernetes import KubernetesDouble
double = KubernetesDouble(Path(tempfile.mkdtemp()), simulated_main_s=float(sys.argv[1]), history=200_000)
print(double.url, flush=True)
sys.stdin.read()
print(json.dumps(dict(double.faults.calls)), flush=True)
double.stop()
"""


def rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(pods: int) -> dict[str, Any]:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(max(5.0, pods / CREATED_A_SECOND))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    executor = KubernetesExecutor(Cluster(url=server.stdout.readline().strip()), clock=SystemClock(), log=RecordingLog())
    token = Token(SystemClock(), timeout_s=900)
    before_mib, before_cpu, began = rss_mib(), time.process_time(), time.monotonic()
    notices: list[float] = []
    made, finished, events, most_mib, most = 0, 0, 0, 0.0, 0
    lock = threading.Lock()

    def create(_: int) -> None:
        nonlocal made
        one = manifest("n", container("main", "x"), inits=(sidecar("side", "x"), container("init", "x")))
        executor.create(one)
        with lock:
            made += 1

    with ThreadPoolExecutor(8) as makers, ThreadPoolExecutor(8) as releasers:
        seen = set[str]()
        for kind, pod in executor.watch("n", token):
            events += 1
            if kind == "BOOKMARK" and not made and events == 1:
                for each in range(pods):
                    makers.submit(create, each)
            elif kind != "BOOKMARK" and over(pod) and pod["metadata"]["uid"] not in seen:
                seen.add(pod["metadata"]["uid"])
                at = datetime.fromisoformat(ended(pod, "main")["finishedAt"]).timestamp()
                notices.append(time.time() - at)
                releasers.submit(executor.release, "n", pod["metadata"]["name"])
            elif kind == "DELETED":
                finished += 1
            most = max(most, made - finished)
            if events % 500 == 0:
                most_mib = max(most_mib, rss_mib())
            if finished == pods:
                break
    wall_s, cpu_s = time.monotonic() - began, time.process_time() - before_cpu
    server.stdin.close()
    calls = json.loads(server.stdout.readline())
    server.wait()
    return {
        "pods": pods,
        "most_in_flight": most,
        "wall_s": round(wall_s, 1),
        "cpu_s_per_1000_pods": round(cpu_s / pods * 1000, 2),
        "calls_per_pod": round(sum(count for call, count in calls.items() if not call.startswith("watch")) / pods, 2),
        "events_per_pod": round(events / pods, 2),
        "memory_mib_over_start": round(max(most_mib, rss_mib()) - before_mib, 1),
        # The API keeps whole seconds: half of one is the clock's, not ours.
        "end_to_notice_s_p50": round(statistics.median(notices), 2),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


if __name__ == "__main__":
    counts = [int(each) for each in sys.argv[1:]] or [1000, 10_000]
    machine = {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "tmp": tempfile.gettempdir(),
    }
    print(json.dumps({"machine": machine, "runs": [run(count) for count in counts]}, indent=1))
