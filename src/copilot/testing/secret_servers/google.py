"""Google Secret Manager's wire protocol for reading: gRPC with the official message types, versions, aliases and checksums."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import google_crc32c
import grpc
from google.cloud import secretmanager_v1 as api

_SERVICE = "google.cloud.secretmanager.v1.SecretManagerService"


class GoogleSecretManager:
    """The state behind the wire. Names are ``projects/P[/locations/L]/secrets/S``."""

    def __init__(self) -> None:
        """Starts empty."""
        self.address = ""
        self.calls: list[str] = []
        self._versions: dict[str, list[bytes | None]] = {}
        self._aliases: dict[tuple[str, str], int] = {}
        self._denied: set[str] = set()
        self._failures: deque[grpc.StatusCode] = deque()
        self._wrong_checksums = 0
        self._lock = threading.Lock()

    def put(self, name: str, value: bytes) -> str:
        """Adds a version; its number."""
        with self._lock:
            versions = self._versions.setdefault(name, [])
            versions.append(value)
            return str(len(versions))

    def alias(self, name: str, alias: str, version: str) -> None:
        """Names a version."""
        self._aliases[name, alias] = int(version)

    def disable(self, name: str, version: str) -> None:
        """From now on the version is there and cannot be read."""
        self._versions[name][int(version) - 1] = None

    def deny(self, name: str) -> None:
        """From now on nobody may read it."""
        self._denied.add(name)

    def fail_next(self, *codes: grpc.StatusCode) -> None:
        """The next calls end with these."""
        self._failures.extend(codes)

    def corrupt_next(self) -> None:
        """The next answer states a wrong checksum."""
        self._wrong_checksums += 1

    def access(self, request: api.AccessSecretVersionRequest, context: grpc.ServicerContext) -> api.AccessSecretVersionResponse:
        """``AccessSecretVersion``."""
        with self._lock:
            self.calls.append(request.name)
            failure = self._failures.popleft() if self._failures else None
            wrong, self._wrong_checksums = self._wrong_checksums > 0, max(0, self._wrong_checksums - 1)
        if failure is not None:
            context.abort(failure, "as the test asked")
        name, _, version = request.name.rpartition("/versions/")
        if name in self._denied:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "Permission 'secretmanager.versions.access' denied")
        versions = self._versions.get(name)
        if not versions:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Secret [{name}] not found or has no versions.")
        assert versions is not None
        number = len(versions) if version == "latest" else self._aliases.get((name, version))
        if number is None and not version.isdecimal():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The version is neither a number nor an alias")
        number = number or int(version)
        if not 0 < number <= len(versions):
            context.abort(grpc.StatusCode.NOT_FOUND, f"Secret Version [{request.name}] not found.")
        value = versions[number - 1]
        if value is None:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"Secret Version [{request.name}] is in DISABLED state.")
        assert value is not None
        checksum = google_crc32c.value(value) ^ int(wrong)
        return api.AccessSecretVersionResponse(
            name=f"{name}/versions/{number}", payload=api.SecretPayload(data=value, data_crc32c=checksum)
        )


@contextlib.contextmanager
def google_secret_manager() -> Iterator[GoogleSecretManager]:
    """Serves until the end of the block."""
    state = GoogleSecretManager()
    handlers: dict[str, Any] = {
        "AccessSecretVersion": grpc.unary_unary_rpc_method_handler(
            state.access,
            request_deserializer=api.AccessSecretVersionRequest.deserialize,
            response_serializer=api.AccessSecretVersionResponse.serialize,
        )
    }
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, handlers=(grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        state.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield state
        finally:
            server.stop(grace=None).wait()
