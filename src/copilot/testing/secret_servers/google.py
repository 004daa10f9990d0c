"""Google Secret Manager's wire protocol: gRPC with the official message types, versions, aliases, labels and checksums."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import google_crc32c
import grpc
from google.cloud import secretmanager_v1 as api
from google.protobuf import empty_pb2

_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,255}")
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
_PAGE = 2
_SERVICE = "google.cloud.secretmanager.v1.SecretManagerService"


class GoogleSecretManager:
    """The state behind the wire. Names are ``projects/P[/locations/L]/secrets/S``."""

    def __init__(self) -> None:
        """Starts empty."""
        self.address = ""
        self.calls: list[str] = []
        self._versions: dict[str, list[bytes | None]] = {}
        self._aliases: dict[tuple[str, str], int] = {}
        self._secrets: dict[str, api.Secret] = {}
        self._denied: set[str] = set()
        self._read_only = False
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

    def refuse_writing(self) -> None:
        """From now on the identity may read and not write."""
        self._read_only = True

    def fail_next(self, *codes: grpc.StatusCode) -> None:
        """The next calls end with these; with ``OK`` one goes as it would."""
        self._failures.extend(codes)

    def corrupt_next(self) -> None:
        """The next answer states a wrong checksum."""
        self._wrong_checksums += 1

    # --- secrets ---------------------------------------------------------------------------------------------------

    def create(self, request: api.CreateSecretRequest, context: grpc.ServicerContext) -> api.Secret:
        """``CreateSecret``."""
        self._admit(context, writes=True)
        if not _IDENTIFIER.fullmatch(request.secret_id):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Invalid secret ID")
        # A global secret says how it is replicated; a regional one has no such choice.
        if ("/locations/" in request.parent) == ("replication" in request.secret):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Secret.replication: must be provided for global secrets alone")
        if not all(_LABEL.fullmatch(part) for pair in request.secret.labels.items() for part in pair):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Invalid label")
        name = f"{request.parent}/secrets/{request.secret_id}"
        with self._lock:
            taken = name in self._secrets
            if not taken:
                self._secrets[name] = api.Secret(
                    name=name, labels=dict(request.secret.labels), create_time=dt.datetime.now(dt.UTC)
                )
        if taken:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"Secret [{name}] already exists.")
        return self._secrets[name]

    def add(self, request: api.AddSecretVersionRequest, context: grpc.ServicerContext) -> api.SecretVersion:
        """``AddSecretVersion``."""
        self._admit(context, writes=True)
        self._need(request.parent, context)
        data = bytes(request.payload.data)
        if "data_crc32c" in request.payload and request.payload.data_crc32c != google_crc32c.value(data):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The checksum does not match the payload")
        return api.SecretVersion(name=f"{request.parent}/versions/{self.put(request.parent, data)}")

    def get(self, request: api.GetSecretRequest, context: grpc.ServicerContext) -> api.Secret:
        """``GetSecret``."""
        self._admit(context)
        return self._need(request.name, context)

    def change(self, request: api.UpdateSecretRequest, context: grpc.ServicerContext) -> api.Secret:
        """``UpdateSecret``, of labels."""
        self._admit(context, writes=True)
        secret = self._need(request.secret.name, context)
        if list(request.update_mask.paths) != ["labels"]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Only labels are changed here")
        secret.labels = dict(request.secret.labels)
        return secret

    def delete(self, request: api.DeleteSecretRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        """``DeleteSecret``."""
        self._admit(context, writes=True)
        self._need(request.name, context)
        with self._lock:
            self._secrets.pop(request.name, None)
            self._versions.pop(request.name, None)
        return empty_pb2.Empty()

    def list(self, request: api.ListSecretsRequest, context: grpc.ServicerContext) -> api.ListSecretsResponse:
        """``ListSecrets``, in pages of two, with the filter ``name:TEXT``."""
        self._admit(context)
        _, _, wanted = request.filter.partition("name:")
        inside = [name for name in sorted(self._secrets) if name.startswith(f"{request.parent}/secrets/") and wanted in name]
        begin = int(request.page_token or 0)
        page = [self._secrets[name] for name in inside[begin : begin + _PAGE]]
        token = str(begin + _PAGE) if begin + _PAGE < len(inside) else ""
        return api.ListSecretsResponse(secrets=page, next_page_token=token, total_size=len(inside))

    def _admit(self, context: grpc.ServicerContext, *, writes: bool = False) -> None:
        with self._lock:
            failure = self._failures.popleft() if self._failures else None
        if failure not in {None, grpc.StatusCode.OK}:
            context.abort(failure, "as the test asked")
        if writes and self._read_only:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "Permission 'secretmanager.secrets.create' denied")

    def _need(self, name: str, context: grpc.ServicerContext) -> api.Secret:
        if name not in self._secrets:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Secret [{name}] not found.")
        return self._secrets[name]

    # --- versions --------------------------------------------------------------------------------------------------

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
    methods: dict[str, tuple[Any, Any, Any]] = {
        "AccessSecretVersion": (state.access, api.AccessSecretVersionRequest, api.AccessSecretVersionResponse),
        "AddSecretVersion": (state.add, api.AddSecretVersionRequest, api.SecretVersion),
        "CreateSecret": (state.create, api.CreateSecretRequest, api.Secret),
        "DeleteSecret": (state.delete, api.DeleteSecretRequest, None),
        "GetSecret": (state.get, api.GetSecretRequest, api.Secret),
        "ListSecrets": (state.list, api.ListSecretsRequest, api.ListSecretsResponse),
        "UpdateSecret": (state.change, api.UpdateSecretRequest, api.Secret),
    }
    handlers: dict[str, Any] = {
        name: grpc.unary_unary_rpc_method_handler(
            method,
            request_deserializer=asked.deserialize,
            response_serializer=empty_pb2.Empty.SerializeToString if answered is None else answered.serialize,
        )
        for name, (method, asked, answered) in methods.items()
    }
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, handlers=(grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        state.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield state
        finally:
            server.stop(grace=None).wait()
