"""Pods on an API server and kubelet of our own: the sidecar asks what became of its pod over the real wire protocol."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import urllib3
from tests.completion.conftest import COPILOT, INTEGER, PATIENCE_S, interface

from copilot.core import idl
from copilot.testing.kubernetes import KubernetesDouble

TOKEN = "a-token"
OUT, CONTROL = "/var/flyte/outputs", "/var/run/copilot"
OBEYS = 'printf 5 > "$OUT/n"; trap "exit 0" TERM; touch "$OUT/begun"; while :; do sleep 0.02; done'


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesDouble]:
    with KubernetesDouble(tmp_path_factory.mktemp("node"), token=TOKEN) as double:
        yield double


@dataclass
class ClusterPod:
    """One pod with the sidecar in it, on the double."""

    double: KubernetesDouble
    home: Path
    name: str = field(default_factory=lambda: f"pod-{uuid.uuid4().hex[:8]}")
    token: str = TOKEN
    http: urllib3.PoolManager = field(default_factory=urllib3.PoolManager)

    @property
    def store(self) -> Path:
        return self.home / "store"

    def create(self, script: str, *flags: str, witnesses: str = "pod", wrapped: bool = False, **spec: object) -> None:
        token = self.home / "token"
        token.write_text(self.token)
        environ = {
            "COPILOT_KUBERNETES_API": self.double.url,
            "COPILOT_KUBERNETES_TOKEN_FILE": str(token),
            "COPILOT_POD_NAME": self.name,
            "COPILOT_POD_NAMESPACE": "default",
            "COPILOT_CONTROL_DIR": CONTROL,
        }
        mounts = [{"name": "out", "mountPath": OUT}, {"name": "control", "mountPath": CONTROL}]
        places = ["--from-local-dir", OUT, "--to-output-prefix", str(self.store), "--interface", interface(n=INTEGER)]
        sidecar = {
            "name": "copilot-sidecar",
            "image": "copilot",
            "restartPolicy": "Always",
            "command": [str(COPILOT), "sidecar", *places, "--witnesses", witnesses, *flags],
            "env": [{"name": name, "value": value} for name, value in environ.items()],
            "startupProbe": {"exec": {"command": [str(COPILOT), "probe", "--control-dir", CONTROL]}, "failureThreshold": 60},
            "volumeMounts": mounts,
        }
        wrapper = [str(COPILOT), "exec", "--control-dir", CONTROL, "--"] if wrapped else []
        main = {
            "name": "main",
            "image": "task",
            "command": [*wrapper, "/bin/sh", "-c", script],
            "env": [{"name": "OUT", "value": OUT}],
            "volumeMounts": mounts,
        }
        self.request(
            "POST",
            "/pods",
            {
                "metadata": {"name": self.name},
                "spec": {
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 15,
                    "initContainers": [sidecar],
                    "containers": [main],
                    "volumes": [{"name": "out", "emptyDir": {}}, {"name": "control", "emptyDir": {}}],
                    **spec,
                },
            },
        )

    def request(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        url = f"{self.double.url}/api/v1/namespaces/default{path}"
        answer = self.http.request(method, url, json=body, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status < 300, answer.data
        found: dict[str, Any] = answer.json()
        return found

    def until_begun(self) -> None:
        self.until(lambda pod: (main(pod).get("state") or {}).get("running"), "main does not run")
        time.sleep(0.5)  # the shell needs a moment for its trap; there is no way to be told from outside of its volume

    def until(self, ready: Any, what: str) -> dict[str, Any]:  # noqa: ANN401 — a function of a pod
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            pod = self.request("GET", f"/pods/{self.name}")
            if ready(pod):
                return pod
            assert time.monotonic() < deadline_s, (what, pod["status"])
            time.sleep(0.05)

    def evict(self) -> None:
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": self.name, "namespace": "default"}}
        self.request("POST", f"/pods/{self.name}/eviction", body)

    def receipt(self) -> dict[str, Any]:
        path = self.store / "_receipt.json"
        deadline_s = time.monotonic() + PATIENCE_S
        while not path.exists():
            assert time.monotonic() < deadline_s, "the sidecar left no receipt"
            time.sleep(0.02)
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def names(self) -> set[str]:
        return {path.relative_to(self.store).as_posix() for path in self.store.rglob("*") if path.is_file()}

    def error(self) -> str:
        return str(idl.ErrorDocument.FromString((self.store / "error.pb").read_bytes()).error.message)


def main(pod: Mapping[str, Any]) -> dict[str, Any]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((dict(one) for one in statuses if one["name"] == "main"), {})


@pytest.fixture
def pod(double: KubernetesDouble, tmp_path: Path) -> ClusterPod:
    return ClusterPod(double, tmp_path)


def test_the_container_status_proves_success_where_the_image_cannot_be_wrapped(pod: ClusterPod) -> None:
    pod.create('printf 5 > "$OUT/n"')
    assert pod.receipt()["verdict"]["row"] == "container-exited-0"
    assert pod.names() == {"outputs.pb", "_manifest.json", "_receipt.json"}


def test_the_container_status_tells_of_a_failure(pod: ClusterPod) -> None:
    pod.create('printf 5 > "$OUT/n"; exit 3')
    receipt = pod.receipt()
    assert (receipt["verdict"]["row"], receipt["verdict"]["exit_code"]) == ("container-failed", 3)
    assert pod.error().startswith("TaskFailed: the task ended with exit code 3")
    assert "outputs.pb" not in pod.names()


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("how", "row", "reason"), [("evict", "pod-evicted", "TaskEvicted"), ("delete", "pod-deleted", "TaskDeleted")]
)
def test_a_pod_that_was_to_go_has_not_succeeded_although_its_task_obeyed(
    pod: ClusterPod, how: str, row: str, reason: str, *, wrapped: bool
) -> None:
    # Trusted, so that only the pod's word stands between the signal and a publication.
    pod.create(OBEYS, "--trust-signal", witnesses="pod,wrapper", wrapped=wrapped)
    pod.until_begun()
    if how == "evict":
        pod.evict()
    else:
        pod.request("DELETE", f"/pods/{pod.name}")
    receipt = pod.receipt()
    assert (receipt["verdict"]["row"], receipt["verdict"]["exit_code"]) == (row, 0)
    assert pod.error().startswith(f"{reason}: ")
    assert pod.names() == {
        "_receipt.json", "error.pb", "errors.pb", "partial/_receipt.json", "partial/n", "partial/begun",
    }  # fmt: skip


def test_what_was_done_before_the_deletion_is_done(pod: ClusterPod) -> None:
    pod.create('printf 5 > "$OUT/n"', wrapped=True, witnesses="pod,wrapper")
    assert pod.receipt()["verdict"]["row"] in {"exited-0-before-the-pod-ended", "container-exited-0"}
    assert "outputs.pb" in pod.names()


def test_without_the_right_to_read_pods_the_other_witnesses_decide(pod: ClusterPod) -> None:
    pod.token = "another-token"
    pod.create('printf 5 > "$OUT/n"', wrapped=True, witnesses="pod,wrapper")
    assert pod.receipt()["published"] is True
