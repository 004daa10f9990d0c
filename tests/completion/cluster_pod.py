"""One pod with the sidecar in it, on an API server and kubelet of our own."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3
from tests.completion.conftest import COPILOT, INTEGER, PATIENCE_S, interface

from copilot.core import idl

if TYPE_CHECKING:
    from copilot.testing.kubernetes import KubernetesDouble

TOKEN = "a-token"
OUT, CONTROL = "/var/flyte/outputs", "/var/run/copilot"


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
            "startupProbe": {
                "exec": {"command": [str(COPILOT), "probe", "--control-dir", CONTROL]},
                "periodSeconds": 1,
                "failureThreshold": 60,
            },
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
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
        answer = self.http.request(method, url, body=None if body is None else json.dumps(body), headers=headers)
        assert answer.status < 300, answer.data
        found: dict[str, Any] = answer.json()
        return found

    def until_begun(self) -> None:
        """The task has printed ``begun``: its traps are set."""
        self.until(lambda pod: (main(pod).get("state") or {}).get("running"), "main does not run")
        self.until(lambda _: "begun" in self.log("main"), "main has not begun")

    def log(self, container: str) -> str:
        url = f"{self.double.url}/api/v1/namespaces/default/pods/{self.name}/log?container={container}"
        answer = self.http.request("GET", url, headers={"Authorization": f"Bearer {TOKEN}"})
        return answer.data.decode() if answer.status == 200 else ""

    def ended(self) -> dict[str, Any]:
        """The pod, once it is over."""
        return self.until(lambda pod: pod["status"]["phase"] in {"Succeeded", "Failed"}, "the pod does not end")

    def deadline(self, seconds: int) -> None:
        """Its deadline is set while it runs, as the API permits."""
        self.request("PATCH", f"/pods/{self.name}", {"spec": {"activeDeadlineSeconds": seconds}})

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

    def until_named(self, expected: set[str]) -> None:
        """The receipt comes before what a failed task left, and once more after it."""
        deadline_s = time.monotonic() + PATIENCE_S
        while self.names() != expected:
            assert time.monotonic() < deadline_s, (self.names(), expected)
            time.sleep(0.02)

    def names(self) -> set[str]:
        return {path.relative_to(self.store).as_posix() for path in self.store.rglob("*") if path.is_file()}

    def error(self) -> str:
        return str(idl.ErrorDocument.FromString((self.store / "error.pb").read_bytes()).error.message)


def container(status: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One container's status, main's or an init container's."""
    every = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return next((dict(one) for one in every if one["name"] == name), {})


def main(pod: Mapping[str, Any]) -> dict[str, Any]:
    return container(pod.get("status") or {}, "main")
