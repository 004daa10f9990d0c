"""How a manifest is refused."""

from __future__ import annotations

from copilot.core.errors import PodRefused


def refused(where: str, what: str, *, hint: str = "") -> PodRefused:
    """The error to raise: ``where``, the document or field, ``what`` (``has …``, ``is …``), and what to do instead."""
    return PodRefused(f"{where} {what}", op="wrap", subject=where, hint=hint)
