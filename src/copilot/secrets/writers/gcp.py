"""Writes to Google Secret Manager, replicated as Google chooses, or in the one ``location`` of the reference."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import google_crc32c

from copilot.core.errors import CopilotError
from copilot.core.secret_ports import StoredSecret
from copilot.secrets.providers.gcp import GcpSecrets, classified
from copilot.secrets.writers.refusals import exists, not_there, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef
    from copilot.secrets.registry import ProviderContext


class GcpWriter:
    """See ``SecretWriter``."""

    def __init__(self, context: ProviderContext) -> None:
        """See the class."""
        self._reader = GcpSecrets(context)
        self._timeout_s = context.settings.gcp.timeout_s

    def create(self, ref: SecretRef, value: bytes, labels: Mapping[str, str], cancel: CancelToken) -> None:
        """See ``SecretWriter``. A secret that could not get its first version is taken away again."""
        from google.api_core import exceptions as api  # noqa: PLC0415 - clients are imported when used

        cancel.check()
        with told("create", ref, "roles/secretmanager.admin", classified):
            parent, _, identifier = self._name(ref).rpartition("/secrets/")
            secret: dict[str, Any] = {"labels": dict(labels)}
            if "/locations/" not in parent:
                secret["replication"] = {"automatic": {}}
            try:
                self._call(ref, "create_secret", {"parent": parent, "secret_id": identifier, "secret": secret})
            except api.AlreadyExists as cause:
                raise exists(ref) from cause
            try:
                self._add(ref, value)
            except Exception:
                with contextlib.suppress(api.GoogleAPICallError, CopilotError):
                    self._call(ref, "delete_secret", {"name": self._name(ref)})
                raise

    def update(self, ref: SecretRef, value: bytes, labels: Mapping[str, str], cancel: CancelToken) -> None:
        """See ``SecretWriter``."""
        cancel.check()
        with told("update", ref, "roles/secretmanager.admin", classified), self._known("update", ref):
            change = {"secret": {"name": self._name(ref), "labels": dict(labels)}, "update_mask": {"paths": ["labels"]}}
            self._call(ref, "update_secret", change)
            self._add(ref, value)

    def describe(self, ref: SecretRef, cancel: CancelToken) -> StoredSecret:
        """See ``SecretWriter``."""
        cancel.check()
        with told("describe", ref, "roles/secretmanager.viewer", classified), self._known("describe", ref):
            return _stored(self._call(ref, "get_secret", {"name": self._name(ref)}))

    def delete(self, ref: SecretRef, cancel: CancelToken) -> None:
        """See ``SecretWriter``."""
        cancel.check()
        with told("delete", ref, "roles/secretmanager.admin", classified), self._known("delete", ref):
            self._call(ref, "delete_secret", {"name": self._name(ref)})

    def list(self, within: SecretRef, cancel: CancelToken) -> Iterator[StoredSecret]:
        """See ``SecretWriter``."""
        with told("list", within, "roles/secretmanager.viewer", classified):
            parent, _, begin = self._name(within).rpartition("/secrets/")
            # The filter is a substring's; what it gives is looked at again.
            for each in self._call(within, "list_secrets", {"parent": parent, "filter": f"name:{begin}"}):
                cancel.check()
                found = _stored(each)
                if found.name.startswith(begin):
                    yield found

    def close(self, cancel: CancelToken) -> None:
        """See ``SecretWriter``."""
        self._reader.close(cancel)

    @contextlib.contextmanager
    def _known(self, op: str, ref: SecretRef) -> Iterator[None]:
        from google.api_core import exceptions as api  # noqa: PLC0415 - clients are imported when used

        try:
            yield
        except api.NotFound as cause:
            raise not_there(op, ref) from cause

    def _add(self, ref: SecretRef, value: bytes) -> None:
        payload = {"data": value, "data_crc32c": google_crc32c.value(value)}
        self._call(ref, "add_secret_version", {"parent": self._name(ref), "payload": payload})

    def _name(self, ref: SecretRef) -> str:
        """Without a version."""
        return self._reader.full_name(ref)[0].rpartition("/versions/")[0]

    def _call(self, ref: SecretRef, method: str, request: dict[str, Any]) -> Any:  # noqa: ANN401 - the client's own types
        client = self._reader.client(self._reader.full_name(ref)[1])
        return getattr(client, method)(request=request, retry=None, timeout=self._timeout_s)


def _stored(said: Any) -> StoredSecret:  # noqa: ANN401 - as above
    return StoredSecret(str(said.name).rpartition("/")[2], said.create_time.timestamp(), dict(said.labels))
