"""The double, put together."""

from __future__ import annotations

import os
import ssl
import threading
from typing import TYPE_CHECKING, Self

import yaml

from copilot.control_plane.executors.processes.runner import NodeSettings
from copilot.control_plane.executors.processes.sandbox import Sandbox, find_sandbox
from copilot.control_plane.executors.processes.status import StatusStyle
from copilot.testing.kubernetes.faults import Faults
from copilot.testing.kubernetes.kubelet import Kubelet
from copilot.testing.kubernetes.simulated import SimulatedKubelet
from copilot.testing.kubernetes.storage import Storage
from copilot.testing.kubernetes.wire import ApiHttpServer

if TYPE_CHECKING:
    from pathlib import Path


class KubernetesDouble:
    """An API server with one node, on a free port of loopback.

    Args:
        root: a directory of its own.
        token: the bearer token it wants; empty: none.
        certificate: a certificate chain and its key in one PEM file: then it speaks HTTPS.
        authority: the PEM file of who signed it, for the kubeconfig.
        notice_s: how long after main's end the kubelet tells the sidecar (about 0.9 s on a real cluster).
        bookmark_s: seconds between the bookmarks of a watch (60 on a real cluster).
        history: how many changes watches can go back.
        clock_skew_s: what the API server's clock is ahead.
        path: the ``PATH`` of containers.
        sandbox: how processes are shut in; found out when not given.
        simulated_main_s: nothing is run: main containers are played for so long, by the same rules; None: really run.
    """

    def __init__(
        self,
        root: Path,
        *,
        token: str = "",
        certificate: Path | None = None,
        authority: Path | None = None,
        notice_s: float = 0.2,
        bookmark_s: float = 1.0,
        history: int = 20_000,
        clock_skew_s: float = 0.0,
        path: str = "",
        sandbox: Sandbox | None = None,
        simulated_main_s: float | None = None,
    ) -> None:
        """Starts it."""
        self.token, self.bookmark_s, self._authority = token, bookmark_s, authority
        self.storage = Storage(history=history, clock_skew_s=clock_skew_s)
        self.faults = Faults()
        self.kubelet: Kubelet | SimulatedKubelet
        if simulated_main_s is not None:
            self.kubelet = SimulatedKubelet(self.storage, main_s=simulated_main_s)
        else:
            settings = NodeSettings(
                sandbox=sandbox or find_sandbox(),
                base_env={"PATH": path or os.environ.get("PATH", os.defpath)},
                notice_s=notice_s,
                style=StatusStyle(precise=False, runtime="containerd"),
            )
            signed_by = authority.read_bytes() if authority is not None else b""
            self.kubelet = Kubelet(self.storage, root / "pods", settings, token=token, authority=signed_by)
        self._server = ApiHttpServer(self)
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="kubernetes-api", daemon=True)
        self.kubelet.start()
        self._thread.start()

    @property
    def node(self) -> Kubelet:
        """The kubelet that really runs pods, for its faults."""
        assert isinstance(self.kubelet, Kubelet), "this double plays its pods"
        return self.kubelet

    def kubeconfig(self, path: Path, *, namespace: str = "default") -> Path:
        """Writes a kubeconfig for it."""
        cluster = {"server": self.url, **({"certificate-authority": str(self._authority)} if self._authority else {})}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "double", "cluster": cluster}],
            "users": [{"name": "tester", "user": {"token": self.token} if self.token else {}}],
            "contexts": [{"name": "double", "context": {"cluster": "double", "user": "tester", "namespace": namespace}}],
            "current-context": "double",
        }
        path.write_text(yaml.safe_dump(config))
        path.chmod(0o600)
        return path

    def stop(self) -> None:
        """Ends everything it started."""
        self._server.going.set()
        self.kubelet.stop()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
