"""Masks secret values in every line that leaves the process: as they are, and in the spellings they travel in.

A value is registered once, as bytes; ``mask`` then replaces it wherever it stands: raw, JSON-escaped, percent-encoded, hex,
and base64 (standard and URL-safe, with and without padding, also when it is part of a longer encoded text such as
``user:password``).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"

#: Values shorter than this many bytes are not masked: they would blank out ordinary words and give the secret away by that.
MIN_SECRET_BYTES: Final = 4

# How many leading characters of a base64 text depend on what stands before the value, by how far it is off a 3-byte border.
_LEAD: Final = (0, 2, 3)


def forms(value: bytes) -> frozenset[str]:
    """Every spelling of ``value`` that ``Redactor`` looks for; empty for a value too short to mask."""
    if len(value) < MIN_SECRET_BYTES:
        return frozenset()
    found: set[str] = {binascii.hexlify(value).decode(), binascii.hexlify(value).decode().upper()}
    found.update((quote(value, safe=""), quote(value), quote_plus(value)))
    try:
        text = value.decode()
    except UnicodeDecodeError:
        pass
    else:
        found.update((text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]))
    found.update(_base64_forms(value))
    return frozenset(form for form in found if len(form) >= MIN_SECRET_BYTES)


def _base64_forms(value: bytes) -> set[str]:
    found: set[str] = set()
    for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
        whole = encode(value).decode()
        found.update((whole, whole.rstrip("=")))
        for shift, lead in enumerate(_LEAD):
            padded = encode(b"\0" * shift + value).decode()
            certain = (shift + len(value)) // 3 * 4
            found.add(padded[lead:certain])
    return found


class Redactor:
    """The set of known secrets of this process. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def register(self, value: bytes) -> None:
        """From now on ``value`` is masked in all its spellings. Trailing line ends are masked with and without."""
        with self._lock:
            for candidate in {value, value.strip(), *value.splitlines()}:
                self._forms.update(forms(candidate))
            if self._forms:
                longest_first = sorted(self._forms, key=lambda form: (-len(form), form))
                self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def mask(self, text: str) -> str:
        """``text`` with every known secret replaced by ``***``."""
        pattern = self._pattern
        return pattern.sub(MASK, text) if pattern else text
