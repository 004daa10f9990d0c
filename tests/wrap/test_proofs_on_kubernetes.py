"""A wrapped pod with each proof, run by the kubelet of the Kubernetes API double up to publication on a real S3 server."""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yaml

from copilot.control_plane.executors.cluster import from_kubeconfig
from copilot.control_plane.executors.kubernetes import KubernetesExecutor
from copilot.control_plane.pods import PodSettings
from copilot.control_plane.pods.manifests import wrap_documents
from copilot.control_plane.pods.wrapping import WrapRequest
from copilot.core import idl
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.testing.kubernetes import KubernetesDouble
from copilot.testing.recording import RecordingLog
from copilot.testing.secret_servers.certificates import Authority
from copilot.testing.small_pods import running

if TYPE_CHECKING:
    from copilot.testing.servers.s3 import S3Server

Json = Any
Run = Callable[..., tuple[Json, str]]
PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
POD = """
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: wrap
  annotations:
    copilot.dev/inputs: "n: 4"
    copilot.dev/outputs: s3://{bucket}/$(COPILOT_POD_NAME)
    copilot.dev/proof: {proof}
    copilot.dev/env-from: store-keys
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 60
  containers:
    - name: main
      image: busybox
      args: ['{script}']
      {command}
"""
pytestmark = pytest.mark.slow
ADDS = "expr $(cat /var/flyte/inputs/n) + 1 >/var/flyte/outputs/m"


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[KubernetesDouble, KubernetesExecutor]]:
    # Our containers have a /tmp of their own, so what they read of this machine cannot be below its /tmp.
    with tempfile.TemporaryDirectory(prefix="copilot-node-", dir="/var/tmp") as home:
        node = Path(home)
        authority = Authority(node)
        certificate, ca = node / "server.pem", authority.ca_file
        with KubernetesDouble(node / "node", token="a-token", path=PATH, certificate=certificate, authority=ca) as double:
            kubeconfig = double.kubeconfig(node / "kubeconfig")
            executor = KubernetesExecutor(from_kubeconfig(kubeconfig), clock=SystemClock(), log=RecordingLog())
            yield double, executor


