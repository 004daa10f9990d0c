"""Azure Key Vault: ``azure://[vault/]name[#key][?version=…]``, ``vault`` being a name, a host or a URL.

The identifier Azure prints (``https://my.vault.azure.net/secrets/name/version``) is taken as it is. The option ``unwrap=flyte``
opens the envelope Flyte puts around values there: ``{"type": "STRING" | "BINARY", "value": …}``.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from copilot.core.errors import (
    BadSecretRef,
    CopilotError,
    SecretDenied,
    SecretFault,
    SecretNoIdentity,
    SecretNotFound,
    SecretNotText,
    SecretRefused,
    SecretThrottled,
    SecretUnreachable,
)
from copilot.core.secret_refs import describe_ref
from copilot.secrets.providers.grouping import LastingSecrets, check_options, classifying, silence
from copilot.secrets.providers.tls import check_ca_file, not_accepted
from copilot.secrets.values import Payload

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef
    from copilot.secrets.registry import ProviderContext
    from copilot.secrets.settings import AzureSettings


class AzureSecrets(LastingSecrets):
    """Reads with workload identity, a managed identity, a client secret, or Azure's default chain. One client a vault."""

    max_batch = 1

    def __init__(self, context: ProviderContext) -> None:
        """See the class."""
        import azure.identity  # noqa: PLC0415 - clients are imported when used
        import azure.keyvault.secrets  # noqa: F401, PLC0415 - says at once whether the client is installed

        silence("azure", "msal", "urllib3")
        self._settings = context.settings.azure
        check_ca_file(self._settings.ca_file, variable="COPILOT_AZURE_CA_FILE", subject="azure://")
        if self._settings.client_secret:
            context.known(self._settings.client_secret.encode())
        self._credential: TokenCredential | None = None
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def close(self, cancel: CancelToken) -> None:
        """There is no session to end."""

    def whoami(self, cancel: CancelToken) -> str:
        """The object and application ids the token is for."""
        cancel.check()
        with classifying(classified, "whoami", "azure://"), self._lock:
            token = self._login().get_token("https://vault.azure.net/.default").token
        try:
            claims = token.split(".")[1]
            said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        except (IndexError, ValueError):
            return "an identity whose token is opaque"
        return f"application {said.get('appid', 'unknown')} (object {said.get('oid', 'unknown')})"

    def _read(self, ref: SecretRef) -> Payload:
        check_options(ref, ("unwrap",))
        vault, name, version = self.locate(ref)
        with classifying(classified, "resolve", describe_ref(ref)):
            answer = self.client(vault).get_secret(name, version)
        raw = (answer.value or "").encode()
        if ref.options.get("unwrap") == "flyte":
            raw = _unwrapped(raw, ref)
        return Payload(raw=raw, version=answer.properties.version)

    def locate(self, ref: SecretRef) -> tuple[str, str, str | None]:
        """The vault's URL, the secret's name and its version."""
        text = ref.name
        if "://" in text:
            url = urlsplit(text)
            steps = [step for step in url.path.split("/") if step]
            if steps[:1] == ["secrets"]:
                del steps[0]
            named = steps[1] if len(steps) == 2 else None  # noqa: PLR2004 - name, version
            if url.scheme == "https" and url.netloc and len(steps) in {1, 2}:
                return f"https://{url.netloc}", steps[0], ref.version or named
        else:
            vault, _, name = text.rpartition("/")
            vault = vault or self._settings.vault or ""
            if vault and name and "/" not in vault.removeprefix("https://").rstrip("/"):
                return _vault_url(vault), name, ref.version
        raise BadSecretRef(
            "the reference does not name a vault and a secret",
            op="parse",
            subject=describe_ref(ref),
            hint="Write azure://VAULT/NAME, or set AZURE_KEYVAULT_URL.",
        )

    def client(self, vault: str) -> Any:  # noqa: ANN401 - the client is typed where it is imported
        """The client of the vault with this URL."""
        from azure.keyvault.secrets import SecretClient  # noqa: PLC0415 - clients are imported when used

        with self._lock:
            if vault not in self._clients:
                self._clients[vault] = SecretClient(
                    vault_url=vault,
                    credential=self._login(),
                    verify_challenge_resource=self._settings.verify_challenge,
                    **_transport(self._settings),
                )
            return self._clients[vault]

    def _login(self) -> TokenCredential:
        if self._credential is None:
            self._credential = _credential(self._settings)
        return self._credential


def _transport(settings: AzureSettings) -> dict[str, Any]:
    """Keyword arguments of every Azure client: bounded times, our own retries, our own certificates."""
    arguments: dict[str, Any] = {
        "retry_total": 0,
        "connection_timeout": settings.timeout_s,
        "read_timeout": settings.timeout_s,
    }
    if settings.ca_file:
        arguments["connection_verify"] = settings.ca_file
    return arguments


