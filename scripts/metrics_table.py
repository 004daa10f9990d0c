"""Writes the table of the server's metrics in docs/kubernetes.md from the metrics themselves; ``--check`` only compares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from copilot.control_plane.api.metrics import ServerMetrics

PAGE = Path(__file__).resolve().parent.parent / "docs" / "kubernetes.md"
BEGIN, END = "<!-- made: metrics -->", "<!-- end -->"


def rows() -> Iterator[str]:
    """A row a metric."""
    for family in sorted(ServerMetrics(lambda: 0.0).registry.collect(), key=lambda family: family.name):
        if not family.name.startswith("copilot_"):
            continue
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        yield f"| `{name}` | {family.type} | {', '.join(f'`{label}`' for label in labels)} | {family.documentation} |"


def main() -> int:
    """Writes, or checks."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    table = "\n".join(["| metric | kind | labels | what |", "|---|---|---|---|", *rows()])
    wanted = f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"
    if wanted == page:
        return 0
    if "--check" in sys.argv:
        print("docs/kubernetes.md is not as the metrics are: run scripts/metrics_table.py")
        return 1
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
