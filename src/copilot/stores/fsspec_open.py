"""Our settings in the words of s3fs, gcsfs, adlfs and the other file systems of fsspec."""

from __future__ import annotations

import importlib
import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from copilot.core.errors import BadConfig, BadFlag
from copilot.core.uri import redact
from copilot.stores.fsspec_errors import classified
from copilot.stores.settings import AzureSettings, FsspecSettings, GcsSettings, S3Settings, SchemeSettings, StoreSettings

if TYPE_CHECKING:
    from copilot.core.uri import Uri


_CLOUDS: Final = {"s3": "s3fs:S3FileSystem", "gcs": "gcsfs:GCSFileSystem", "abfs": "adlfs:AzureBlobFileSystem"}


@dataclass(frozen=True, slots=True)
class Opened:
    """A file system, what stands before every key in it, and whether it creates atomically."""

    fs: Any
    root: str
    creates: bool


def file_system(uri: Uri, settings: SchemeSettings, process: StoreSettings) -> Opened:
    """The file system for a URI.

    Raises:
        BadFlag: fsspec does not know the scheme.
        BadConfig: it does not take the options.
        ImportError: the package for the scheme is not installed.
        StoreError: it connects at once, and nobody is there.
    """
    from fsspec.registry import available_protocols, registry  # noqa: PLC0415

    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    match settings:
        case S3Settings():
            protocol, more = "s3", _s3(settings, process)
        case GcsSettings():
            protocol, more = "gcs", _gcs(settings, process)
        case AzureSettings():
            protocol, more = "abfs", _azure(uri, settings, process)
        case FsspecSettings():
            protocol, more = settings.protocol or uri.scheme, dict(settings.options)
        case _:
            raise BadConfig(f"{uri.scheme}:// has settings that fsspec cannot use", op="open", subject=f"{uri.scheme}://")
    if protocol not in available_protocols() and protocol not in registry:
        raise BadFlag(
            f"No store is known for {uri.scheme}://",
            op="open",
            subject=f"{uri.scheme}://",
            hint="See `copilot stores` for all.",
        )
    try:
        with warnings.catch_warnings():  # gcsfs warns of what nobody here does: making buckets
            warnings.simplefilter("ignore", UserWarning)
            kind = _class_of(protocol)
            if isinstance(settings, FsspecSettings):
                more = {**_of_url(kind, uri), **more}
            fs = kind(**options, **more)
        fs.retries = 1  # s3fs's and gcsfs's own: the engine retries
    except (TypeError, ValueError) as error:
        raise BadConfig(
            f"The settings of {uri.scheme}:// cannot be used", op="open", subject=f"{uri.scheme}://", hint="Check its options."
        ) from error
    except OSError as error:  # ftp, sftp and their like connect at once
        where = redact(f"{uri.scheme}://{uri.authority}")
        raise classified(error, "open", where, where) from error
    container = uri.authority.partition("@")[0] if isinstance(settings, AzureSettings) else uri.authority
    root = _root_of(fs, uri, container, settings)
    return Opened(fs, root, creates=isinstance(settings, S3Settings | GcsSettings))


def _class_of(protocol: str) -> Any:  # noqa: ANN401 - an extra's class
    """The clouds' own classes by name: what fsspec finds for ``s3`` is whatever the last library in this process registered."""
    if protocol in _CLOUDS:
        module, _, name = _CLOUDS[protocol].partition(":")
        return getattr(importlib.import_module(module), name)
    from fsspec import get_filesystem_class  # noqa: PLC0415 - an extra

    return get_filesystem_class(protocol)


def _root_of(fs: Any, uri: Uri, container: str, settings: SchemeSettings) -> str:  # noqa: ANN401 - an extra's class
    if not isinstance(settings, FsspecSettings):
        return f"{container}/"
    probe = str(fs._strip_protocol(f"{uri.scheme}://{uri.authority}/x"))  # noqa: SLF001 - fsspec's word for "your path of a URL"
    return probe[:-1] if probe.endswith("x") else f"{container}/"


def _s3(settings: S3Settings, process: StoreSettings) -> dict[str, Any]:
    from copilot.stores.s3 import checked_endpoint  # noqa: PLC0415 - only for S3

    environ = process.environ
    endpoint = settings.endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    region = settings.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    return {
        "anon": settings.anonymous,
        "key": settings.access_key_id,
        "secret": settings.secret_access_key,
        "token": settings.session_token,
        "profile": settings.profile,
        "endpoint_url": checked_endpoint(endpoint, "S3", disable_ssl=settings.disable_ssl) if endpoint else None,
        "client_kwargs": {"region_name": region, "verify": settings.verify_tls} if region else {"verify": settings.verify_tls},
        "config_kwargs": {
            "connect_timeout": process.connect_timeout_s,
            "read_timeout": process.read_timeout_s,
            "retries": {"max_attempts": 0},
            "s3": {"addressing_style": "virtual" if settings.path_style is False else "path"},
        },
        "max_concurrency": 3,
    }


def _gcs(settings: GcsSettings, process: StoreSettings) -> dict[str, Any]:
    from copilot.stores.s3 import checked_endpoint  # noqa: PLC0415 - a check, nothing of S3

    endpoint = settings.endpoint or process.environ.get("STORAGE_EMULATOR_HOST")
    token: object = settings.service_account_file
    if settings.service_account_json:
        token = json.loads(settings.service_account_json)
    if settings.anonymous:
        token = "anon"  # noqa: S105 - gcsfs's word for nobody
    answer: dict[str, Any] = {"token": token, "project": settings.project_id}
    if settings.scopes:
        answer["access"] = "full_control"
    if endpoint:
        answer["endpoint_url"] = checked_endpoint(endpoint, "GCS", disable_ssl=True)
    return answer


def _azure(uri: Uri, settings: AzureSettings, process: StoreSettings) -> dict[str, Any]:
    from copilot.stores.azure import connection_string, find_account  # noqa: PLC0415 - only for Azure

    connection = connection_string(process.environ.get("AZURE_STORAGE_CONNECTION_STRING", ""))
    account = find_account(uri, settings, process, connection)
    key = settings.key or connection.get("accountkey") or process.environ.get("AZURE_STORAGE_ACCOUNT_KEY")
    answer: dict[str, Any] = {"account_name": account.name, "anon": settings.anonymous}
    if key and not settings.sas_token:
        # The one spelling in which adlfs takes an endpoint of one's own.
        text = f"AccountName={account.name};AccountKey={key};BlobEndpoint={account.endpoint}"
        return {**answer, "connection_string": f"DefaultEndpointsProtocol={account.endpoint.partition(':')[0]};{text}"}
    named = {
        "sas_token": settings.sas_token,
        "client_id": settings.client_id,
        "client_secret": settings.client_secret,
        "tenant_id": settings.tenant_id,
    }
    return {**answer, **{name: value for name, value in named.items() if value}}


def _of_url(kind: Any, uri: Uri) -> dict[str, Any]:  # noqa: ANN401 - an extra's class
    """Host, port, user and whatever else a file system reads from its URLs, by its own word."""
    found: dict[str, Any] = kind._get_kwargs_from_urls(f"{uri.scheme}://{uri.authority}/x")  # noqa: SLF001 - fsspec's word for it
    return {name: unquote(value) if name in {"username", "password"} else value for name, value in found.items()}