@pytest.fixture
def run(cluster: tuple[KubernetesDouble, KubernetesExecutor], s3_server: S3Server, s3_bucket: str) -> Run:
    double, executor = cluster
    # What a kubelet gives every container by itself: where the API is. The token is in the pod's own volume.
    address = urlsplit(double.url)
    given = {
        **s3_server.environ,
        "KUBERNETES_SERVICE_HOST": str(address.hostname),
        "KUBERNETES_SERVICE_PORT": str(address.port),
    }

    def run(proof: str, name: str, script: str, sidecar: str = "native", *, kills: bool = False) -> tuple[Json, str]:
        text = POD.format(name=name, bucket=s3_bucket, proof=proof, script=script, command="command: [/bin/sh, -c]")
        # The wrapper is on this node's PATH: what the installer brings is proven by the images' tests.
        pods = replace(PodSettings(), wrapper=("copilot",), install=False)
        (manifest,) = wrap_documents(list(yaml.safe_load_all(text)), WrapRequest(pods=pods, sidecar=sidecar)).documents
        main, *beside = manifest["spec"]["containers"]
        assert [each["name"] for each in beside] == (["copilot-sidecar"] if sidecar == "plain" else [])
        if proof != "wrapper":
            assert main["command"] == ["/bin/sh", "-c"], "no proof but the wrapper's touches what the container runs"
        keys = {key: base64.b64encode(value.encode()).decode() for key, value in given.items()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{name}-keys"}, "data": keys}
        for container in [*manifest["spec"]["initContainers"], *beside]:
            container["envFrom"] = [{"secretRef": {"name": f"{name}-keys"}}]
        executor.create(manifest, secrets=[secret])
        for kind, pod in executor.watch("wrap", Token(SystemClock(), timeout_s=120)):
            named = kind != "BOOKMARK" and pod["metadata"]["name"] == name
            if named and kills and running(pod, "main"):
                # Its first line: it runs, and so does the wrapper around it.
                next(executor.logs("wrap", name, "main", follow=True, cancel=Token(SystemClock(), timeout_s=60)))
                double.node.kill_container("wrap", name, "main")
                kills = False
            if named and (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
                return pod, told(executor, name)
        raise AssertionError(executor.get("wrap", name)["status"], told(executor, name))

    return run


def told(executor: KubernetesExecutor, name: str) -> str:
    cancel = Token(SystemClock(), timeout_s=30)
    logs = executor.logs("wrap", name, "copilot-sidecar", follow=False, cancel=cancel)
    return b"".join(logs).decode()


@pytest.mark.parametrize(
    ("proof", "script"),
    [("pod", ADDS), ("signal", ADDS), ("marker", f"{ADDS}; touch /var/flyte/outputs/_SUCCESS")],
    ids=["pod", "signal", "marker"],
)
def test_a_pod_is_published_by_each_proof(run: Run, s3_server: S3Server, s3_bucket: str, proof: str, script: str) -> None:
    pod, log = run(proof, f"adds-{proof}", script)
    outputs = s3_server.peek(s3_bucket, f"adds-{proof}/outputs.pb")
    assert outputs is not None, log
    assert pod["status"]["phase"] == "Succeeded", log
    assert idl.LiteralMap.FromString(outputs).literals["m"].scalar.primitive.integer == 5


@pytest.mark.parametrize("proof", ["pod", "marker"])
def test_a_proof_that_is_one_publishes_no_failure(run: Run, s3_server: S3Server, s3_bucket: str, proof: str) -> None:
    pod, log = run(proof, f"fails-{proof}", f"{ADDS}; exit 3")
    assert pod["status"]["phase"] == "Failed", log
    assert s3_server.peek(s3_bucket, f"fails-{proof}/outputs.pb") is None, log
    assert s3_server.peek(s3_bucket, f"fails-{proof}/error.pb") is not None, log


def test_a_pod_s_status_tells_the_exit_code(run: Run, s3_server: S3Server, s3_bucket: str) -> None:
    _, log = run("pod", "tells", "exit 7")
    error = s3_server.peek(s3_bucket, "tells/error.pb")
    assert error is not None, log
    assert "exit code 7" in idl.ErrorDocument.FromString(error).error.message


def test_the_mere_end_of_a_container_proves_nothing_and_is_only_taken_for_success_where_asked_for(
    run: Run, s3_server: S3Server, s3_bucket: str
) -> None:
    _, log = run("signal", "blind", f"{ADDS}; exit 3")
    assert s3_server.peek(s3_bucket, "blind/outputs.pb") is not None, log


@pytest.mark.parametrize("proof", ["wrapper", "pod"])
def test_a_plain_sidecar_publishes_and_lets_its_pod_end(run: Run, s3_server: S3Server, s3_bucket: str, proof: str) -> None:
    pod, log = run(proof, f"plain-{proof}", ADDS, "plain")
    outputs = s3_server.peek(s3_bucket, f"plain-{proof}/outputs.pb")
    assert outputs is not None, log
    assert pod["status"]["phase"] == "Succeeded", log
    assert idl.LiteralMap.FromString(outputs).literals["m"].scalar.primitive.integer == 5


@pytest.mark.parametrize("proof", ["wrapper", "pod"])
@pytest.mark.parametrize(
    ("script", "kills"), [(f"{ADDS}; exit 3", False), (f"{ADDS}; echo up; sleep 600", True)], ids=["fails", "killed"]
)
def test_beside_a_plain_sidecar_a_task_that_fails_or_is_killed_ends_its_pod(
    run: Run, s3_server: S3Server, s3_bucket: str, script: str, proof: str, *, kills: bool
) -> None:
    name = f"plain-ends-{proof}-{int(kills)}"
    pod, log = run(proof, name, script, "plain", kills=kills)
    assert pod["status"]["phase"] == "Failed", log
    assert s3_server.peek(s3_bucket, f"{name}/outputs.pb") is None, log
    assert s3_server.peek(s3_bucket, f"{name}/error.pb") is not None, log
