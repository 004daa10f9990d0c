"""The Kubernetes executor on the API double, by the contract of every PodApi."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from copilot.control_plane.executors.cluster import from_kubeconfig
from copilot.control_plane.executors.kubernetes import KubernetesExecutor
from copilot.engine.clock import SystemClock
from copilot.testing.kubernetes import KubernetesDouble
from copilot.testing.pod_api_contract import PodApiContract
from copilot.testing.recording import RecordingLog

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesDouble]:
    with KubernetesDouble(tmp_path_factory.mktemp("node"), token="a-token") as double:
        yield double


@pytest.fixture(scope="module")
def pods(double: KubernetesDouble, tmp_path_factory: pytest.TempPathFactory) -> KubernetesExecutor:
    config = double.kubeconfig(tmp_path_factory.mktemp("config") / "kubeconfig")
    return KubernetesExecutor(from_kubeconfig(config), clock=SystemClock(), log=RecordingLog())


@pytest.fixture
def namespace() -> str:
    return "contract"


class TestKubernetesExecutor(PodApiContract):
    """On the double, over its real wire."""
