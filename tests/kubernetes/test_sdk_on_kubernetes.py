"""The official SDK, unmodified, in a process of its own: against our server, whose pods run on the API double."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from copilot.control_plane.executors.cluster import from_kubeconfig
from copilot.control_plane.executors.kubernetes import KubernetesExecutor
from copilot.control_plane.pods import PodSettings, load_templates
from copilot.control_plane.pods.maker import Pods
from copilot.control_plane.server import ControlPlane
from copilot.control_plane.settings import ServerSettings
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.stores.registry import open_stores
from copilot.stores.settings import StoreSettings
from copilot.testing.control_plane import running_control_plane
from copilot.testing.kubernetes import KubernetesDouble
from copilot.testing.recording import RecordingLog

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = Any

CLIENT = """
import json, sys, time
import flyte, flyte.remote
from flyte.extras import ContainerTask

endpoint = sys.argv[1].replace("http://127.0.0.1", "localhost")
flyte.init(endpoint=endpoint, insecure=True, project="flytesnacks", domain="development")

def task(name, script, outputs=None, **more):
    command = ["/bin/sh", "-c", script]
    return ContainerTask(name=name, image="busybox", inputs={"n": int}, outputs=outputs or {}, command=command, **more)

M = {"m": int}
tasks = {
    "adds": task("adds", "expr {{.inputs.n}} + 1 >/var/outputs/m", M),
    "silent": task("silent", "true"),
    "fails": task("fails", "echo bad thing >&2; exit 3", M),
    "retries": task("retries", "test {{.retryAttempt}} = 1 && echo 5 >/var/outputs/m", M, retries=2),
    "forgets": task("forgets", "true", M),
    "deaf": task("deaf", "trap '' TERM; while :; do sleep 0.05; done", M),
}
flyte.TaskEnvironment.from_task("e", *tasks.values())
runs = {name: flyte.with_runcontext(copy_style="none", version="v1").run(each, n=41) for name, each in tasks.items()}
while not flyte.remote.RunDetails.get(runs["deaf"].name).action_details.pb2.status.phase == 4:
    time.sleep(0.1)
runs["deaf"].abort("enough")
for name, run in runs.items():
    run.wait(quiet=True)
    details = flyte.remote.RunDetails.get(run.name).action_details.pb2
    outputs = str(run.outputs()) if run.phase.name == "SUCCEEDED" else ""
    told = [name, run.phase.name, details.status.attempts, details.error_info.message, outputs]
    print(json.dumps(told), flush=True)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Json]]:
    """What the client saw, by task: phase, attempts, message, outputs."""
    place = tmp_path_factory.mktemp("sdk")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    with KubernetesDouble(place / "node", notice_s=0.9, path=path) as double:
        cluster = from_kubeconfig(double.kubeconfig(place / "kubeconfig"))

        def make() -> ControlPlane:
            # The store is files of this machine, so our containers must see its /tmp.
            settings = replace(PodSettings(templates=load_templates()), scratch=False)
            return ControlPlane(
                ServerSettings(data=place / "data", port=0),
                stores=open_stores(StoreSettings()),
                pods=KubernetesExecutor(cluster, clock=SystemClock(), log=RecordingLog()),
                maker=Pods(settings),
                clock=SystemClock(),
                log=RecordingLog(),
            )

        with running_control_plane(make) as running:
            environment = {**os.environ, "DO_NOT_TRACK": "1", "FLYTE_DISABLE_TELEMETRY": "1"}
            done = subprocess.run(
                [sys.executable, "-c", CLIENT, running.url],
                env=environment,
                capture_output=True,
                text=True,
                timeout=180,
                cwd=place,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
            wait_until_cleared_away(double)
        yield {line[0]: line[1:] for line in lines}


def wait_until_cleared_away(double: KubernetesDouble) -> None:
    """Every pod ends and goes by itself, with its Secrets' owner: nothing is left in the cluster."""
    token = Token(SystemClock(), timeout_s=60)
    while left := [each["metadata"]["name"] for each in double.storage.each("pods")]:
        assert not token.wait(0.05), left


def test_a_task_succeeds_with_its_outputs(told: dict[str, Json]) -> None:
    phase, attempts, _, outputs = told["adds"]
    assert (phase, attempts, "42" in outputs) == ("SUCCEEDED", 1, True)


def test_a_task_without_outputs_succeeds(told: dict[str, Json]) -> None:
    assert told["silent"][:2] == ["SUCCEEDED", 1]


def test_a_failure_is_told_with_its_code_and_words(told: dict[str, Json]) -> None:
    assert told["fails"][:3] == ["FAILED", 1, "The task ended with exit code 3. bad thing"]


def test_a_retry_is_taken_from_the_task_s_own_budget(told: dict[str, Json]) -> None:
    assert told["retries"][:2] == ["SUCCEEDED", 2]


def test_a_missing_output_is_told_with_its_name(told: dict[str, Json]) -> None:
    assert told["forgets"][:2] == ["FAILED", 1]
    assert "output 'm'" in told["forgets"][2]


def test_an_aborted_task_that_ignores_sigterm_is_aborted(told: dict[str, Json]) -> None:
    assert told["deaf"][0] == "ABORTED"
