"""Kubernetes secrets: ``k8s://[namespace/]name#key``, from a mounted volume or by the API with the pod's service account.

Two paths of the API are used, so a client library would be weight only: reading a secret, and a review of what we may do.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from copilot.core.errors import (
    BadConfig,
    BadSecretRef,
    CopilotError,
    SecretDenied,
    SecretExpiredToken,
    SecretFault,
    SecretNoIdentity,
    SecretNotFound,
    SecretRefused,
    SecretThrottled,
    SecretUnreachable,
)
from copilot.core.secret_refs import describe_ref
from copilot.secrets.providers.file import read_secret_file
from copilot.secrets.providers.grouping import LastingSecrets, check_options, no_version, silence
from copilot.secrets.providers.tls import not_accepted
from copilot.secrets.values import Payload

if TYPE_CHECKING:
    import urllib3

    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef
    from copilot.secrets.registry import ProviderContext
    from copilot.secrets.settings import KubernetesSettings

_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")


class KubernetesSecrets(LastingSecrets):
    """Reads secrets of the cluster the pod runs in.

    The option ``mount=DIRECTORY`` reads that mounted volume instead of the API.
    """

    max_batch = 1

    def __init__(self, context: ProviderContext) -> None:
        """See the class."""
        self._settings: KubernetesSettings = context.settings.kubernetes
        self._known = context.known
        self._pool: urllib3.PoolManager | None = None

    def close(self, cancel: CancelToken) -> None:
        """There is no session to end."""

    def whoami(self, cancel: CancelToken) -> str:
        """The service account, as its token says."""
        cancel.check()
        try:
            claims = self._token().split(".")[1]
            subject = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"]
        except (IndexError, KeyError, ValueError, TypeError):
            # Nothing of the token may be quoted, and the decoders' exceptions do.
            raise SecretNoIdentity(
                "the service account's token is no JWT", op="whoami", subject=self._settings.token_file
            ) from None
        return str(subject)

    def _read(self, ref: SecretRef) -> Payload:
        check_options(ref, ("mount",))
        no_version(ref)
        namespace, _, name = ref.name.rpartition("/")
        if not _NAME.match(name) or (namespace and not _NAME.match(namespace)):
            raise BadSecretRef(
                "this is no name of a Kubernetes secret",
                op="parse",
                subject=describe_ref(ref),
                hint="Write k8s://namespace/name#key.",
            )
        if "mount" in ref.options:
            return _mounted(Path(ref.options["mount"]), ref)
        if self._settings.mounts and not namespace and (Path(self._settings.mounts) / name).is_dir():
            return _mounted(Path(self._settings.mounts) / name, ref)
        return self._get(namespace or self._namespace(ref), name, ref)

    def _get(self, namespace: str, name: str, ref: SecretRef) -> Payload:
        import urllib3  # noqa: PLC0415 - clients are imported when used

        if not self._settings.api:
            raise SecretNoIdentity(
                "this process is not in a Kubernetes cluster",
                op="resolve",
                subject=describe_ref(ref),
                hint="KUBERNETES_SERVICE_HOST is not set; mount the secret and say ?mount=/its/directory.",
            )
        if not self._settings.api.startswith(("http://", "https://")):
            raise BadConfig(
                f"the address of the Kubernetes API, {self._settings.api}, is no URL",
                op="resolve",
                subject=describe_ref(ref),
                hint="Set COPILOT_KUBERNETES_API to https://HOST:PORT.",
            )
        url = f"{self._settings.api.rstrip('/')}/api/v1/namespaces/{quote(namespace)}/secrets/{quote(name)}"
        headers = {"Authorization": f"Bearer {self._token()}", "Accept": "application/json"}
        try:
            response = self._http().request("GET", url, headers=headers, retries=False, redirect=False)
        except urllib3.exceptions.SSLError as cause:
            raise not_accepted(
                f"the Kubernetes API at {self._settings.api}",
                op="resolve",
                subject=describe_ref(ref),
                variable="COPILOT_KUBERNETES_CA_FILE",
            ) from cause
        except urllib3.exceptions.HTTPError as cause:
            raise SecretUnreachable(
                f"the Kubernetes API at {self._settings.api} does not answer", op="resolve", subject=describe_ref(ref)
            ) from cause
        if response.status != 200:  # noqa: PLR2004 - HTTP's own numbers
            raise _refusal(response, namespace, name, ref)
        return _payload(response.data, ref)

    def _http(self) -> urllib3.PoolManager:
        if self._pool is None:
            import urllib3  # noqa: PLC0415 - clients are imported when used

            silence("urllib3")
            self._pool = urllib3.PoolManager(
                maxsize=8,
                ca_certs=self._settings.ca_file,
                timeout=urllib3.Timeout(connect=self._settings.timeout_s, read=self._settings.timeout_s),
            )
        return self._pool

    def _token(self) -> str:
        try:
            token = read_secret_file(Path(self._settings.token_file), self._settings.token_file).decode("ascii").strip()
        except UnicodeDecodeError:
            token = ""  # the exception would carry the bytes
        except CopilotError as cause:
            raise SecretNoIdentity(
                "the service account's token cannot be read",
                op="login",
                subject=self._settings.token_file,
                hint="Give the pod a service account, with automountServiceAccountToken.",
            ) from cause
        if not token:
            raise SecretNoIdentity("the service account's token is empty", op="login", subject=self._settings.token_file)
        self._known(token.encode())
        return token

    def _namespace(self, ref: SecretRef) -> str:
        if self._settings.namespace:
            return self._settings.namespace
        try:
            return Path(self._settings.namespace_file).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as cause:
            raise BadSecretRef(
                "the reference names no namespace, and the pod's own is not known",
                op="resolve",
                subject=describe_ref(ref),
                hint=f"Write k8s://NAMESPACE/{ref.name}.",
            ) from cause


def _mounted(directory: Path, ref: SecretRef) -> Payload:
    """A mounted secret: one file a key; names that begin with ``..`` are the kubelet's own bookkeeping."""
    subject = describe_ref(ref)
    try:
        names = sorted(path.name for path in directory.iterdir() if not path.name.startswith("..") and path.is_file())
    except OSError as cause:
        raise SecretNotFound(
            f"no secret is mounted at {directory}", op="resolve", subject=subject, hint="Add the volume to this container."
        ) from cause
    return Payload(fields={name: read_secret_file(directory / name, subject) for name in names})


