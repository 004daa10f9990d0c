"""An API double of each test's own, and the official way in: plain HTTP."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import urllib3

from copilot.control_plane.executors.cluster import from_kubeconfig
from copilot.control_plane.executors.kubernetes import KubernetesExecutor
from copilot.engine.clock import SystemClock
from copilot.testing.kubernetes import KubernetesDouble
from copilot.testing.kubernetes.real import ClusterRoom, ClusterUnfit, cluster_room
from copilot.testing.recording import RecordingLog

if TYPE_CHECKING:
    from pathlib import Path

Ask = Callable[..., tuple[int, Any]]
Json = Any


@pytest.fixture
def double(tmp_path: Path) -> Iterator[KubernetesDouble]:
    with KubernetesDouble(tmp_path / "node", bookmark_s=0.3) as double:
        yield double


@pytest.fixture
def executor(double: KubernetesDouble, tmp_path: Path) -> KubernetesExecutor:
    return KubernetesExecutor(
        from_kubeconfig(double.kubeconfig(tmp_path / "kubeconfig")), clock=SystemClock(), log=RecordingLog(), patience_s=10
    )


@pytest.fixture
def ask(double: KubernetesDouble) -> Iterator[Ask]:
    with urllib3.PoolManager() as pool:

        def call(
            method: str, path: str, body: Json = None, content_type: str = "application/json", **headers: str
        ) -> tuple[int, Any]:
            response = pool.request(
                method,
                double.url + path,
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": content_type, **headers},
                retries=False,
            )
            text = response.data
            return response.status, json.loads(text) if text[:1] in {b"{", b"["} else text.decode()

        yield call


@pytest.fixture(scope="session")
def room() -> Iterator[ClusterRoom]:
    """A namespace on the cluster of KUBECONFIG. What makes the cluster unfit is told once, not once a test."""
    # A CI job that is cancelled ends as Ctrl-C does, also in the background: nothing is left in the cluster.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.default_int_handler)
    namespace, image = (os.environ.get(f"COPILOT_TEST_{name}", "") for name in ("NAMESPACE", "IMAGE"))
    try:
        with cluster_room(os.environ.get("KUBECONFIG", ""), namespace=namespace, shell_image=image) as found:
            yield found
    except ClusterUnfit as unfit:
        pytest.exit(f"cluster: {unfit}", returncode=2)
