"""Opens Azure Blob Storage containers for ``object_store``, in each of the spellings Azure's tools use.

``az://container/key``, ``abfs(s)://container/key`` as Flyte writes it, and as Hadoop does
``abfs(s)://container@account.dfs.core.windows.net/key``, ``wasb(s)://container@account.blob.core.windows.net/key``.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from copilot.core.errors import BadConfig
from copilot.stores.azure_blocks import AzureBlocks
from copilot.stores.azure_sas import container_sas
from copilot.stores.object_store import Bucket, ObjectStore
from copilot.stores.s3 import NO_RETRIES, checked_endpoint, client_options
from copilot.stores.signed_requests import EXPIRES_S, Sign, Signed, SignedRequests

if TYPE_CHECKING:
    from collections.abc import Mapping

    from copilot.core.uri import Uri
    from copilot.stores.settings import AzureSettings, StoreSettings

SUFFIX = "core.windows.net"


@dataclass(frozen=True, slots=True)
class Account:
    """Whose container it is: the account's name and the URL of its blob service."""

    name: str
    endpoint: str


def open_azure(uri: Uri, settings: AzureSettings, process: StoreSettings) -> ObjectStore:
    """One container.

    Raises:
        BadConfig: no account is named anywhere, or a setting cannot be used.
    """
    name = f"{uri.scheme}://{uri.authority}"
    container = uri.authority.partition("@")[0]
    connection = connection_string(process.environ.get("AZURE_STORAGE_CONNECTION_STRING", ""))
    account = find_account(uri, settings, process, connection)
    config = _config(settings, connection, account)

    def build(key: str = "") -> Any:  # noqa: ANN401 - obstore's classes cannot be imported here
        from obstore.store import AzureStore  # noqa: PLC0415 - 40 ms, only when a container is opened

        # obstore encodes the container's name as one segment: with the container in the URL, it can be any key.
        endpoint = f"{account.endpoint}/{container}" if key else account.endpoint
        try:
            return AzureStore(
                key or container,
                config={**config, "endpoint": endpoint},  # type: ignore[arg-type]  # options by name
                client_options=client_options(process, account.endpoint),
                retry_config=NO_RETRIES,
            )
        except Exception as error:
            raise BadConfig(
                f"The settings of {name} cannot be used", op="open", subject=name, hint="Check the account's key or identity."
            ) from error

    def multiparts(store: ObjectStore) -> AzureBlocks:
        sign = _signer(store, config, account, container)
        requests = SignedRequests(sign, endpoint=account.endpoint, bucket=name, process=process)

        # A user's delegation is signed for one blob and cannot list; Azure frees forgotten blocks by itself after a week.
        lists = any(name in config for name in ("account_key", "sas_key"))
        return AzureBlocks(requests, store.list if lists else None)

    return ObjectStore(
        Bucket(
            uri=name,
            host=urlsplit(account.endpoint).hostname or "",
            handle=build(),
            rooted=build,
            whole=build,
            multiparts=multiparts,
            clear_text=account.endpoint.startswith("http://"),
        )
    )


def _signer(store: ObjectStore, config: Mapping[str, Any], account: Account, container: str) -> Sign:
    """A signature for each request: the token that was given, one made from the account's key, or a user's delegation."""
    held: dict[tuple[str, str], tuple[float, str]] = {}

    def query_of(method: str, key: str) -> str:
        if "sas_key" in config:
            return str(config["sas_key"])
        if "account_key" in config:
            return container_sas(account.name, config["account_key"], container, now_s=time(), expires_s=EXPIRES_S)
        if config.get("skip_signature"):
            return ""
        return urlsplit(store.sign(store.bucket.handle, method, key, EXPIRES_S)).query

    def sign(method: str, key: str, query: str) -> Signed:
        began_s, token = held.get((method, key), (0.0, ""))
        if time() - began_s > EXPIRES_S / 2:
            held.clear()
            held[method, key] = began_s, token = time(), query_of(method, key)
        return Signed(f"{account.endpoint}/{container}/{quote(key, safe='/-._~')}?{query}{'&' if token else ''}{token}")

    return sign


def find_account(uri: Uri, settings: AzureSettings, process: StoreSettings, connection: Mapping[str, str]) -> Account:
    """The account of a URI: its own, else the settings', else the environment's.

    Raises:
        BadConfig: none of them names one.
    """
    environ = process.environ
    host = uri.authority.partition("@")[2]
    own, _, domain = host.partition(".")
    account = own or settings.account or _first(environ, "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
    account = account or connection.get("accountname")
    if not account:
        raise BadConfig(
            f"The account of {uri.scheme}://{uri.authority} is not known",
            op="open",
            subject=f"{uri.scheme}://{uri.authority}",
            hint="Set AZURE_STORAGE_ACCOUNT_NAME, or write CONTAINER@ACCOUNT.dfs.core.windows.net.",
        )
    given = settings.endpoint or (None if own else connection.get("blobendpoint") or environ.get("AZURE_STORAGE_ENDPOINT"))
    if given:
        return Account(account, checked_endpoint(given, "Azure"))
    suffix = domain.partition(".")[2] or connection.get("endpointsuffix") or SUFFIX
    return Account(account, f"https://{account}.blob.{suffix}")


def connection_string(text: str) -> dict[str, str]:
    """Azure's ``Name=value;Name=value``, the names in lower case."""
    pairs = (part.partition("=") for part in text.split(";") if "=" in part)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _config(settings: AzureSettings, connection: Mapping[str, str], account: Account) -> dict[str, Any]:
    sas = settings.sas_token or (None if settings.key else connection.get("sharedaccesssignature"))
    known: dict[str, Any] = {
        "account_name": account.name,
        "account_key": settings.key or (None if settings.sas_token else connection.get("accountkey")),
        "sas_key": sas.removeprefix("?") if sas else None,
        "client_id": settings.client_id,
        "client_secret": settings.client_secret,
        "tenant_id": settings.tenant_id,
        "federated_token_file": settings.federated_token_file,
        "skip_signature": True if settings.anonymous else None,
    }
    return {**settings.options, **{name: value for name, value in known.items() if value}}


def _first(environ: Mapping[str, str], *names: str) -> str | None:
    return next((environ[name] for name in names if environ.get(name)), None)
