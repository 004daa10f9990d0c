"""The effective configuration for people, without its secrets; and the secrets, for the redactor alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.core.uri import redact

if TYPE_CHECKING:
    from copilot.config.values import Configuration

REDACTED: Final = "***"

#: Names in the clouds' own environment whose values must never be seen.
_SECRET_VARIABLES: Final = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_SAS_TOKEN",
    "COPILOT_REPORT_TOKEN",
    "FLYTE_AWS_SECRET_ACCESS_KEY",
    "VAULT_TOKEN",
)
_OMITTED: Final = frozenset({"environ"})
_NO_SECRETS: Final = frozenset({"options"})  # settings by name, kept out of repr for their length alone


def printable(configuration: Configuration) -> dict[str, object]:
    """Every setting that is set, secrets as ``***``; the environment itself is left out."""
    plain = _plain(configuration)
    assert isinstance(plain, dict)  # noqa: S101 - a dataclass becomes a dict
    return plain


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        result: dict[str, object] = {}
        for field in fields(value):
            inner = getattr(value, field.name)
            if field.name in _OMITTED or inner is None or inner in ("", (), {}):
                continue
            result[field.name] = _plain(inner) if field.repr else _redacted(inner)
        return result
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    if isinstance(value, str):
        return redact(value)  # an endpoint may have a password in it
    return str(value) if isinstance(value, Path) else value


def _redacted(value: object) -> object:
    return dict.fromkeys(map(str, value), REDACTED) if isinstance(value, Mapping) else REDACTED


def secret_values(configuration: Configuration) -> Iterator[bytes]:
    """Every value that must not appear in any line: keys, tokens and passwords of stores, from flags, files and environment."""
    yield from _secrets(configuration.stores)
    for name in _SECRET_VARIABLES:
        value = configuration.environ.get(name, "")
        if value:
            yield value.encode()


def _secrets(value: object) -> Iterator[bytes]:
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            inner = getattr(value, field.name)
            if field.name in _OMITTED | _NO_SECRETS:
                continue
            if field.repr:
                yield from _secrets(inner)
            elif isinstance(inner, str) and inner:
                yield inner.encode()
            elif isinstance(inner, Mapping):
                yield from (str(item).encode() for item in inner.values())
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _secrets(inner)
