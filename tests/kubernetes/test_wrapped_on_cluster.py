"""Wrapped manifests on a real cluster: our own image as init container, wrapper and sidecar, and a store inside the cluster.

Run by ``scripts/test --cluster``. The namespace enforces the restricted profile, so whatever we put into a pod keeps it.
"""

from __future__ import annotations

import json
import os
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from copilot import __version__
from copilot.control_plane.executors.kubernetes import KubernetesExecutor
from copilot.control_plane.pods import PodSettings
from copilot.control_plane.pods.manifests import wrap_documents
from copilot.control_plane.pods.wrapping import WrapRequest
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.testing.kubernetes.real import TEST_IMAGE, ClusterUnfit, fitted
from copilot.testing.kubernetes.store_pod import StorePod, start_store
from copilot.testing.recording import RecordingLog
from copilot.testing.small_pods import Pod, container, ended, over, phase, running

if TYPE_CHECKING:
    from collections.abc import Callable

    from copilot.testing.kubernetes.real import ClusterRoom

Json = Any
IMAGE = os.environ.get("COPILOT_IMAGE") or f"localhost/copilot:{__version__}"
PATIENCE_S = 180.0
pytestmark = pytest.mark.cluster


class Desk:
    """What the tests do with pods."""

    def __init__(self, room: ClusterRoom, store: StorePod) -> None:
        self.room, self.store = room, store
        self.pods = KubernetesExecutor(room.cluster, clock=SystemClock(), log=RecordingLog())

    def prefix(self, name: str) -> str:
        return f"{self.store.prefix}/out/{name}"

    def start(self, script: str, **annotations: str) -> str:
        """A wrapped pod that publishes below its own name."""
        name = f"wrapped-{uuid.uuid4().hex[:8]}"
        told = {"outputs": self.prefix("$(COPILOT_POD_NAME)"), "env-from": self.store.keys, **annotations}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": self.room.namespace,
                "annotations": {f"copilot.dev/{key.replace('_', '-')}": value for key, value in told.items()},
            },
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 60,
                "containers": [container("main", script)],
            },
        }
        mine = fitted(pod, self.room.shell_image)
        (made,) = wrap_documents([mine], WrapRequest(pods=PodSettings(image=IMAGE))).documents
        self.pods.create(made)
        return name

    def until(self, name: str, wanted: Callable[[Pod], object]) -> Pod:
        latest: Pod = {}
        for kind, pod in self.pods.watch(self.room.namespace, Token(SystemClock(), timeout_s=PATIENCE_S)):
            if kind != "BOOKMARK" and pod["metadata"]["name"] == name:
                latest = pod
                if kind == "DELETED" or wanted(pod):
                    return pod
        raise AssertionError(f"{name}: {latest.get('status')}")

    def log(self, name: str, of: str) -> str:
        token = Token(SystemClock(), timeout_s=PATIENCE_S)
        return b"".join(self.pods.logs(self.room.namespace, name, of, follow=False, cancel=token)).decode()

    def told(self, name: str) -> str:
        """What our containers said, for a failure's message."""
        return "\n".join(self.log(name, each) for each in ("copilot-init", "copilot-sidecar"))

    def shown(self, uri: str) -> tuple[int, Json]:
        """What our own image shows of an object: its exit code, and the document."""
        name = f"show-{uuid.uuid4().hex[:8]}"
        show = {
            "name": "show",
            "command": ["/bin/copilot", "--quiet", "show", uri, "--json"],
            "envFrom": [{"secretRef": {"name": self.store.keys}}],
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.room.namespace},
            "spec": {"restartPolicy": "Never", "containers": [show]},
        }
        self.pods.create(fitted(pod, IMAGE))
        code = int(ended(self.until(name, over), "show")["exitCode"])
        text = self.log(name, "show")
        return code, json.loads(text) if code == 0 else text


@pytest.fixture(scope="module")
def desk(room: ClusterRoom) -> Desk:
    try:
        room.needs(IMAGE, ("/bin/copilot", "version"))
        return Desk(room, start_store(room, TEST_IMAGE))
    except ClusterUnfit as unfit:
        pytest.fail(str(unfit), pytrace=False)


def test_a_pod_s_outputs_are_the_next_one_s_inputs(desk: Desk) -> None:
    first = desk.start("cd /var/flyte/outputs && echo one two >words.txt && echo 41 >n")
    assert phase(desk.until(first, over)) == "Succeeded", desk.told(first)
    inputs = f"words: {desk.prefix(first)}/words.txt\ntimes: 2"
    both = "cd /var/flyte/outputs && cat /var/flyte/inputs/words /var/flyte/inputs/words >both.txt"
    second = desk.start(f"{both} && expr $(cat /var/flyte/inputs/times) + 1 >next", inputs=inputs)
    assert phase(desk.until(second, over)) == "Succeeded", desk.told(second)
    assert desk.shown(f"{desk.prefix(first)}/outputs.pb")[1]["n"] == 41
    code, outputs = desk.shown(f"{desk.prefix(second)}/outputs.pb")
    assert (code, outputs["next"], sorted(outputs)) == (0, 3, ["both.txt", "next"])


def test_a_plain_sidecar_publishes_and_lets_its_pod_end(desk: Desk) -> None:
    name = desk.start("echo 5 >/var/flyte/outputs/n", sidecar="plain")
    assert phase(desk.until(name, over)) == "Succeeded", desk.log(name, "copilot-sidecar")
    assert desk.shown(f"{desk.prefix(name)}/outputs.pb")[1]["n"] == 5


def test_a_pod_that_fails_publishes_its_error_and_no_outputs(desk: Desk) -> None:
    name = desk.start("echo 1 >/var/flyte/outputs/n; exit 3")
    pod = desk.until(name, over)
    assert (phase(pod), ended(pod, "main")["exitCode"]) == ("Failed", 3)
    assert "exit code 3" in str(desk.shown(f"{desk.prefix(name)}/error.pb"))
    assert desk.shown(f"{desk.prefix(name)}/outputs.pb")[0] != 0


def test_a_deleted_pod_whose_main_ends_in_order_publishes_no_outputs(desk: Desk) -> None:
    name = desk.start("trap 'exit 0' TERM; echo 1 >/var/flyte/outputs/n; while :; do sleep 0.1; done")
    desk.until(name, lambda pod: running(pod, "main"))
    desk.pods.delete(desk.room.namespace, name, grace_s=30)
    desk.until(name, lambda _: False)
    code, error = desk.shown(f"{desk.prefix(name)}/error.pb")
    assert code == 0, error
    assert desk.shown(f"{desk.prefix(name)}/outputs.pb")[0] != 0


def test_missing_inputs_fail_the_pod_with_their_reason(desk: Desk) -> None:
    name = desk.start("true", inputs=f"words: {desk.store.prefix}/no/such/thing")
    pod = desk.until(name, over)
    assert phase(pod) == "Failed"
    assert "no/such/thing" in ended(pod, "copilot-init")["message"]