def _credential(settings: AzureSettings) -> TokenCredential:
    from azure import identity  # noqa: PLC0415 - clients are imported when used

    arguments = _transport(settings)
    if settings.authority:
        arguments |= {"authority": settings.authority}
        # A token service of one's own is not in the public cloud's directory of instances.
        if not urlsplit(settings.authority).netloc.endswith(
            (".microsoftonline.com", ".microsoftonline.us", ".chinacloudapi.cn")
        ):
            arguments["disable_instance_discovery"] = True
    tenant, client = settings.tenant_id or "", settings.client_id or ""
    try:
        if settings.client_secret:
            return identity.ClientSecretCredential(tenant, client, settings.client_secret, **arguments)
        if settings.federated_token_file:
            return identity.WorkloadIdentityCredential(
                tenant_id=tenant, client_id=client, token_file_path=settings.federated_token_file, **arguments
            )
        if settings.managed_identity:
            return identity.ManagedIdentityCredential(client_id=settings.client_id, **_transport(settings))
        return identity.DefaultAzureCredential(**arguments)
    except ValueError as cause:
        raise SecretNoIdentity(
            "the Azure identity is not complete",
            op="login",
            subject="azure://",
            hint="Set AZURE_TENANT_ID and AZURE_CLIENT_ID, and AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE.",
        ) from cause


def _vault_url(vault: str) -> str:
    if "://" in vault:
        return vault.rstrip("/")
    return f"https://{vault}" if "." in vault or ":" in vault else f"https://{vault}.vault.azure.net"


def _unwrapped(raw: bytes, ref: SecretRef) -> bytes:
    try:
        envelope = json.loads(raw)
        if envelope["type"] == "BINARY":
            return base64.b64decode(envelope["value"], validate=True)
        return str(envelope["value"]).encode()
    except (ValueError, KeyError, TypeError, binascii.Error):
        # The exception would carry the value.
        raise SecretNotText(
            "the secret is not in the envelope Flyte writes",
            op="resolve",
            subject=describe_ref(ref),
            hint="Leave ?unwrap= away.",
        ) from None


def classified(cause: Exception, op: str, subject: str) -> CopilotError:
    """What the client raised, as one of ours: by its class and HTTP's status."""
    from azure.core import exceptions as azure  # noqa: PLC0415 - clients are imported when used

    if isinstance(cause, azure.ServiceRequestError | azure.ServiceResponseError):
        # azure-core keeps what its transport (requests) raised.
        if type(cause.inner_exception).__name__ == "SSLError":
            return not_accepted(
                "Azure Key Vault or its token service", op=op, subject=subject, variable="COPILOT_AZURE_CA_FILE"
            )
        return SecretUnreachable("Azure Key Vault or its token service does not answer", op=op, subject=subject)
    if isinstance(cause, azure.ClientAuthenticationError):
        return SecretNoIdentity(
            "there are no usable Azure credentials",
            op=op,
            subject=subject,
            hint="Give the pod a workload identity, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET.",
        )
    if isinstance(cause, azure.HttpResponseError):
        return _refusal(cause, op, subject)
    if isinstance(cause, ValueError):
        return BadSecretRef("Azure cannot have a secret of this name or vault", op=op, subject=subject)
    raise cause


def _refusal(cause: Any, op: str, subject: str) -> CopilotError:  # noqa: ANN401 - an HttpResponseError
    status = cause.status_code or 0
    if status == 404:  # noqa: PLR2004 - HTTP's own numbers, here and below
        return SecretNotFound(
            "Azure Key Vault has no such secret, or no such version of it", op=op, subject=subject, hint="Check vault and name."
        )
    if status == 403:  # noqa: PLR2004
        return SecretDenied(
            "the identity may not read this secret, or the secret is disabled",
            op=op,
            subject=subject,
            hint="Grant it the role Key Vault Secrets User.",
        )
    if status == 429:  # noqa: PLR2004
        after = cause.response.headers.get("Retry-After", "") if cause.response is not None else ""
        return SecretThrottled(
            "Azure asks us to slow down", op=op, subject=subject, retry_after_s=float(after) if after.isdecimal() else None
        )
    if status >= 500:  # noqa: PLR2004
        return SecretFault(f"Azure Key Vault failed with {status}", op=op, subject=subject)
    if status == 400:  # noqa: PLR2004
        return BadSecretRef("Azure cannot have a secret of this name or version", op=op, subject=subject)
    return SecretRefused(f"Azure refused the request with {status}", op=op, subject=subject)
