"""The server's image starts as the manifests start it, against an API server, and its other twin may read what root wrote."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import urllib3

from copilot import __version__
from copilot.core import idl
from copilot.testing.kubernetes import KubernetesDouble
from copilot.testing.servers.process import free_ports

if TYPE_CHECKING:
    from tests.images.conftest import Build, Podman

MEBIBYTE = 1024 * 1024
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_the_server_is_ready_on_a_read_only_root(podman: Podman, build: Build, tmp_path: Path) -> None:
    build("server")
    image, name = f"localhost/server:{__version__}", f"server-{uuid.uuid4().hex[:8]}"
    (port,) = free_ports(1)
    assert int(podman("image", "inspect", "--format", "{{.Size}}", image)) < 300 * MEBIBYTE
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o777)
    with KubernetesDouble(tmp_path / "node") as double:
        kubeconfig = double.kubeconfig(tmp_path / "kubeconfig")
        Path(kubeconfig).chmod(0o644)
        flags = ["--host=127.0.0.1", f"--port={port}", "--executor=kubernetes", "--kubeconfig=/kubeconfig", "--data=/data"]
        mounts = [f"--volume={tmp_path / 'data'}:/data", f"--volume={kubeconfig}:/kubeconfig:ro", "--tmpfs=/tmp"]
        strict = ["--read-only", "--cap-drop=all", "--network=host"]
        podman("run", "--detach", "--name", name, *strict, *mounts, image, "server", *flags, "--store=file:///data/store")
        try:
            deadline_s = time.monotonic() + 60
            while True:
                try:
                    if urllib3.request("GET", f"http://127.0.0.1:{port}/readyz", retries=False, timeout=5).status == 200:
                        break
                except urllib3.exceptions.HTTPError:
                    pass
                assert time.monotonic() < deadline_s, podman.call("logs", name).stderr
                time.sleep(0.1)
            assert podman("exec", name, "copilot", "tokens", "--data", "/data", "--create", "me")
            podman("stop", "--time", "30", name)
            assert podman("wait", name) == "0"
        finally:
            podman.call("rm", "--force", name)


def test_what_a_task_wrote_as_root_for_itself_alone_is_uploaded_inside_flyte(
    podman: Podman, build: Build, tmp_path: Path
) -> None:
    build("flyte-copilot")
    out, store = tmp_path / "out", tmp_path / "store"
    out.mkdir()
    store.mkdir()
    (out / "m").write_text("5")
    (out / "m").chmod(0o600)
    (out / "_SUCCESS").touch()
    image = f"localhost/flyte-copilot:{__version__}"
    flags = ("sidecar", "--outputs", "/out", "--to", "/store", "--output", "m:int", "--exit-watcher-type", "marker")
    strict = ("--rm", "--read-only", "--network=none", f"--volume={out}:/out", f"--volume={store}:/store")
    podman("run", *strict, image, *flags, "--start-watcher-type", "noop")
    literals = idl.LiteralMap.FromString((store / "outputs.pb").read_bytes()).literals
    assert literals["m"].scalar.primitive.integer == 5
