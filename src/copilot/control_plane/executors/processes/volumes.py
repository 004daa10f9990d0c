"""A pod's volumes as directories of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from copilot.control_plane.executors.processes.expansion import ConfigError, ObjectData, field_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MEMORY: Final = Path("/dev/shm")  # noqa: S108  the machine's own memory file system, not a temporary file


def memory_directory(uid: str) -> Path:
    """Where a pod's volumes in memory lie; they go with the pod."""
    return MEMORY / f"copilot-pod-{uid}"


def prepare_volumes(pod: Mapping[str, Any], place: Path, data: ObjectData) -> dict[str, Path]:
    """Makes every volume and fills those that have content.

    Raises:
        ConfigError: a Secret or ConfigMap is missing, or the kind of volume cannot be had on one machine.
    """
    uid = str(pod["metadata"].get("uid") or pod["metadata"]["name"])
    in_memory = memory_directory(uid) if os.path.ismount(MEMORY) else place / "memory"
    volumes: dict[str, Path] = {}
    for volume in pod["spec"].get("volumes") or ():
        name = str(volume["name"])
        if "hostPath" in volume:
            volumes[name] = Path(volume["hostPath"]["path"])
            continue
        kind = next((each for each in ("emptyDir", "secret", "configMap", "downwardAPI", "projected") if each in volume), None)
        if kind is None:
            raise ConfigError(f'volume "{name}" is of a kind that one machine does not have')
        memory = kind in {"secret", "projected"} or (volume[kind] or {}).get("medium") == "Memory"
        directory = (in_memory if memory else place / "volumes") / name
        directory.mkdir(parents=True, exist_ok=True)
        if memory:
            in_memory.chmod(0o700)
        directory.chmod(0o777 if kind == "emptyDir" else 0o755)
        if kind != "emptyDir":
            source = volume[kind]
            _fill(directory, _files(kind, source, pod, data), int(source.get("defaultMode") or 0o644))
        volumes[name] = directory
    return volumes


def remove_memory(pod: Mapping[str, Any]) -> None:
    """Frees a pod's volumes in memory."""
    shutil.rmtree(memory_directory(str(pod["metadata"].get("uid") or pod["metadata"]["name"])), ignore_errors=True)


def _files(
    kind: str, source: Mapping[str, Any], pod: Mapping[str, Any], data: ObjectData
) -> Iterable[tuple[str, bytes, int | None]]:
    if kind == "projected":
        for part in source.get("sources") or ():
            yield from _projected(part, pod, data)
        return
    if kind == "downwardAPI":
        for item in source.get("items") or ():
            yield item["path"], field_value(pod, item["fieldRef"]["fieldPath"]).encode(), item.get("mode")
        return
    name = source.get("secretName") or source.get("name") or ""
    entries = data("Secret" if kind == "secret" else "ConfigMap", name)
    if entries is None:
        if source.get("optional"):
            return
        raise ConfigError(f'{kind.lower()} "{name}" not found')
    for item in source.get("items") or [{"key": key, "path": key} for key in entries]:
        if item["key"] in entries:
            yield item["path"], entries[item["key"]], item.get("mode")
        elif not source.get("optional"):
            raise ConfigError(f"references non-existent {kind.lower()} key: {item['key']}")


def _projected(part: Mapping[str, Any], pod: Mapping[str, Any], data: ObjectData) -> Iterable[tuple[str, bytes, int | None]]:
    if "serviceAccountToken" in part:
        account = str(pod["spec"].get("serviceAccountName") or "default")
        token = data("ServiceAccountToken", account)
        if token is None:
            raise ConfigError("a service account's token cannot be had without a cluster")
        yield part["serviceAccountToken"]["path"], token["token"], None
    for kind in ("secret", "configMap", "downwardAPI"):
        if kind in part:
            yield from _files(kind, part[kind], pod, data)


def _fill(directory: Path, files: Iterable[tuple[str, bytes, int | None]], mode: int) -> None:
    for name, content, own_mode in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ConfigError(f"a volume's path {name!r} leaves its volume")
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        target.chmod(own_mode or mode)
