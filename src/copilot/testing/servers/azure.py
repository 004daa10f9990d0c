"""Azure Blob Storage: azurite."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copilot.stores.settings import AzureSettings
from copilot.testing.servers.process import (
    LOOPBACK,
    Launch,
    ServerNotReady,
    find_executable,
    free_ports,
    running,
    scratch_directory,
)

_CHECKOUT = Path(__file__).parents[4]


@dataclass(frozen=True, slots=True)
class AzureServer:
    """A running azurite.

    Attributes:
        endpoint: ``http://127.0.0.1:PORT/ACCOUNT``.
        account: the account.
        key: its key, in base64.
    """

    endpoint: str
    account: str
    key: str = field(repr=False)

    @property
    def settings(self) -> AzureSettings:
        """What a store needs to get here."""
        return AzureSettings(account=self.account, key=self.key, endpoint=self.endpoint)

    def client(self) -> Any:  # noqa: ANN401 - the SDK's class cannot be imported here
        """The official client, without retries."""
        from azure.storage.blob import BlobServiceClient  # noqa: PLC0415 - only for tests that need it

        return BlobServiceClient(
            self.endpoint,
            credential={"account_name": self.account, "account_key": self.key},
            retry_total=0,
            connection_timeout=5,
        )

    def new_container(self) -> str:
        """Makes a container with a name of its own."""
        name = f"c-{secrets.token_hex(6)}"
        with self.client() as client:
            client.create_container(name)
        return name

    def poke(self, container: str, key: str, data: bytes) -> None:
        """Writes a blob past every store."""
        with self.client() as client:
            client.get_blob_client(container, key).upload_blob(data, overwrite=True)

    def peek(self, container: str, key: str) -> bytes | None:
        """A blob's bytes past every store; None where there is none."""
        from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415 - as above

        with self.client() as client:
            try:
                data: bytes = client.get_blob_client(container, key).download_blob().readall()
            except ResourceNotFoundError:
                return None
            return data

    def remove(self, container: str, key: str) -> None:
        """Deletes a blob."""
        with self.client() as client:
            client.get_blob_client(container, key).delete_blob()

    def proves_itself(self) -> bool:
        """Writes a blob of our own and reads it back."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415 - as above

        try:
            container, proof = self.new_container(), secrets.token_bytes(16)
            self.poke(container, "proof", proof)
            return self.peek(container, "proof") == proof
        except AzureError as error:
            raise ServerNotReady from error


@contextmanager
def azurite() -> Iterator[AzureServer]:
    """Azurite with an account of its own, in memory.

    Raises:
        ServerFailed: it is not installed (``npm ci`` in the checkout) or did not start.
    """
    local = _CHECKOUT / "node_modules" / ".bin" / "azurite-blob"
    executable = str(local) if os.access(local, os.X_OK) else find_executable("azurite-blob")
    with scratch_directory("azurite") as directory:
        started: list[AzureServer] = []

        def plan() -> Launch:
            (port,) = free_ports(1)
            key = base64.b64encode(secrets.token_bytes(64)).decode()
            server = AzureServer(f"http://{LOOPBACK}:{port}/copilot", "copilot", key)
            started[:] = [server]
            argv = [
                executable, "--blobHost", LOOPBACK, "--blobPort", str(port),
                "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent",
            ]  # fmt: skip
            return Launch(argv, server.proves_itself, {"AZURITE_ACCOUNTS": f"copilot:{key}"})

        with running("azurite", directory, plan):
            yield started[0]
