"""YAML as the reference writes ``inputs.yaml``, byte for byte.

The reference turns the JSON document into YAML with Go's ``yaml.v2``. What shows of that: block style, lists not indented below
their key, keys in natural order (``a9`` before ``a10``), plain scalars wherever YAML 1.1 reads them back as the same string,
strings that another reader could take for something else in double quotes (``"n"``, ``"1e3"``, ``"12:30"``), others that cannot
be plain in single quotes, text with line feeds as a literal block, long text folded at column 80, and numbers read from their
JSON text again (a float that is whole becomes an integer). Sources: the YAML 1.1 specification, and what ``yaml.v2`` 2.4 does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cmp_to_key
from typing import Final

from copilot.core.json_text import Value, exponent_form, json_float
from copilot.core.yaml_scalar import Placed, is_simple_key, scalar

_INDENT: Final = 2
_UINT64_MAX: Final = 2**64 - 1
_INT64_MIN: Final = -(2**63)
_INTEGER: Final = re.compile(r"-?[0-9]+")
_FIXED_FROM: Final = 1e-4
_FIXED_BELOW: Final = 1e6


def to_yaml(value: Mapping[str, Value]) -> str:
    """The document, with a line feed at its end.

    Raises:
        ValueError: a float that is NaN or infinite (the document is made by way of JSON, which has no word for it).
    """
    writer = _Writer()
    writer.node(value, indent=-_INDENT, below_key=False)
    return writer.text()


class _Writer:
    """Writes block style. ``indent`` is the parent's; ``below_key`` says that the node is the value of a simple key."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._column = 0
        self._fresh = True  # only indentation or an indicator stands on the line: a block may begin right here

    def text(self) -> str:
        if self._column:
            self._out.append("\n")
        return "".join(self._out)

    def node(self, value: Value, *, indent: int, below_key: bool) -> None:
        if isinstance(value, Mapping):
            self._mapping(value, indent=indent + _INDENT) if value else self._word("{}")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            self._sequence(value, indent=max(indent, 0) if below_key else indent + _INDENT) if value else self._word("[]")
        elif isinstance(value, str):
            self._scalar(value, indent=indent + _INDENT, key=False)
        else:
            self._word(_word_of(value))

    def _mapping(self, value: Mapping[str, Value], *, indent: int) -> None:
        for key in sorted(value, key=_natural_order):
            self._start_line(indent)
            simple = is_simple_key(key)
            if not simple:
                self._indicator("?")
            self._scalar(key, indent=indent + _INDENT, key=simple)
            if simple:
                self._put(":")
                self._fresh = False
            else:
                self._start_line(indent)
                self._indicator(":")
            self.node(value[key], indent=indent, below_key=simple)

    def _sequence(self, value: Sequence[Value], *, indent: int) -> None:
        for item in value:
            self._start_line(indent)
            self._indicator("-")
            self.node(item, indent=indent, below_key=False)

    def _indicator(self, sign: str) -> None:
        self._put(sign)
        self._fresh = True

    def _start_line(self, indent: int) -> None:
        if self._column > indent or (self._column and not self._fresh):
            self._out.append("\n")
            self._column = 0
        if self._column < indent:
            self._put(" " * (indent - self._column))

    def _word(self, text: str) -> None:
        self._put(f" {text}" if self._column else text)
        self._fresh = False

    def _scalar(self, text: str, *, indent: int, key: bool) -> None:
        blank = " " if self._column and not self._out[-1].endswith(" ") else ""
        self._put(blank)
        placed: Placed = scalar(text, column=self._column, indent=indent, key=key)
        self._out.append(placed.text)
        self._column = placed.column
        self._fresh = False

    def _put(self, text: str) -> None:
        if text:
            self._out.append(text)
            self._column += len(text)


def _word_of(value: bool | float | None) -> str:  # noqa: FBT001 — a value, not a switch
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    text = json_float(value)
    if _INTEGER.fullmatch(text) and _INT64_MIN <= int(text) <= _UINT64_MAX:
        return str(int(text))
    return text if _FIXED_FROM <= abs(value) < _FIXED_BELOW else exponent_form(value)


def _natural_order_of(left: str, right: str) -> int:
    for at, (a, b) in enumerate(zip(left, right, strict=False)):
        if a == b:
            continue
        if a.isalpha() and b.isalpha():
            return -1 if a < b else 1
        if a.isalpha() or b.isalpha():
            return 1 if a.isalpha() else -1
        return _order_of_numbers(left, right, at)
    return len(left) - len(right)


def _order_of_numbers(left: str, right: str, at: int) -> int:
    # A zero counts as a digit of a number that began before the difference ("a10" after "a9"), else as a leading zero.
    a_number = b_number = int("0" in {left[at], right[at]} and _inside_number(left, at))
    a_end = b_end = at
    while a_end < len(left) and left[a_end].isdecimal():
        a_number = a_number * 10 + int(left[a_end])
        a_end += 1
    while b_end < len(right) and right[b_end].isdecimal():
        b_number = b_number * 10 + int(right[b_end])
        b_end += 1
    if a_number != b_number:
        return -1 if a_number < b_number else 1
    if a_end != b_end:
        return -1 if a_end < b_end else 1
    return -1 if left[at] < right[at] else 1


def _inside_number(text: str, at: int) -> bool:
    before = at - 1
    while before >= 0 and text[before].isdecimal():
        if text[before] != "0":
            return True
        before -= 1
    return False


_natural_order = cmp_to_key(_natural_order_of)
