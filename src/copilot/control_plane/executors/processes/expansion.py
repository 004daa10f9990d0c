"""A container's command and environment as the kubelet expands them: ``$(NAME)``, ``valueFrom``, ``envFrom``. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

_REFERENCE: Final = re.compile(r"\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")

# The data of a ConfigMap or Secret: kind and name in, its entries out; None where there is no such object.
ObjectData = Callable[[str, str], Mapping[str, bytes] | None]


class ConfigError(Exception):
    """The container cannot be configured: a Secret, a ConfigMap or a key of it is missing (``CreateContainerConfigError``)."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to start, fully expanded."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


def expand(text: str, env: Mapping[str, str]) -> str:
    """``$(NAME)`` by its value, ``$$`` by ``$``; a name that is not there stays as it is."""

    def value(found: re.Match[str]) -> str:
        if found.group(0) == "$$":
            return "$"
        return env.get(found.group(1), found.group(0))

    return _REFERENCE.sub(value, text)


def container_command(
    container: Mapping[str, Any], pod: Mapping[str, Any], base_env: Mapping[str, str], data: ObjectData
) -> Command:
    """Command and environment of one container.

    An image's own entrypoint is not known here: ``args`` without ``command`` are the command.

    Raises:
        ConfigError: for a reference to something that is not there.
    """
    env = dict(base_env)
    for source in container.get("envFrom") or ():
        kind = "Secret" if "secretRef" in source else "ConfigMap"
        reference = source.get("secretRef") or source.get("configMapRef") or {}
        entries = data(kind, reference.get("name", ""))
        if entries is None and not reference.get("optional"):
            _missing(kind, reference.get("name", ""))
        env |= {
            source.get("prefix", "") + key: value.decode(errors="surrogateescape") for key, value in (entries or {}).items()
        }
    for entry in container.get("env") or ():
        value = _value(entry, env, container, pod, data)
        if value is not None:
            env[entry["name"]] = value
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    return Command(tuple(expand(str(word), env) for word in words), env)


def _value(
    entry: Mapping[str, Any], env: Mapping[str, str], container: Mapping[str, Any], pod: Mapping[str, Any], data: ObjectData
) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return expand(str(entry.get("value") or ""), env)
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        resource = source["resourceFieldRef"]["resource"]
        kind, _, name = resource.partition(".")
        return str(((container.get("resources") or {}).get(kind) or {}).get(name, "0"))
    kind, reference = (
        ("Secret", source["secretKeyRef"]) if "secretKeyRef" in source else ("ConfigMap", source["configMapKeyRef"])
    )
    entries = data(kind, reference.get("name", "")) or {}
    if reference["key"] in entries:
        return entries[reference["key"]].decode(errors="surrogateescape")
    if not reference.get("optional"):
        _missing(kind, reference.get("name", ""), reference["key"])
    return None


def _missing(kind: str, name: str, key: str = "") -> NoReturn:
    what = f'couldn\'t find key {key} in {kind} "{name}"' if key else f'{kind.lower()} "{name}" not found'
    raise ConfigError(what)


def field_value(pod: Mapping[str, Any], path: str) -> str:
    """A field of the pod for ``fieldRef``: names, labels, annotations, addresses; an unknown one is empty."""
    found = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if found:
        return str((pod["metadata"].get(found.group(1)) or {}).get(found.group(2), ""))
    if path in {"status.podIP", "status.hostIP", "status.podIPs", "status.hostIPs"}:
        return "127.0.0.1"
    node: Any = pod
    for part in path.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return "" if node is None else str(node)


def object_data(manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """The entries of a Secret or ConfigMap manifest."""
    entries = {key: str(value).encode() for key, value in (manifest.get("stringData") or {}).items()}
    if manifest.get("kind") == "Secret":
        return {key: base64.b64decode(value) for key, value in (manifest.get("data") or {}).items()} | entries
    binary = {key: base64.b64decode(value) for key, value in (manifest.get("binaryData") or {}).items()}
    return {key: str(value).encode() for key, value in (manifest.get("data") or {}).items()} | binary | entries
