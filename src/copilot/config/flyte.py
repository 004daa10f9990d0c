"""Flyte's ``storage:`` section as store settings.

Source of the format: the reference's ``flytestdlib/storage`` and its stow backends; ``connection`` is Flyte 1's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from copilot.config.nearest import did_you_mean
from copilot.core.errors import BadConfig
from copilot.stores.settings import (
    AzureSettings,
    GcsSettings,
    LocalSettings,
    MemorySettings,
    RedisSettings,
    S3Settings,
    SchemeSettings,
    StoreSettings,
)

#: What may stand under ``storage:``, in lower case; the value names what may stand below, None where anything may.
KNOWN: Final[Mapping[str, frozenset[str] | None]] = {
    "cache": frozenset({"max_size_mbs", "target_gc_percent"}),
    "connection": frozenset({"endpoint", "access-key", "secret-key", "region", "auth-type", "disable-ssl"}),
    "container": None,
    "defaulthttpclient": frozenset(
        {"headers", "timeout", "maxidleconns", "maxidleconnsperhost", "maxconnsperhost", "idleconntimeout"}
    ),
    "enable-multicontainer": None,
    "enablelegacymetrics": None,
    "limits": frozenset({"maxdownloadmbs"}),
    "redis": frozenset({"addr", "username", "password", "db"}),
    "schemes": None,
    "signedurl": frozenset({"stowconfigoverride"}),
    "stow": frozenset({"kind", "config"}),
    "type": None,
}
TYPES: Final = ("local", "mem", "minio", "redis", "s3", "stow")
_SCHEME_KEYS: Final = frozenset({"kind", "config", "redis"})
_KIND_OF_SCHEME: Final = {
    "s3": "s3", "s3a": "s3", "s3n": "s3", "gs": "google", "gcs": "google",
    "abfs": "azure", "abfss": "azure", "wasb": "azure", "wasbs": "azure", "az": "azure",
    "file": "local", "redis": "redis",
}  # fmt: skip
_OBJECT_SCHEMES: Final = ("s3", "gs", "abfs", "abfss", "az")


@dataclass(frozen=True, slots=True)
class FlyteStorage:
    """What ``storage:`` says: the settings, the base bucket, and what has no effect here."""

    settings: StoreSettings
    container: str = ""
    warnings: tuple[str, ...] = ()


def store_settings(section: Mapping[str, object], base: StoreSettings) -> FlyteStorage:
    """``section`` (keys in lower case) laid over ``base``.

    Raises:
        BadConfig: an unknown key or type, a value that cannot be.
    """
    _check_keys(section)
    storage_type = _text(section, "type", "storage.type") or "stow"
    if storage_type not in TYPES:
        hint = did_you_mean(storage_type, TYPES) or f"It is one of {', '.join(TYPES)}."
        raise BadConfig(
            f"storage.type is {storage_type!r}, which is no kind of store", op="config", subject="storage.type", hint=hint
        )
    stow = _map(section, "stow", "storage.stow")
    stow_config = _texts(_map(stow, "config", "storage.stow.config"))
    kind = _text(stow, "kind", "storage.stow.kind") or "s3"
    if not stow_config and "connection" in section:
        kind, stow_config = "s3", _connection(_map(section, "connection", "storage.connection"))
    warnings: list[str] = []
    settings = replace(base, redis=_redis(_map(section, "redis", "storage.redis"), base.redis, "storage.redis"))
    if storage_type == "mem":
        settings = replace(settings, schemes=dict.fromkeys(_OBJECT_SCHEMES, MemorySettings()))
    elif storage_type == "local":
        settings = _with_family(settings, "local", stow_config, "storage.stow", warnings)
    elif storage_type != "redis":
        settings = _with_family(settings, kind, stow_config, "storage.stow", warnings)
    schemes: dict[str, SchemeSettings] = dict(settings.schemes)
    for scheme, value in _map(section, "schemes", "storage.schemes").items():
        where = f"storage.schemes.{scheme}"
        schemes[scheme] = _scheme(scheme, value, where, settings, warnings)
    headers = _texts(_map(_map(section, "defaulthttpclient", "storage.defaultHttpClient"), "headers", "headers"))
    if headers:
        warnings.append("storage.defaultHttpClient.headers has no effect: requests are signed without them")
    return FlyteStorage(replace(settings, schemes=schemes), _text(section, "container", "storage.container"), tuple(warnings))


def _check_keys(section: Mapping[str, object]) -> None:
    for key, value in section.items():
        if key not in KNOWN:
            raise _unknown(f"storage.{key}", key, KNOWN)
        below = KNOWN[key]
        if below is not None and isinstance(value, Mapping):
            for inner in value:
                if inner not in below:
                    raise _unknown(f"storage.{key}.{inner}", inner, below)


def _unknown(path: str, key: str, known: Mapping[str, object] | frozenset[str]) -> BadConfig:
    hint = did_you_mean(key, known) or f"Known keys: {', '.join(sorted(known))}."
    return BadConfig(f"{path} is not a key of the storage configuration", op="config", subject=path, hint=hint)


def _with_family(
    settings: StoreSettings, kind: str, config: Mapping[str, str], where: str, warnings: list[str]
) -> StoreSettings:
    made = _family(kind, config, where, warnings)
    if isinstance(made, S3Settings):
        return replace(settings, s3=made)
    if isinstance(made, GcsSettings):
        return replace(settings, gcs=made)
    if isinstance(made, AzureSettings):
        return replace(settings, azure=made)
    if isinstance(made, LocalSettings) and made.root not in {"", "/"}:
        return replace(settings, schemes={**settings.schemes, "file": made})
    return settings


def _scheme(scheme: str, value: object, where: str, settings: StoreSettings, warnings: list[str]) -> SchemeSettings:
    if not isinstance(value, Mapping):
        raise BadConfig(f"{where} is not a mapping with kind and config", op="config", subject=where)
    for key in value:
        if key not in _SCHEME_KEYS:
            raise _unknown(f"{where}.{key}", key, _SCHEME_KEYS)
    kind = _text(value, "kind", f"{where}.kind") or _KIND_OF_SCHEME.get(scheme, "")
    if scheme == "redis" or kind == "redis":
        return _redis(_map(value, "redis", f"{where}.redis"), settings.redis, f"{where}.redis")
    if not kind:
        raise BadConfig(f"{where} names no kind", op="config", subject=where, hint="Give kind: s3, google, azure or local.")
    return _family(kind, _texts(_map(value, "config", f"{where}.config")), f"{where}.config", warnings)


def _family(kind: str, config: Mapping[str, str], where: str, warnings: list[str]) -> SchemeSettings:
    maker = _FAMILIES.get(kind)
    if maker is None:
        hint = did_you_mean(kind, _FAMILIES) or f"It is one of {', '.join(sorted(_FAMILIES))}."
        raise BadConfig(f"{where} has the kind {kind!r}, which this version cannot open", op="config", subject=where, hint=hint)
    return maker(config, where, warnings)


def _s3(config: Mapping[str, str], where: str, warnings: list[str]) -> S3Settings:
    auth_type = config.get("auth_type", "")
    if auth_type not in {"", "accesskey", "iam"}:
        raise BadConfig(
            f"{where} has auth_type {auth_type!r}",
            op="config",
            subject=where,
            hint="It is accesskey (with keys) or iam (the cloud's own chain).",
        )
    keys = auth_type != "iam"
    if flag(config.get("v2_signing", ""), f"{where}.v2_signing"):
        warnings.append(f"{where}.v2_signing has no effect: requests are signed with version 4")
    return S3Settings(
        endpoint=config.get("endpoint") or None,
        disable_ssl=flag(config.get("disable_ssl", ""), f"{where}.disable_ssl"),
        region=config.get("region") or None,
        access_key_id=(config.get("access_key_id") or None) if keys else None,
        secret_access_key=(config.get("secret_key") or None) if keys else None,
        # stow's own name for it, and the one that Flyte's documentation gives.
        session_token=(config.get("token") or config.get("session_token") or None) if keys else None,
    )


def _google(config: Mapping[str, str], _where: str, _warnings: list[str]) -> GcsSettings:
    return GcsSettings(
        endpoint=config.get("endpoint") or None,
        service_account_json=config.get("json") or None,
        project_id=config.get("project_id") or None,
        scopes=tuple(scope for scope in config.get("scopes", "").split(",") if scope),
    )


def _azure(config: Mapping[str, str], _where: str, _warnings: list[str]) -> AzureSettings:
    base_url = config.get("base_url", "")
    account = config.get("account", "")
    if base_url and "://" not in base_url and account:
        base_url = f"https://{account}.{base_url if base_url.startswith('blob.') else 'blob.' + base_url}"
    return AzureSettings(account=account or None, key=config.get("key") or None, endpoint=base_url or None)


def _local(config: Mapping[str, str], _where: str, _warnings: list[str]) -> LocalSettings:
    return LocalSettings(root=config.get("path", ""))


_FAMILIES: Final[Mapping[str, Callable[[Mapping[str, str], str, list[str]], SchemeSettings]]] = {
    "azure": _azure,
    "google": _google,
    "local": _local,
    "s3": _s3,
}


def _redis(config: Mapping[str, object], base: RedisSettings, where: str) -> RedisSettings:
    db = _text(config, "db", f"{where}.db") or str(base.db)
    if not db.isdigit():
        raise BadConfig(f"{where}.db is {db!r}, not a number", op="config", subject=f"{where}.db")
    return replace(
        base,
        addr=_text(config, "addr", where) or base.addr,
        username=_text(config, "username", where) or base.username,
        password=_text(config, "password", where) or base.password,
        db=int(db),
    )


def _connection(config: Mapping[str, object]) -> dict[str, str]:
    names = {"access-key": "access_key_id", "secret-key": "secret_key", "auth-type": "auth_type", "disable-ssl": "disable_ssl"}
    return {names.get(key, key): value for key, value in _texts(config).items() if value}


def merge(base: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """``over`` laid over ``base``: maps are merged key by key, everything else is replaced."""
    result = dict(base)
    for key, value in over.items():
        mine = result.get(key)
        result[key] = merge(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return result


def flag(text: str, where: str) -> bool:
    """A boolean as Go reads it.

    Raises:
        BadConfig: anything else.
    """
    if text in {"", "0", "f", "F", "false", "FALSE", "False"}:
        return False
    if text in {"1", "t", "T", "true", "TRUE", "True"}:
        return True
    raise BadConfig(f"{where} is {text!r}, neither true nor false", op="config", subject=where)


def _map(section: Mapping[str, object], key: str, where: str) -> Mapping[str, object]:
    value = section.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadConfig(f"{where} is not a mapping", op="config", subject=where)
    return value


def _texts(section: Mapping[str, object]) -> dict[str, str]:
    return {key: _as_text(value) for key, value in section.items()}


def _text(section: Mapping[str, object], key: str, where: str) -> str:
    value = section.get(key)
    if isinstance(value, Mapping | list):
        raise BadConfig(f"{where} is not a single value", op="config", subject=where)
    return _as_text(value)


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(_as_text(item) for item in value)
    return str(value)
