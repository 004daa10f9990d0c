"""Thousands of pods by simulation: the executor's watch tells every end once, with a bounded number of calls a pod."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot.control_plane.executors.cluster import Cluster
from copilot.control_plane.executors.kubernetes import KubernetesExecutor
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.testing.kubernetes import KubernetesDouble
from copilot.testing.recording import RecordingLog
from copilot.testing.small_pods import container, ended, manifest, over, phase, sidecar

if TYPE_CHECKING:
    from pathlib import Path

PODS = 200


def test_every_end_is_told_once_and_a_pod_costs_three_calls(tmp_path: Path) -> None:
    with KubernetesDouble(tmp_path, simulated_main_s=0.1) as double:
        executor = KubernetesExecutor(Cluster(url=double.url), clock=SystemClock(), log=RecordingLog())
        token = Token(SystemClock(), timeout_s=60)
        waiting, gone = set[str](), set[str]()
        for kind, pod in executor.watch("n", token):
            name = "" if kind == "BOOKMARK" else str(pod["metadata"]["name"])
            if kind == "BOOKMARK":
                for _ in range(PODS):
                    one = manifest("n", container("main", "x"), inits=(sidecar("side", "x"), container("init", "x")))
                    waiting.add(str(executor.create(one)["metadata"]["name"]))
            elif kind == "DELETED":
                gone.add(name)
            elif over(pod) and name in waiting:
                waiting.remove(name)
                assert (phase(pod), ended(pod, "main")["exitCode"]) == ("Succeeded", 0)
                executor.release("n", name)
            if len(gone) == PODS:
                break
        calls = sum(count for call, count in double.faults.calls.items() if "watch" not in call)
        assert calls <= PODS * 3 + 2
