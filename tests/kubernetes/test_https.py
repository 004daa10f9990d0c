"""The double speaks HTTPS with a certificate of its own authority, as every real API server does."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import urllib3

from copilot.control_plane.executors.cluster import from_kubeconfig
from copilot.control_plane.executors.kubernetes import KubernetesExecutor
from copilot.core.errors import PodApiUnavailable, PodUnauthenticated
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.testing.kubernetes import KubernetesDouble
from copilot.testing.recording import RecordingLog
from copilot.testing.secret_servers.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from copilot.control_plane.executors.cluster import Cluster

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "n", "finalizers": ["copilot.dev/outcome"]},
    "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none", "command": ["echo", "over TLS"]}]},
}


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[KubernetesDouble]:
    authority = Authority(tmp_path)
    certificate, ca = tmp_path / "server.pem", authority.ca_file
    with KubernetesDouble(tmp_path / "node", token="a-token", certificate=certificate, authority=ca) as double:
        yield double


def executor(cluster: Cluster) -> KubernetesExecutor:
    return KubernetesExecutor(cluster, clock=SystemClock(), log=RecordingLog(), patience_s=0.5)


def test_a_pod_is_made_watched_read_and_released_over_tls(secure: KubernetesDouble, tmp_path: Path) -> None:
    pods = executor(from_kubeconfig(secure.kubeconfig(tmp_path / "kubeconfig")))
    assert secure.url.startswith("https://")
    pods.create(POD)
    token = Token(SystemClock(), timeout_s=30)
    for kind, pod in pods.watch("n", token):
        if kind != "BOOKMARK" and (pod.get("status") or {}).get("phase") == "Succeeded":
            break
    assert b"".join(pods.logs("n", "p", "main", follow=True, cancel=token)) == b"over TLS\n"
    pods.release("n", "p")
    while secure.storage.list("pods", "n")[0]:
        assert not token.wait(0.02)


def test_a_certificate_of_somebody_else_is_not_trusted(secure: KubernetesDouble, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    cluster = from_kubeconfig(secure.kubeconfig(tmp_path / "kubeconfig"))
    with pytest.raises(PodApiUnavailable, match="the certificate of the Kubernetes API is not accepted here"):
        executor(replace(cluster, ca_file=str(Authority(other).ca_file))).get("n", "p")
    assert not secure.faults.calls


def test_the_wrong_token_is_refused_and_not_asked_again(secure: KubernetesDouble, tmp_path: Path) -> None:
    cluster = from_kubeconfig(secure.kubeconfig(tmp_path / "kubeconfig"))
    with pytest.raises(PodUnauthenticated, match="Unauthorized") as told:
        executor(replace(cluster, token=lambda: "another")).get("n", "p")
    assert told.value.transient, "no pod's fault: whoever asked may wait for better credentials"


def test_plain_http_gets_no_answer_from_it(secure: KubernetesDouble) -> None:
    with urllib3.PoolManager(retries=False) as pool, pytest.raises((urllib3.exceptions.HTTPError, ssl.SSLError)):
        pool.request("GET", secure.url.replace("https", "http") + "/healthz", timeout=5)
