"""Writes to a KV store (version 2) of HashiCorp Vault or OpenBao: the value is the one field that the reference names."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from copilot.core.errors import BadSecretRef, SecretNotFound, SecretNotText, SecretRefused
from copilot.core.secret_ports import StoredSecret
from copilot.core.secret_refs import describe_ref
from copilot.secrets.providers.vault import VaultSecrets
from copilot.secrets.writers.refusals import exists, not_there, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef
    from copilot.secrets.registry import ProviderContext

_DATA, _METADATA = "data", "metadata"


class VaultWriter:
    """See ``SecretWriter``."""

    def __init__(self, context: ProviderContext) -> None:
        """See the class."""
        self._reader = VaultSecrets(context)

    def create(self, ref: SecretRef, value: bytes, labels: Mapping[str, str], cancel: CancelToken) -> None:
        """See ``SecretWriter``. Of two who create the same name at the same moment one is refused."""
        cancel.check()
        with told("create", ref, f"create and update on {self._shown(ref)}"):
            content = {"data": _field(value, ref), "options": {"cas": 0}}
            try:
                self._call("post", ref, _DATA, content, op="create")
            except SecretRefused as cause:
                if self._metadata(ref) is None:
                    raise
                raise exists(ref) from cause
            self._label(ref, labels, "create")

    def update(self, ref: SecretRef, value: bytes, labels: Mapping[str, str], cancel: CancelToken) -> None:
        """See ``SecretWriter``."""
        cancel.check()
        with told("update", ref, f"read and update on {self._shown(ref)}"):
            if self._metadata(ref) is None:
                raise not_there("update", ref)
            self._call("post", ref, _DATA, {"data": _field(value, ref)}, op="update")
            self._label(ref, labels, "update")

    def describe(self, ref: SecretRef, cancel: CancelToken) -> StoredSecret:
        """See ``SecretWriter``."""
        cancel.check()
        with told("describe", ref, f"read on {self._shown(ref)}"):
            found = self._metadata(ref)
            if found is None:
                raise not_there("describe", ref)
            created = datetime.fromisoformat(found["created_time"]).timestamp()
            return StoredSecret(ref.name.rpartition("/")[2], created, found.get("custom_metadata") or {})

    def delete(self, ref: SecretRef, cancel: CancelToken) -> None:
        """See ``SecretWriter``. Every version goes, for good."""
        cancel.check()
        with told("delete", ref, f"read and delete on {self._shown(ref)}"):
            if self._metadata(ref) is None:
                raise not_there("delete", ref)
            self._call("delete", ref, _METADATA, op="delete")

    def list(self, within: SecretRef, cancel: CancelToken) -> Iterator[StoredSecret]:
        """See ``SecretWriter``. Vault gives names alone; ``describe`` says the rest."""
        cancel.check()
        with told("list", within, f"list on {self._shown(within)}"):
            mount, inside = self._reader.kv2(within)
            directory, _, begin = inside.rpartition("/")
            path = "/".join(part for part in (mount, _METADATA, directory) if part)
            try:
                answer = self._reader.call(lambda client: client.adapter.list(f"/v1/{quote(path)}"), op="list", ref=within)
            except SecretNotFound:
                return  # there is nothing yet
            for name in answer["data"]["keys"]:
                if name.startswith(begin) and not name.endswith("/"):
                    yield StoredSecret(name)

    def close(self, cancel: CancelToken) -> None:
        """See ``SecretWriter``."""
        self._reader.close(cancel)

    def _label(self, ref: SecretRef, labels: Mapping[str, str], op: str) -> None:
        if labels:
            self._call("post", ref, _METADATA, {"custom_metadata": dict(labels)}, op=op)

    def _metadata(self, ref: SecretRef) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = self._call("get", ref, _METADATA, op="describe")["data"]
        except SecretNotFound:
            return None
        return found if found["versions"] else None

    def _call(self, method: str, ref: SecretRef, part: str, content: object = None, *, op: str) -> Any:  # noqa: ANN401 - JSON
        mount, inside = self._reader.kv2(ref)
        path = f"/v1/{quote(f'{mount}/{part}/{inside}')}"
        keywords = {} if content is None else {"json": content}
        return self._reader.call(lambda client: getattr(client.adapter, method)(path, **keywords), op=op, ref=ref)

    def _shown(self, ref: SecretRef) -> str:
        return f"{ref.name.split('/')[0]}/data and {ref.name.split('/')[0]}/metadata"


def _field(value: bytes, ref: SecretRef) -> dict[str, str]:
    if ref.key is None:
        raise BadSecretRef("a KV store keeps fields, and the reference names none", op="create", subject=describe_ref(ref))
    try:
        return {ref.key: value.decode()}
    except UnicodeDecodeError:
        # The exception would carry the bytes.
        raise SecretNotText(
            "Vault's KV store keeps text, and the value is binary",
            op="create",
            subject=describe_ref(ref),
            hint="Encode it in base64.",
        ) from None
