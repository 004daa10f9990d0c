"""The process executor on a machine without bubblewrap: paths are rewritten, and the contract is the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from copilot.control_plane.executors.process import ProcessExecutor
from copilot.control_plane.executors.processes.sandbox import PLAIN, Sandbox
from copilot.testing.pod_api_contract import PodApiContract

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessExecutor]:
    with ProcessExecutor(tmp_path_factory.mktemp("plain"), sandbox=Sandbox(PLAIN)) as executor:
        yield executor


@pytest.fixture
def namespace() -> str:
    return "contract"


class TestProcessExecutorWithoutBubblewrap(PodApiContract):
    """By rewriting paths."""
