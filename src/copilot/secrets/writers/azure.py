"""Writes to Azure Key Vault, which keeps text; with ``unwrap=flyte`` in the reference, in the envelope that Flyte reads.

Key Vault has no create: setting a secret that is there gives it another version. So it is looked first, and two who create the
same name at the same moment may both succeed. A deleted secret stays for the vault's own retention; one that is created again
under its name is recovered and gets the new value. No call here reads a value: the rights set, list and delete are enough, and
recover for names that were deleted.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from copilot.core.errors import SecretNotText
from copilot.core.secret_ports import StoredSecret
from copilot.core.secret_refs import describe_ref
from copilot.secrets.providers.azure import AzureSecrets, classified
from copilot.secrets.writers.refusals import exists, not_there, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from azure.keyvault.secrets import SecretClient, SecretProperties

    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef
    from copilot.secrets.registry import ProviderContext

_ROLE = "the role Key Vault Secrets Officer"


class AzureWriter:
    """See ``SecretWriter``."""

    def __init__(self, context: ProviderContext) -> None:
        """See the class."""
        self._reader = AzureSecrets(context)

    def create(self, ref: SecretRef, value: bytes, labels: Mapping[str, str], cancel: CancelToken) -> None:
        """See ``SecretWriter``, and the module for what it cannot promise."""
        from azure.core.exceptions import ResourceExistsError  # noqa: PLC0415 - clients are imported when used

        cancel.check()
        text = _text(value, ref)
        with told("create", ref, _ROLE, classified):
            if self._newest(ref) is not None:
                raise exists(ref)
            client, name = self._place(ref)
            try:
                client.set_secret(name, text, tags=dict(labels))
            except ResourceExistsError:
                # It was deleted, and its name is kept.
                client.begin_recover_deleted_secret(name).wait(timeout=cancel.remaining_s())
                cancel.check()
                client.set_secret(name, text, tags=dict(labels))

    def update(self, ref: SecretRef, value: bytes, labels: Mapping[str, str], cancel: CancelToken) -> None:
        """See ``SecretWriter``."""
        cancel.check()
        text = _text(value, ref)
        with told("update", ref, _ROLE, classified):
            if self._newest(ref) is None:
                raise not_there("update", ref)
            client, name = self._place(ref)
            client.set_secret(name, text, tags=dict(labels))

    def describe(self, ref: SecretRef, cancel: CancelToken) -> StoredSecret:
        """See ``SecretWriter``."""
        cancel.check()
        with told("describe", ref, _ROLE, classified):
            found = self._newest(ref)
            if found is None:
                raise not_there("describe", ref)
            return _stored(found)

    def delete(self, ref: SecretRef, cancel: CancelToken) -> None:
        """See ``SecretWriter``."""
        from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415 - clients are imported when used

        cancel.check()
        with told("delete", ref, _ROLE, classified):
            client, name = self._place(ref)
            try:
                client.begin_delete_secret(name)
            except ResourceNotFoundError as cause:
                raise not_there("delete", ref) from cause

    def list(self, within: SecretRef, cancel: CancelToken) -> Iterator[StoredSecret]:
        """See ``SecretWriter``."""
        with told("list", within, _ROLE, classified):
            client, begin = self._place(within)
            for each in client.list_properties_of_secrets():
                cancel.check()
                if (each.name or "").lower().startswith(begin.lower()):
                    yield _stored(each)

    def close(self, cancel: CancelToken) -> None:
        """See ``SecretWriter``."""
        self._reader.close(cancel)

    def _place(self, ref: SecretRef) -> tuple[SecretClient, str]:
        vault, name, _ = self._reader.locate(ref)
        return self._reader.client(vault), name

    def _newest(self, ref: SecretRef) -> SecretProperties | None:
        from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415 - clients are imported when used

        client, name = self._place(ref)
        try:
            versions: list[SecretProperties] = list(client.list_properties_of_secret_versions(name))
        except ResourceNotFoundError:
            return None
        return max(versions, key=lambda each: each.created_on.timestamp() if each.created_on else 0.0, default=None)


def _text(value: bytes, ref: SecretRef) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = None
    if ref.options.get("unwrap") == "flyte":
        if text is None:
            return json.dumps({"type": "BINARY", "value": base64.b64encode(value).decode()})
        return json.dumps({"type": "STRING", "value": text})
    if text is None:
        # The exception would carry the bytes.
        raise SecretNotText(
            "Azure Key Vault keeps text, and the value is binary",
            op="create",
            subject=describe_ref(ref),
            hint="Encode it in base64.",
        )
    return text


def _stored(found: SecretProperties) -> StoredSecret:
    created = found.created_on
    return StoredSecret(found.name or "", None if created is None else created.timestamp(), dict(found.tags or {}))
