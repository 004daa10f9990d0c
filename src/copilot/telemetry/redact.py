"""Masks secret values in every line that leaves the process: as they are, and in the spellings they travel in.

A value is registered once, as bytes; ``mask`` then replaces it wherever it stands, in every form of ``core.secret_forms``.
"""

from __future__ import annotations

import re
import threading
from typing import Final

from copilot.core.secret_forms import forms

MASK: Final = "***"

#: Values shorter than this many bytes are not masked: they would blank out ordinary words and give the secret away by that.
MIN_SECRET_BYTES: Final = 4


def spellings(value: bytes) -> frozenset[str]:
    """Every text that ``Redactor`` looks for; none for a value too short to mask. What is no UTF-8 stands in no text."""
    if len(value) < MIN_SECRET_BYTES:
        return frozenset()
    texts = (_text(form) for form, _ in forms(value))
    return frozenset(text for text in texts if len(text) >= MIN_SECRET_BYTES)


def _text(form: bytes) -> str:
    try:
        return form.decode()
    except UnicodeDecodeError:
        return ""


class Redactor:
    """The set of known secrets of this process. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._stale = False

    def register(self, value: bytes) -> None:
        """From now on ``value`` is masked in all its spellings. Trailing line ends are masked with and without."""
        with self._lock:
            for candidate in {value, value.strip(), *value.splitlines()}:
                self._forms.update(spellings(candidate))
            self._stale = bool(self._forms)

    def mask(self, text: str) -> str:
        """``text`` with every known secret replaced by ``***``."""
        if self._stale:  # compiled once for all that came since the last line: a pod may have hundreds
            self._compile()
        pattern = self._pattern
        return pattern.sub(MASK, text) if pattern else text

    def _compile(self) -> None:
        with self._lock:
            if self._stale:  # not by another thread meanwhile
                longest_first = sorted(self._forms, key=lambda form: (-len(form), form))
                self._pattern = re.compile("|".join(map(re.escape, longest_first)))
                self._stale = False
