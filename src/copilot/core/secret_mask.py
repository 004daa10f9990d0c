"""Masks secrets in a stream, over the seams of its chunks, and holds back no more than may be the beginning of one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from copilot.core.secret_forms import forms, leaves

MASK: Final = b"***"
SHORTEST_BYTES: Final = 6
"""Shorter values are not looked for: they would be found everywhere, and their absence would give them away."""

_SHORTEST_LINE: Final = 16
_PROBE_BYTES: Final = 8
_PATIENCE: Final = 4


class StreamMask:
    """One stream's mask. Feed it chunks in order, and ``finish`` it.

    Args:
        values: what must not be seen, in none of its spellings; of a JSON secret neither the fields whose names sound secret.
    """

    def __init__(self, values: Iterable[bytes]) -> None:
        """See the class."""
        self._needles: list[bytes] = []
        self._longest = 0
        self._held = b""
        self.learn(values)

    def learn(self, values: Iterable[bytes]) -> None:
        """From the next chunk on these must not be seen either."""
        found = {
            form
            for value in values
            for text in (value, value.strip(), *leaves(value, sensitive=True))
            for form in spellings(text)
        }
        # Each line alone as well: where a log is kept, something may stand before each (a time, an indent).
        found |= {
            line
            for form in found
            if b"\n" in form
            for line in map(bytes.strip, form.splitlines())
            if len(line) >= _SHORTEST_LINE
        }
        if not found.issubset(self._needles):
            self._needles = sorted(found.union(self._needles), key=lambda needle: (-len(needle), needle))
            self._longest = len(self._needles[0])

    def feed(self, chunk: bytes) -> bytes:
        """What may be passed on now."""
        window = self._held + chunk
        spans = self._spans(window)
        border = self._border(window)
        # A secret that reaches over the border waits whole: it may be a part of a longer one.
        for start, end in spans:
            if start < border < end:
                border = start if len(window) - start <= _PATIENCE * self._longest else end
                break
        self._held = window[border:]
        return self._masked(window, border, spans)

    def finish(self) -> bytes:
        """What is left."""
        window, self._held = self._held, b""
        return self._masked(window, len(window), self._spans(window))

    def _spans(self, window: bytes) -> list[tuple[int, int]]:
        """Where secrets stand, in order, those that overlap or touch as one."""
        found: list[tuple[int, int]] = []
        for needle in self._needles:
            at = window.find(needle)
            while at >= 0:
                found.append((at, at + len(needle)))
                at = window.find(needle, at + 1)
        merged: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged

    def _border(self, window: bytes) -> int:
        """Where the first ending begins that a secret may begin with."""
        border = len(window)
        for needle in self._needles:
            first = max(0, len(window) - len(needle) + 1)
            probe = needle[:_PROBE_BYTES]
            at = window.find(probe, first)
            while 0 <= at < border:
                if needle.startswith(window[at:]):
                    border = at
                    break
                at = window.find(probe, at + 1)
            for length in range(min(len(probe), len(needle)) - 1, 0, -1):
                if len(window) - length < border and window.endswith(needle[:length]):
                    border = len(window) - length
                    break
        return border

    @staticmethod
    def _masked(window: bytes, border: int, spans: list[tuple[int, int]]) -> bytes:
        parts, at = [], 0
        for start, end in spans:
            if start >= border:
                break
            parts += [window[at:start], MASK]
            at = end
        return b"".join([*parts, window[at:border]])


def spellings(value: bytes) -> list[bytes]:
    """The forms of ``value`` that are long enough to be looked for; none of a value that is not."""
    if len(value) < SHORTEST_BYTES:
        return []
    return [form for form, _ in forms(value) if len(form) >= SHORTEST_BYTES]
