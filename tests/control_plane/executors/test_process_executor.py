"""The process executor, by the contract of every PodApi, and in what is its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from copilot.control_plane.executors.process import ProcessExecutor
from copilot.testing.pod_api_contract import PodApiContract

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessExecutor]:
    with ProcessExecutor(tmp_path_factory.mktemp("pods")) as executor:
        yield executor


@pytest.fixture
def namespace() -> str:
    return "contract"


class TestProcessExecutor(PodApiContract):
    """With the best sandbox that this machine has."""
