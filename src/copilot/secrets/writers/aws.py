"""Writes to AWS Secrets Manager. Text is kept as text, anything else as binary.

A deleted secret stays for the manager's own recovery window and nobody can read it meanwhile; one that is created again under
its name is restored and gets the new value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from copilot.core.secret_ports import StoredSecret
from copilot.secrets.providers.aws import AwsSecrets, classified
from copilot.secrets.writers.refusals import exists, not_there, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef
    from copilot.secrets.registry import ProviderContext


class AwsWriter:
    """See ``SecretWriter``."""

    def __init__(self, context: ProviderContext) -> None:
        """See the class."""
        self._reader = AwsSecrets(context)

    def create(self, ref: SecretRef, value: bytes, labels: Mapping[str, str], cancel: CancelToken) -> None:
        """See ``SecretWriter``."""
        cancel.check()
        with told("create", ref, "secretsmanager:CreateSecret and secretsmanager:TagResource", classified):
            client = self._reader.client(ref)
            try:
                client.create_secret(Name=ref.name, Tags=_tags(labels), **_content(value))
            except (client.exceptions.ResourceExistsException, client.exceptions.InvalidRequestException) as cause:
                # A name that waits for its deletion is taken as well, and said in either way.
                if not self._deleted(client, ref):
                    raise exists(ref) from cause
                client.restore_secret(SecretId=ref.name)
                self._put(client, ref, value, labels)

    def update(self, ref: SecretRef, value: bytes, labels: Mapping[str, str], cancel: CancelToken) -> None:
        """See ``SecretWriter``."""
        cancel.check()
        with told("update", ref, "secretsmanager:PutSecretValue and secretsmanager:TagResource", classified):
            client = self._reader.client(ref)
            self._alive(client, ref, "update")
            self._put(client, ref, value, labels)

    def describe(self, ref: SecretRef, cancel: CancelToken) -> StoredSecret:
        """See ``SecretWriter``."""
        cancel.check()
        with told("describe", ref, "secretsmanager:DescribeSecret", classified):
            return _stored(self._alive(self._reader.client(ref), ref, "describe"))

    def delete(self, ref: SecretRef, cancel: CancelToken) -> None:
        """See ``SecretWriter``."""
        cancel.check()
        with told("delete", ref, "secretsmanager:DeleteSecret", classified):
            client = self._reader.client(ref)
            self._alive(client, ref, "delete")
            client.delete_secret(SecretId=ref.name)

    def list(self, within: SecretRef, cancel: CancelToken) -> Iterator[StoredSecret]:
        """See ``SecretWriter``."""
        with told("list", within, "secretsmanager:ListSecrets", classified):
            pages = self._reader.client(within).get_paginator("list_secrets")
            for page in pages.paginate(Filters=[{"Key": "name", "Values": [within.name]}]):
                cancel.check()
                for each in page["SecretList"]:
                    if each["Name"].startswith(within.name) and "DeletedDate" not in each:
                        yield _stored(each)

    def close(self, cancel: CancelToken) -> None:
        """See ``SecretWriter``."""
        self._reader.close(cancel)

    def _put(self, client: Any, ref: SecretRef, value: bytes, labels: Mapping[str, str]) -> None:  # noqa: ANN401 - boto3's
        client.put_secret_value(SecretId=ref.name, **_content(value))
        if labels:
            client.tag_resource(SecretId=ref.name, Tags=_tags(labels))

    def _alive(self, client: Any, ref: SecretRef, op: str) -> Mapping[str, Any]:  # noqa: ANN401 - as above
        try:
            said: Mapping[str, Any] = client.describe_secret(SecretId=ref.name)
        except client.exceptions.ResourceNotFoundException as cause:
            raise not_there(op, ref) from cause
        if "DeletedDate" in said:
            raise not_there(op, ref)
        return said

    def _deleted(self, client: Any, ref: SecretRef) -> bool:  # noqa: ANN401 - as above
        return "DeletedDate" in client.describe_secret(SecretId=ref.name)


def _content(value: bytes) -> dict[str, Any]:
    try:
        return {"SecretString": value.decode()} if value else {"SecretBinary": value}
    except UnicodeDecodeError:
        return {"SecretBinary": value}


def _tags(labels: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(labels.items())]


def _stored(said: Mapping[str, Any]) -> StoredSecret:
    created = said.get("CreatedDate")
    labels = {each["Key"]: each["Value"] for each in said.get("Tags", ())}
    return StoredSecret(said["Name"].rpartition("/")[2], None if created is None else created.timestamp(), labels)
