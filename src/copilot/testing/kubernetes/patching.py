"""The three kinds of patch that the API takes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from copilot.testing.kubernetes.errors import ApiError, bad_request

MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
JSON: Final = "application/json-patch+json"
_KEYS: Final = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "conditions": "type",
    "ownerReferences": "uid",
    "volumeMounts": "mountPath",
}
_SETS: Final = frozenset({"finalizers"})


def patched(target: Mapping[str, Any], patch: Any, content_type: str) -> dict[str, Any]:  # noqa: ANN401  any JSON
    """A changed copy of ``target``. Raises 400, 415 or 422."""
    kind = content_type.partition(";")[0].strip()
    if kind == JSON:
        return _json_patch(target, patch)
    if kind not in {MERGE, STRATEGIC}:
        raise ApiError(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {kind}")
    if not isinstance(patch, Mapping):
        raise bad_request("a patch must be an object")
    found: dict[str, Any] = _merge(target, patch, strategic=kind == STRATEGIC)
    return found


def _merge(target: Any, patch: Any, *, strategic: bool) -> Any:  # noqa: ANN401  any JSON
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            result[name] = [each for each in result.get(name) or [] if each not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            result.pop(key, None)
        elif strategic and key in _KEYS and isinstance(value, Sequence) and isinstance(result.get(key), list):
            result[key] = _merge_list(result[key], value, _KEYS[key])
        elif strategic and key in _SETS and isinstance(result.get(key), list):
            result[key] = [*result[key], *(each for each in value if each not in result[key])]
        else:
            result[key] = _merge(result.get(key), value, strategic=strategic)
    return result


def _merge_list(target: Sequence[Any], patch: Sequence[Any], key: str) -> list[Any]:
    result = {each.get(key): each for each in target}
    for each in patch:
        name = each.get(key)
        if each.get("$patch") == "delete":
            result.pop(name, None)
        else:
            result[name] = _merge(result.get(name) or {}, each, strategic=True)
    return list(result.values())


def _json_patch(target: Mapping[str, Any], operations: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON
    document: Any = copy.deepcopy(dict(target))
    if not isinstance(operations, list):
        raise bad_request("a JSON patch must be a list of operations")
    for operation in operations:
        path = [part.replace("~1", "/").replace("~0", "~") for part in str(operation.get("path", "")).split("/")[1:]]
        try:
            _apply(document, path, operation)
        except (KeyError, IndexError, ValueError, TypeError) as cause:
            raise ApiError(422, "Invalid", "the server rejected our request due to an error in our request") from cause
    found: dict[str, Any] = document
    return found


def _apply(document: Any, path: Sequence[str], operation: Mapping[str, Any]) -> None:  # noqa: ANN401  any JSON
    *way, last = path
    node = document
    for part in way:
        node = node[int(part)] if isinstance(node, list) else node[part]
    place: Any = last if not isinstance(node, list) else len(node) if last == "-" else int(last)
    match operation["op"]:
        case "test":
            if node[place] != operation["value"]:
                raise ValueError("test failed")
        case "remove":
            del node[place]
        case "replace":
            _ = node[place]  # it must be there
            node[place] = operation["value"]
        case "add" if isinstance(node, list):
            node.insert(place, operation["value"])
        case "add":
            node[place] = operation["value"]
        case unknown:
            raise ValueError(unknown)
