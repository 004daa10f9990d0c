"""Writes the chart's values.yaml and its table in docs/kubernetes.md from values.schema.json; ``--check`` only compares."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "deploy" / "helm" / "copilot"
PAGE = ROOT / "docs" / "kubernetes.md"
BEGIN, END = "<!-- made: chart-values -->", "<!-- end -->"


def values_text(properties: Mapping[str, Any], depth: int = 0) -> str:
    """``values.yaml``: every value with its default, under what it means."""
    pad, lines = "  " * depth, []
    for name, schema in properties.items():
        if "properties" in schema:
            lines.append(f"{pad}{name}:\n{values_text(schema['properties'], depth + 1)}")
        else:
            lines.append(f"{pad}# {schema['description']}\n{pad}{name}: {json.dumps(schema['default'])}\n")
    return "".join(lines)


def rows(properties: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The table's rows."""
    for name, schema in properties.items():
        if "properties" in schema:
            yield from rows(schema["properties"], f"{prefix}{name}.")
            continue
        kind = ", ".join(schema["enum"]) if "enum" in schema else schema["type"]
        yield f"| `{prefix}{name}` | {kind} | `{json.dumps(schema['default'])}` | {schema['description']} |"


def page_text(page: str, properties: Mapping[str, Any]) -> str:
    """The page with the table of now."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    table = "\n".join(["| value | type | default | what |", "|---|---|---|---|", *rows(properties)])
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> int:
    """Writes, or checks."""
    properties = json.loads((CHART / "values.schema.json").read_text())["properties"]
    wanted = {
        CHART / "values.yaml": "# Made from values.schema.json by scripts/chart_values.py.\n" + values_text(properties),
        PAGE: page_text(PAGE.read_text(), properties),
    }
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not as values.schema.json says: run scripts/chart_values.py")
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