def _payload(body: bytes, ref: SecretRef) -> Payload:
    try:
        document = json.loads(body)
        fields = {key: base64.b64decode(value, validate=True) for key, value in (document.get("data") or {}).items()}
        version = document["metadata"].get("resourceVersion")
    except (ValueError, KeyError, AttributeError, TypeError, binascii.Error):
        # The exception would carry the body.
        raise SecretFault("the Kubernetes API's answer is no Secret", op="resolve", subject=describe_ref(ref)) from None
    return Payload(fields=fields, version=version)


def _refusal(response: urllib3.BaseHTTPResponse, namespace: str, name: str, ref: SecretRef) -> CopilotError:
    status, subject = response.status, describe_ref(ref)
    if status == 404:  # noqa: PLR2004 - HTTP's own numbers, here and below
        return SecretNotFound(
            f"there is no secret {name} in the namespace {namespace}",
            op="resolve",
            subject=subject,
            hint=f"See kubectl -n {namespace} get secrets.",
        )
    if status == 403:  # noqa: PLR2004
        return SecretDenied(
            f"the service account may not read the secret {name} in the namespace {namespace}",
            op="resolve",
            subject=subject,
            hint=f"Grant it get on secrets: kubectl auth can-i get secrets/{name} -n {namespace}.",
        )
    if status == 401:  # noqa: PLR2004
        return SecretExpiredToken(
            "the Kubernetes API does not accept the service account's token",
            op="resolve",
            subject=subject,
            hint="It has expired, or belongs to another cluster.",
        )
    if status == 429:  # noqa: PLR2004
        after = response.headers.get("Retry-After", "")
        return SecretThrottled(
            "the Kubernetes API asks us to slow down",
            op="resolve",
            subject=subject,
            retry_after_s=float(after) if after.isdecimal() else None,
        )
    if status >= 500:  # noqa: PLR2004
        return SecretFault(f"the Kubernetes API failed with {status}", op="resolve", subject=subject)
    return SecretRefused(f"the Kubernetes API refused the request with {status}", op="resolve", subject=subject)
