"""How secret managers are reached, as frozen values. Whatever is secret is kept out of ``repr``.

Everything defaults to each manager's own standard chain, so that a pod needs nothing but its identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SERVICE_ACCOUNT_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """AWS Secrets Manager. Keys, profiles, web identity and endpoints come from the standard chain of boto3.

    Attributes:
        region: for names that do not bring their own; None: the chain's.
        endpoint: ``http(s)://host:port``; None: the chain's (``AWS_ENDPOINT_URL_SECRETS_MANAGER`` …), else Amazon's.
        sts_endpoint: the same for the ``role`` option of a reference.
        profile: a section of the shared files.
        timeout_s: of one connection attempt and of one silence, in seconds.
    """

    region: str | None = None
    endpoint: str | None = None
    sts_endpoint: str | None = None
    profile: str | None = None
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class GcpSettings:
    """Google Secret Manager, with application default credentials.

    Attributes:
        project: for names that do not bring their own.
        endpoint: ``host:port``; None: Google's.
        plaintext: no TLS and no credentials, for an emulator at ``endpoint``.
        timeout_s: of one call, in seconds.
    """

    project: str | None = None
    endpoint: str | None = None
    plaintext: bool = False
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class AzureSettings:
    """Azure Key Vault. With nothing said, ``DefaultAzureCredential``: environment, workload identity, managed identity, CLI.

    Attributes:
        vault: for names that do not bring their own: a vault's name, its host or its URL.
        tenant_id: of a service principal or a workload identity.
        client_id: of either, or of a user-assigned managed identity.
        client_secret: of a service principal: chooses that.
        federated_token_file: chooses workload identity.
        managed_identity: chooses the managed identity.
        authority: the host of the token service; None: the public cloud's.
        verify_challenge: whether a challenge must name the vault's own domain; off for a vault under a foreign name only.
        ca_file: certificates to trust instead of the system's.
        timeout_s: of one connection attempt and of one silence, in seconds.
    """

    vault: str | None = None
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    federated_token_file: str | None = None
    managed_identity: bool = False
    authority: str | None = None
    verify_challenge: bool = True
    ca_file: str | None = None
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """HashiCorp Vault and OpenBao.

    Attributes:
        address: ``http(s)://host:port``.
        namespace: of the login and of every reference without its own.
        auth: ``token``, ``approle``, ``jwt`` or ``kubernetes``; None: the first that has what it needs, in this order.
        auth_mount: where the method is mounted; None: under its own name.
        token: a token as it is.
        token_file: a file that holds one.
        role: of ``jwt`` and ``kubernetes``.
        role_id: of ``approle``.
        secret_id: of ``approle``.
        secret_id_file: a file that holds it.
        secret_id_wrapped: the secret id is a wrapping token, to be unwrapped first.
        jwt_file: of ``jwt`` and ``kubernetes``; None: for ``kubernetes`` the service account's token.
        ca_file: certificates to trust instead of the system's.
        verify_tls: whether certificates are checked.
        timeout_s: of one call, in seconds.
    """

    address: str | None = None
    namespace: str = ""
    auth: str | None = None
    auth_mount: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: str | None = None
    role: str | None = None
    role_id: str | None = None
    secret_id: str | None = field(default=None, repr=False)
    secret_id_file: str | None = None
    secret_id_wrapped: bool = False
    jwt_file: str | None = None
    ca_file: str | None = None
    verify_tls: bool = True
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """Kubernetes secrets, read with the pod's service account.

    Attributes:
        api: the API server's URL; None: not in a cluster.
        namespace: for names that do not bring their own; None: the pod's own.
        token_file: read anew for every call, since the kubelet rotates it.
        ca_file: certificates to trust.
        namespace_file: where the pod's own namespace stands.
        mounts: a directory with one mounted secret a sub-directory; a secret found there is not asked for by the API.
        timeout_s: of one connection attempt and of one silence, in seconds.
    """

    api: str | None = None
    namespace: str | None = None
    token_file: str = f"{SERVICE_ACCOUNT_DIRECTORY}/token"
    ca_file: str | None = f"{SERVICE_ACCOUNT_DIRECTORY}/ca.crt"
    namespace_file: str = f"{SERVICE_ACCOUNT_DIRECTORY}/namespace"
    mounts: str | None = None
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ServerSecretsSettings:
    """Secrets that our own server keeps, read by a pod of an attempt.

    Attributes:
        url: what secrets' names are appended to; None: no server made this pod.
        token: of the attempt.
        timeout_s: of one call, in seconds.
    """

    url: str | None = None
    token: str | None = field(default=None, repr=False)
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class SecretSettings:
    """All of them.

    Attributes:
        aws: AWS Secrets Manager.
        gcp: Google Secret Manager.
        azure: Azure Key Vault.
        vault: Vault and OpenBao.
        kubernetes: Kubernetes secrets.
        server: those of our own server.
        environ: what ``env://`` reads.
    """

    aws: AwsSettings = field(default_factory=AwsSettings)
    gcp: GcpSettings = field(default_factory=GcpSettings)
    azure: AzureSettings = field(default_factory=AzureSettings)
    vault: VaultSettings = field(default_factory=VaultSettings)
    kubernetes: KubernetesSettings = field(default_factory=KubernetesSettings)
    server: ServerSecretsSettings = field(default_factory=ServerSecretsSettings)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


_FALSE = frozenset({"", "0", "f", "false", "no"})


def settings_from(environ: Mapping[str, str]) -> SecretSettings:
    """The settings a process with the variables ``environ`` has; each manager's own names, and ``COPILOT_…`` for what has none.

    Vault's come as ``VAULT_…`` or OpenBao's ``BAO_…``. What the official clients read by themselves (keys, profiles, web
    identity, credential files) is left to them.
    """

    def get(*names: str) -> str | None:
        return next((environ[name] for name in names if environ.get(name)), None)

    def vault(name: str) -> str | None:
        return get(f"VAULT_{name}", f"BAO_{name}")

    host, port = get("KUBERNETES_SERVICE_HOST"), get("KUBERNETES_SERVICE_PORT")
    bracketed = f"[{host}]" if host and ":" in host else host
    return SecretSettings(
        aws=AwsSettings(region=get("AWS_REGION", "AWS_DEFAULT_REGION"), profile=get("AWS_PROFILE")),
        gcp=GcpSettings(
            project=get("GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT", "GCLOUD_PROJECT"),
            endpoint=get("SECRET_MANAGER_EMULATOR_HOST"),
            plaintext=get("SECRET_MANAGER_EMULATOR_HOST") is not None,
        ),
        azure=AzureSettings(
            vault=get("AZURE_KEYVAULT_URL", "AZURE_KEY_VAULT_URL", "COPILOT_AZURE_VAULT"),
            tenant_id=get("AZURE_TENANT_ID"),
            client_id=get("AZURE_CLIENT_ID"),
            client_secret=get("AZURE_CLIENT_SECRET"),
            federated_token_file=get("AZURE_FEDERATED_TOKEN_FILE"),
            managed_identity=(get("COPILOT_AZURE_MANAGED_IDENTITY") or "").lower() not in _FALSE,
            authority=get("AZURE_AUTHORITY_HOST"),
            verify_challenge=(get("COPILOT_AZURE_VERIFY_CHALLENGE") or "true").lower() not in _FALSE,
            ca_file=get("COPILOT_AZURE_CA_FILE"),
        ),
        vault=VaultSettings(
            address=vault("ADDR"),
            namespace=vault("NAMESPACE") or "",
            auth=get("COPILOT_VAULT_AUTH"),
            auth_mount=get("COPILOT_VAULT_AUTH_MOUNT"),
            token=vault("TOKEN"),
            token_file=get("COPILOT_VAULT_TOKEN_FILE"),
            role=get("COPILOT_VAULT_ROLE"),
            role_id=get("VAULT_ROLE_ID", "BAO_ROLE_ID"),
            secret_id=get("VAULT_SECRET_ID", "BAO_SECRET_ID"),
            secret_id_file=get("COPILOT_VAULT_SECRET_ID_FILE"),
            secret_id_wrapped=(get("COPILOT_VAULT_SECRET_ID_WRAPPED") or "").lower() not in _FALSE,
            jwt_file=get("COPILOT_VAULT_JWT_FILE"),
            ca_file=vault("CACERT"),
            verify_tls=(vault("SKIP_VERIFY") or "").lower() in _FALSE,
        ),
        kubernetes=KubernetesSettings(
            api=get("COPILOT_KUBERNETES_API") or (f"https://{bracketed}:{port}" if host and port else None),
            token_file=get("COPILOT_KUBERNETES_TOKEN_FILE") or KubernetesSettings().token_file,
            ca_file=get("COPILOT_KUBERNETES_CA_FILE") or KubernetesSettings().ca_file,
            namespace=get("COPILOT_KUBERNETES_NAMESPACE"),
            mounts=get("COPILOT_KUBERNETES_SECRETS_DIR"),
        ),
        server=ServerSecretsSettings(
            url=_beside(get("COPILOT_REPORT_URL")),
            token=get("COPILOT_REPORT_TOKEN"),
        ),
        environ=environ,
    )


def _beside(report: str | None) -> str | None:
    """The server's secrets are beside where a pod reports to."""
    return None if report is None else report.rpartition("/")[0] + "/secrets/"
