"""The nearest of the known words, for "did you mean"."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``Did you mean X?``, or nothing where no known word is near."""
    import difflib  # noqa: PLC0415 - only for a mistake

    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else ""
