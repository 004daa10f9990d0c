"""The nearest of the known words, for "did you mean"."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``Did you mean X?``, or nothing where no known word is near."""
    import difflib  # noqa: PLC0415 - only for a mistake

    bare = {name.lstrip("-"): name for name in sorted(known)}  # the dashes that all flags share make none of them alike
    near = difflib.get_close_matches(word.lstrip("-"), bare, n=1, cutoff=0.6)
    return f"Did you mean {bare[near[0]]}?" if near else ""
