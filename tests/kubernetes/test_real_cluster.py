"""The contract of every PodApi on a real cluster: the one that KUBECONFIG names.

Run by ``scripts/test --cluster``; docs/kubernetes.md says what it needs. It works in a namespace of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from copilot.control_plane.executors.kubernetes import KubernetesExecutor
from copilot.engine.clock import SystemClock
from copilot.testing.kubernetes.real import fitted
from copilot.testing.pod_api_contract import PodApiContract
from copilot.testing.recording import RecordingLog

if TYPE_CHECKING:
    from copilot.testing.kubernetes.real import ClusterRoom
    from copilot.testing.small_pods import Pod


@pytest.fixture(scope="module")
def pods(room: ClusterRoom) -> KubernetesExecutor:
    return KubernetesExecutor(room.cluster, clock=SystemClock(), log=RecordingLog())


@pytest.fixture
def namespace(room: ClusterRoom) -> str:
    return room.namespace


@pytest.mark.cluster
class TestRealCluster(PodApiContract):
    """Whatever Kubernetes it is."""

    patience_s = 180.0

    @pytest.fixture(autouse=True)
    def _image(self, room: ClusterRoom) -> None:
        self.image = room.shell_image

    def fitted(self, pod: Pod) -> Pod:
        """Small, restricted, and never pulled when it is there."""
        return fitted(pod, self.image)
