"""Makes ``control_plane/pod_templates/fields.json`` from the Kubernetes schemas of kubernetes-validate.

``python -m copilot.testing.pod_fields`` writes it anew; a test compares.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

VERSION: Final = "1.37.0"
_PREFIX: Final = "io.k8s.api.core.v1."
_PLAIN: Final = {"boolean", "integer", "number", "string"}


def pod_fields(version: str = VERSION) -> dict[str, dict[str, str]]:
    """Every object a pod's spec can hold: field name → its type.

    A type is ``boolean``, ``integer``, ``number``, ``string``, ``quantity``, ``any``, an object's name, ``map`` of one of these
    (``map string``), ``list`` of one (``list string``) or a list that merges by a key (``list Container by name``).
    """
    root = resources.files("kubernetes_validate").joinpath(f"kubernetes-json-schema/v{version}-local-strict/_definitions.json")
    definitions: Mapping[str, Any] = json.loads(root.read_text())["$defs"]
    found: dict[str, dict[str, str]] = {}
    wanted = ["PodSpec"]
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        properties = _definition(name, definitions).get("properties") or {}
        found[name] = {field: _type(schema, definitions, wanted) for field, schema in sorted(properties.items())}
    return dict(sorted(found.items()))


def _definition(name: str, definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = definitions.get(_PREFIX + name) or next(
        each for key, each in definitions.items() if key.endswith("." + name)
    )
    return found


def _type(schema: Mapping[str, Any], definitions: Mapping[str, Any], wanted: list[str]) -> str:
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition(".")[2]
        target = _definition(name, definitions)
        if target.get("properties"):
            wanted.append(name)
            return name
        return {"Quantity": "quantity", "IntOrString": "any"}.get(name) or _type(target, definitions, wanted)
    kinds = schema.get("type", [])
    kind = next((each for each in ([kinds] if isinstance(kinds, str) else kinds) if each != "null"), "any")
    if kind == "array":
        inner = _type(schema["items"], definitions, wanted)
        merges = "x-kubernetes-patch-merge-key" in schema
        return f"list {inner} by {schema['x-kubernetes-patch-merge-key']}" if merges else f"list {inner}"
    if kind == "object":
        inner_schema = schema.get("additionalProperties")
        return f"map {_type(inner_schema, definitions, wanted)}" if isinstance(inner_schema, Mapping) else "any"
    return kind if kind in _PLAIN else "any"


def main() -> None:
    """Writes the file."""
    target = Path(__file__).parent.parent / "control_plane" / "pod_templates" / "fields.json"
    target.write_text(json.dumps(pod_fields(), indent=1) + "\n")


if __name__ == "__main__":
    main()
