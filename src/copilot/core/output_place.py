"""Where a value of an output was looked for, and the sentences that name it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from copilot.core.errors import BadOutput
from copilot.core.types_text import type_text
from copilot.core.uri import join

if TYPE_CHECKING:
    from copilot.core import idl

_SHOWN_CHARACTERS: Final = 40


@dataclass(frozen=True, slots=True)
class Place:
    """One value among a task's outputs.

    Attributes:
        variable: the output it belongs to.
        label: the way to it, for messages: ``scores``, ``scores[2].train``.
        path: the file or directory looked at, as the task would write it.
        uri: where its bytes go if it has any of its own; empty below a map's key that cannot be a part of a URI.
    """

    variable: str
    label: str
    path: str
    uri: str

    def element(self, index: int, path: str | None = None) -> Place:
        """The element of a list."""
        return replace(self, label=f"{self.label}[{index}]", path=path or self.path, uri=_below(self.uri, str(index)))

    def entry(self, key: str, path: str | None = None) -> Place:
        """The entry of a map."""
        return replace(self, label=f"{self.label}.{key}", path=path or self.path, uri=_below(self.uri, key))


def _below(uri: str, name: str) -> str:
    safe = uri and name and "/" not in name and "\0" not in name and name not in {".", ".."}
    return join(uri, name) if safe else ""


def misfit(place: Place, wanted: idl.LiteralType | str, problem: str, *, hint: str = "") -> BadOutput:
    """The error for a value that is not of its type: variable, path, type wanted, what was found, how to mend it.

    Args:
        place: where it was found.
        wanted: its type, or words for it.
        problem: a clause that follows ``but``: ``'1_000' is not an integer``.
        hint: the next thing to try.
    """
    words = wanted if isinstance(wanted, str) else type_text(wanted)
    return BadOutput(
        f"output {place.label!r} should be {words}, but in {place.path} {problem}",
        op="plan",
        subject=place.variable,
        hint=hint,
    )


def shown(value: str | bytes) -> str:
    """The beginning of what was found, safe to print: quoted, without control characters, at most 40 characters of it."""
    if isinstance(value, bytes):
        value = value[: 4 * _SHOWN_CHARACTERS + 4].decode("utf-8", "replace") + "…" * (len(value) > 4 * _SHOWN_CHARACTERS + 4)
    if not value:
        return "an empty text"
    if len(value) <= _SHOWN_CHARACTERS:
        return repr(value)
    return f"{value[:_SHOWN_CHARACTERS]!r}…"
