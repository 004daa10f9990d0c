"""How stores are reached, as frozen values. ``config`` fills them from flags, environment and YAML; the registry reads them.

Everything defaults to "ask the cloud's own standard chain": variables of the environment, shared files and profiles, web
identity, instance metadata. Whatever is secret is kept out of ``repr``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Engine = Literal["obstore", "fsspec"]


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Amazon S3 and everything that speaks its protocol.

    Attributes:
        endpoint: ``https://host[:port]`` without the bucket; None: ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL``, the profile's
            ``endpoint_url``, else Amazon's. Text without a scheme is taken as https, as http if ``disable_ssl``.
        disable_ssl: whether an endpoint written without a scheme speaks plain http.
        region: None: ``AWS_REGION``, ``AWS_DEFAULT_REGION``, the profile's, else ``us-east-1``.
        access_key_id: with ``secret_access_key``: static keys, which win over every chain.
        secret_access_key: see ``access_key_id``.
        session_token: of temporary static keys.
        profile: a section of the shared files; None: ``AWS_PROFILE``, else ``default``.
        anonymous: no signature at all.
        path_style: the bucket in the path, not in the host name; None: yes for an endpoint of one's own, no for Amazon's.
        unsigned_payload: bodies of uploads are not hashed into the signature (half the CPU); None: over TLS yes, else no.
        verify_tls: whether certificates are checked.
        options: further settings by obstore's names (``server_side_encryption``, ``request_payer`` …); only for that engine.
    """

    endpoint: str | None = None
    disable_ssl: bool = False
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    anonymous: bool = False
    path_style: bool | None = None
    unsigned_payload: bool | None = None
    verify_tls: bool = True
    options: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class GcsSettings:
    """Google Cloud Storage.

    Attributes:
        endpoint: ``http(s)://host[:port]``; None: ``STORAGE_EMULATOR_HOST``, else Google's.
        service_account_json: the key file's text.
        service_account_file: the key file's path; None: ``GOOGLE_APPLICATION_CREDENTIALS``, gcloud's own file, else metadata.
        project_id: only for creating and billing; kept for the fsspec engine.
        scopes: OAuth scopes; only for the fsspec engine.
        anonymous: no token at all.
        options: as for S3.
    """

    endpoint: str | None = None
    service_account_json: str | None = field(default=None, repr=False)
    service_account_file: str | None = None
    project_id: str | None = None
    scopes: tuple[str, ...] = ()
    anonymous: bool = False
    options: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class AzureSettings:
    """Azure Blob Storage.

    Attributes:
        account: None: taken from ``container@account.host`` URIs, else ``AZURE_STORAGE_ACCOUNT_NAME``.
        key: the account key (base64).
        sas_token: a query string, with or without its ``?``.
        endpoint: ``http(s)://host[:port][/account]``; None: ``https://ACCOUNT.blob.core.windows.net``.
        client_id: of a service principal, a managed or a workload identity.
        client_secret: of a service principal.
        tenant_id: of either identity.
        federated_token_file: workload identity's token; None: ``AZURE_FEDERATED_TOKEN_FILE``.
        anonymous: no signature at all.
        options: as for S3.
    """

    account: str | None = None
    key: str | None = field(default=None, repr=False)
    sas_token: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    tenant_id: str | None = None
    federated_token_file: str | None = None
    anonymous: bool = False
    options: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Redis, as Flyte keeps small metadata there: one string value an object, its key the URI's path verbatim.

    Attributes:
        addr: ``host:port``; None: the URI's authority.
        username: of Redis's ACL.
        password: of Redis.
        db: the number of the logical database.
        tls: whether the connection is encrypted.
    """

    addr: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: bool = False


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """A scheme kept in a local directory (Flyte's ``type: local``).

    Attributes:
        root: ``scheme://bucket/key`` is the file ``root/bucket/key``.
    """

    root: str


@dataclass(frozen=True, slots=True)
class MemorySettings:
    """A scheme kept in this process's memory (Flyte's ``type: mem``): for tests and dry runs."""


@dataclass(frozen=True, slots=True)
class FsspecSettings:
    """Any other scheme.

    Attributes:
        options: keyword arguments of the fsspec file system.
        protocol: fsspec's name of it; None: the scheme.
    """

    options: Mapping[str, object] = field(default_factory=dict, repr=False)
    protocol: str | None = None


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Plain web servers.

    Attributes:
        headers: sent with every request (a bearer token, say).
        verify_tls: whether certificates are checked.
        max_redirects: further ones are an error.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify_tls: bool = True
    max_redirects: int = 10


SchemeSettings = (
    S3Settings | GcsSettings | AzureSettings | RedisSettings | LocalSettings | MemorySettings | FsspecSettings | HttpSettings
)


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """All of it, for one process.

    Which settings a URI gets: ``buckets[scheme://authority]``, else ``schemes[scheme]``, else the family's (``s3`` for s3, s3a
    and s3n; ``gcs`` for gs and gcs; ``azure`` for az, abfs(s) and wasb(s); ``http``; ``redis``). A scheme may be given settings
    of another family: ``schemes={"gs": S3Settings(...)}`` reads gs:// URIs from an S3 server.

    Attributes:
        s3: the family's settings.
        gcs: the family's settings.
        azure: the family's settings.
        redis: the family's settings.
        http: the family's settings.
        schemes: settings by scheme, in lower case.
        buckets: settings by ``scheme://authority``, for several endpoints or accounts in one process.
        engine: what carries s3, gs and azure: ``obstore`` (Rust), or ``fsspec`` (s3fs, gcsfs, adlfs).
        environ: the environment, for the clouds' standard variables and proxies; ``config`` passes it in.
        connect_timeout_s: seconds until a connection must stand.
        read_timeout_s: seconds without a byte after which a request is given up; there is no limit on a whole transfer.
        max_connections: idle connections kept to one host.
    """

    s3: S3Settings = S3Settings()
    gcs: GcsSettings = GcsSettings()
    azure: AzureSettings = AzureSettings()
    redis: RedisSettings = RedisSettings()
    http: HttpSettings = HttpSettings()
    schemes: Mapping[str, SchemeSettings] = field(default_factory=dict)
    buckets: Mapping[str, SchemeSettings] = field(default_factory=dict)
    engine: Engine = "obstore"
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    max_connections: int = 64
