"""The contract of every PodApi on a real cluster: the one that KUBECONFIG names, in its context's namespace.

There are no such tests without KUBECONFIG. The image (COPILOT_TEST_IMAGE, anything with a shell) must be on the nodes already.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from copilot.control_plane.executors.cluster import Cluster, from_kubeconfig
from copilot.control_plane.executors.kubernetes import KubernetesExecutor
from copilot.engine.clock import SystemClock
from copilot.testing.pod_api_contract import PodApiContract
from copilot.testing.recording import RecordingLog

KUBECONFIG = os.environ.get("KUBECONFIG", "")

if KUBECONFIG:

    @pytest.fixture(scope="module")
    def cluster() -> Cluster:
        return from_kubeconfig(Path(KUBECONFIG))

    @pytest.fixture(scope="module")
    def pods(cluster: Cluster) -> KubernetesExecutor:
        return KubernetesExecutor(cluster, clock=SystemClock(), log=RecordingLog())

    @pytest.fixture
    def namespace(cluster: Cluster) -> str:
        return cluster.namespace

    @pytest.mark.cluster
    class TestRealCluster(PodApiContract):
        """Whatever Kubernetes it is."""

        image = os.environ.get("COPILOT_TEST_IMAGE", "busybox")
        patience_s = 180.0
