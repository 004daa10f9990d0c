"""Opens URIs: which adapter carries which scheme, and one store per bucket and process.

A new scheme is one line of ``SCHEMES``, one file, and one contract test; see docs/adding-a-store.md.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import threading
from collections.abc import Callable
from types import MappingProxyType

from copilot.core.errors import MissingExtra
from copilot.core.ports import Location, Store
from copilot.core.uri import AZURE_SCHEMES, GCS_SCHEMES, S3_SCHEMES, Uri, parse
from copilot.stores.settings import (
    AzureSettings,
    FsspecSettings,
    GcsSettings,
    HttpSettings,
    LocalSettings,
    MemorySettings,
    RedisSettings,
    S3Settings,
    SchemeSettings,
    StoreSettings,
)

Factory = Callable[[Uri, SchemeSettings, StoreSettings], Store]

_NONE = "comes with copilot"
_FSSPEC = "pip install 'copilot[fsspec]'"
_OF_FSSPEC = frozenset({"fsspec", "s3fs", "gcsfs", "adlfs"})
_REDIS = "pip install 'copilot[redis]'"

# scheme -> (module:factory, how to get it)
SCHEMES = MappingProxyType(
    {
        "abfs": ("copilot.stores.azure:open_azure", _NONE),
        "abfss": ("copilot.stores.azure:open_azure", _NONE),
        "adl": ("copilot.stores.azure:open_azure", _NONE),
        "az": ("copilot.stores.azure:open_azure", _NONE),
        "azure": ("copilot.stores.azure:open_azure", _NONE),
        "file": ("copilot.stores.registry:open_local", _NONE),
        "gcs": ("copilot.stores.gcs:open_gcs", _NONE),
        "gs": ("copilot.stores.gcs:open_gcs", _NONE),
        "http": ("copilot.stores.http:open_http", _NONE),
        "https": ("copilot.stores.http:open_http", _NONE),
        "mem": ("copilot.stores.registry:open_memory", _NONE),
        "memory": ("copilot.stores.registry:open_memory", _NONE),
        "redis": ("copilot.stores.redis_store:open_redis", _REDIS),
        "rediss": ("copilot.stores.redis_store:open_redis", _REDIS),
        "s3": ("copilot.stores.s3:open_s3", _NONE),
        "s3a": ("copilot.stores.s3:open_s3", _NONE),
        "s3n": ("copilot.stores.s3:open_s3", _NONE),
        "wasb": ("copilot.stores.azure:open_azure", _NONE),
        "wasbs": ("copilot.stores.azure:open_azure", _NONE),
    }
)

# A scheme may be given another family's settings; then they decide who carries it.
_FACTORIES: dict[type[SchemeSettings], str] = {
    AzureSettings: "copilot.stores.azure:open_azure",
    FsspecSettings: "copilot.stores.fsspec_store:open_fsspec",
    GcsSettings: "copilot.stores.gcs:open_gcs",
    HttpSettings: "copilot.stores.http:open_http",
    LocalSettings: "copilot.stores.registry:open_local",
    MemorySettings: "copilot.stores.registry:open_memory",
    RedisSettings: "copilot.stores.redis_store:open_redis",
    S3Settings: "copilot.stores.s3:open_s3",
}
_CLOUDS = (S3Settings, GcsSettings, AzureSettings)


def open_stores(settings: StoreSettings | None = None) -> OpenStores:
    """Everything a URI can lead to. Nothing is imported or connected before the first ``locate``."""
    return OpenStores(settings or StoreSettings())


def open_local(uri: Uri, settings: SchemeSettings, process: StoreSettings) -> Store:
    """A local directory."""
    from copilot.stores.local import LocalStore  # noqa: PLC0415 - an adapter is imported when it is used

    del process
    if isinstance(settings, LocalSettings) and uri.scheme != "file":
        return LocalStore(os.path.join(settings.root, uri.authority))  # noqa: PTH118 - bytes of names matter, not paths
    return LocalStore("/")


def open_memory(uri: Uri, settings: SchemeSettings, process: StoreSettings) -> Store:
    """A bucket in memory."""
    from copilot.stores.memory import MemoryStore  # noqa: PLC0415 - as above

    del settings, process
    return MemoryStore(uri.authority)


class OpenStores:
    """See ``ports.Stores``. Safe to use from many threads."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._open: dict[tuple[str, str], Store] = {}
        self._lock = threading.Lock()

    def locate(self, uri: str) -> Location:
        """Opens a URI; stores are opened once.

        Raises:
            BadFlag: it is no URI.
            BadConfig: the settings of its store cannot be used.
            MissingExtra: the package for its scheme is not installed.
        """
        parsed = parse(uri)
        key = os.path.abspath(parsed.key) if parsed.scheme == "file" else parsed.key  # noqa: PTH100 - keeps a / at the end below
        if parsed.scheme == "file":
            key = key.removeprefix("/") + ("/" if parsed.key.endswith("/") and key != "/" else "")
        return Location(uri, self._store(parsed), key)

    def settings_for(self, uri: Uri) -> SchemeSettings:
        """The settings that hold for a URI, as ``StoreSettings`` says."""
        settings = self._settings
        exact = settings.buckets.get(f"{uri.scheme}://{uri.authority}")
        found = exact or settings.schemes.get(uri.scheme)
        if found is not None:
            return found
        if uri.scheme in S3_SCHEMES:
            return settings.s3
        if uri.scheme in GCS_SCHEMES:
            return settings.gcs
        if uri.scheme in AZURE_SCHEMES:
            return settings.azure
        families: dict[str, SchemeSettings] = {
            "file": LocalSettings("/"),
            "http": settings.http,
            "https": settings.http,
            "mem": MemorySettings(),
            "memory": MemorySettings(),
            "redis": settings.redis,
            "rediss": settings.redis,
        }
        return families.get(uri.scheme, FsspecSettings())

    def _store(self, uri: Uri) -> Store:
        place = (uri.scheme, uri.authority)
        with self._lock:
            store = self._open.get(place)
            if store is None:
                store = self._open[place] = self._connect(uri)
            return store

    def _connect(self, uri: Uri) -> Store:
        settings = self.settings_for(uri)
        target, hint = _FACTORIES[type(settings)], SCHEMES.get(uri.scheme, ("", _FSSPEC))[1]
        if self._settings.engine == "fsspec" and isinstance(settings, _CLOUDS):
            target, hint = _FACTORIES[FsspecSettings], _FSSPEC
        module, _, name = target.partition(":")
        try:
            factory: Factory = getattr(importlib.import_module(module), name)
            return factory(uri, settings, self._settings)
        except ImportError as error:
            if (error.name or "").startswith("copilot."):
                raise
            # fsspec names what it misses in words alone; its cause knows the package.
            name = error.name or getattr(error.__cause__, "name", None) or ""
            if hint == _FSSPEC and name and importlib.util.find_spec("fsspec") is not None and name not in _OF_FSSPEC:
                hint = f"Install the package that has {name}; fsspec's documentation says which."
            raise MissingExtra(
                f"{uri.scheme}:// needs a package that is not installed ({name or error})",
                op="open",
                subject=f"{uri.scheme}://",
                hint=hint,
            ) from error


def installed() -> dict[str, str]:
    """Every known scheme with how to get it, or an empty text where it is installed: what ``copilot stores`` prints."""
    answer: dict[str, str] = {}
    for scheme, (_, hint) in SCHEMES.items():
        missing = hint == _REDIS and importlib.util.find_spec("redis") is None
        answer[scheme] = hint if missing else ""
    return answer
