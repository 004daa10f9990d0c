from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.control_plane.pods.maker import Pods
from copilot.control_plane.pods.settings import PodSettings, load_templates
from copilot.control_plane.server import ControlPlane
from copilot.control_plane.settings import Limits, ServerSettings, Timing
from copilot.stores.presign import presign
from copilot.stores.registry import open_stores
from copilot.testing.control_plane import WallClock, running_control_plane
from copilot.testing.fake_pods import FakePods
from copilot.testing.flyte_client import FlyteClient
from copilot.testing.recording import RecordingLog

if TYPE_CHECKING:
    from copilot.core.ports import Stores


@pytest.fixture
def pods() -> FakePods:
    return FakePods()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> ServerSettings:
    return ServerSettings(
        data=tmp_path,
        database=database_url,
        port=0,
        timing=Timing(lease_s=3.0, resync_s=1.0, sweep_s=0.1, abort_grace_s=1.0, settle_s=0.5, retry_s=0.05),
        limits=Limits(max_inline_bytes=200_000, max_message_bytes=2_000_000, max_upload_bytes=1_000_000),
    )


@pytest.fixture
def make_plane(pods: FakePods) -> Callable[..., ControlPlane]:
    def make(settings: ServerSettings, stores: Stores | None = None) -> ControlPlane:
        maker = Pods(PodSettings(templates=load_templates()))
        return ControlPlane(
            settings,
            stores=stores or open_stores(),
            pods=pods,
            maker=maker,
            clock=WallClock(),
            log=RecordingLog(),
            presign=presign,
        )

    return make


@pytest.fixture
def server(settings: ServerSettings, pods: FakePods, make_plane: Callable[..., ControlPlane]) -> Iterator[FlyteClient]:
    with running_control_plane(lambda: make_plane(settings)) as running:
        client = FlyteClient(running, pods)
        yield client
        client.close()


@pytest.fixture
def guarded(settings: ServerSettings, pods: FakePods, make_plane: Callable[..., ControlPlane]) -> Iterator[FlyteClient]:
    with running_control_plane(lambda: make_plane(replace(settings, require_auth=True))) as running:
        client = FlyteClient(running, pods)
        yield client
        client.close()
