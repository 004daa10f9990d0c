"""One string as a YAML scalar: which style it needs, and its text with folds and escapes. See ``yaml_text`` for the sources."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from copilot.core.gotext import parse_float

_BEST_WIDTH: Final = 80
_SIMPLE_KEY_BYTES: Final = 128
_BYTE_ORDER_MARK: Final = "\ufeff"
_BREAKS: Final = "\r\n\x85\u2028\u2029"
_BLANKS: Final = f" \t{_BREAKS}"
_FIRST_FORBIDDEN: Final = frozenset("#,[]{}&*!|>'\"%@`")

_NO_ESCAPE: Final = r"\n -~\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd"
_UNPRINTABLE = re.compile(f"[^{_NO_ESCAPE}]")
_TO_ESCAPE = re.compile(rf'[^{_NO_ESCAPE}]|[{_BREAKS}"\\]')
_BREAK = re.compile(f"[{_BREAKS}]")
_SPACE_BREAK = re.compile(f" [{_BREAKS}]")
_BREAK_SPACE = re.compile(f"[{_BREAKS}] ")
_INDICATOR = re.compile(rf":(?:[{_BLANKS}]|\Z)|(?<=[{_BLANKS}])#")
_LINE = re.compile(f"[^{_BREAKS}]+")
_WORDS_AND_SPACES = re.compile(" +|[^ ]+")

_ESCAPES: Final = {
    "\0": "0",
    "\x07": "a",
    "\x08": "b",
    "\t": "t",
    "\n": "n",
    "\x0b": "v",
    "\x0c": "f",
    "\r": "r",
    "\x1b": "e",
    '"': '"',
    "\\": "\\",
    "\x85": "N",
    "\xa0": "_",
    "\u2028": "L",
    "\u2029": "P",
}

# Words YAML 1.1 reads as something else than a string.
_WORDS: Final = frozenset(
    word
    for lower in ("y", "yes", "true", "on", "n", "no", "false", "off", "null")
    for word in (lower, lower.capitalize(), lower.upper())
) | frozenset(["~", ".nan", ".NaN", ".NAN"] + [sign + word for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")])
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_INTEGERS = (
    (re.compile(r"[-+]?0[xX]([0-9a-fA-F]+)"), 16),
    (re.compile(r"[-+]?0[oO]?([0-7]+)"), 8),
    (re.compile(r"[-+]?0[bB]([01]+)"), 2),
    (re.compile(r"0b[-+]([01]+)"), 2),
    (re.compile(r"[-+]?([1-9][0-9]*|0)"), 10),
)
_TIME = re.compile(
    r"(?P<y>[0-9]{4})-(?P<m>[0-9]{1,2})-(?P<d>[0-9]{1,2})"
    r"(?:(?P<sep>[Tt ])(?P<H>[0-9]{1,2}):(?P<M>[0-9]{1,2}):(?P<S>[0-9]{1,2})(?:[.,][0-9]+)?(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})?)?"
)


@dataclass(frozen=True, slots=True)
class Placed:
    """A scalar's text, and the column its last line ends in."""

    text: str
    column: int


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a string's characters allow."""

    plain: bool
    single: bool
    block: bool


def is_simple_key(text: str) -> bool:
    """Whether the text can stand before a ``:`` on one line (else it is written after a ``?``)."""
    if len(text) > _SIMPLE_KEY_BYTES or _BREAK.search(text):
        return False
    return len(text.encode("utf-8", "surrogatepass")) <= _SIMPLE_KEY_BYTES


def scalar(text: str, *, column: int, indent: int, key: bool) -> Placed:
    """The text in the style it needs, begun in ``column``; further lines are indented by ``indent``; a ``key`` never folds."""
    shape = _shape_of(text)
    if "\n" in text and shape.block and not key:
        return _literal(text, indent)
    if "\n" not in text and not _reads_as_a_string(text):
        return _double_quoted(text, column, indent, fold=not key)
    if shape.plain and "\n" not in text:
        return _folded(text, column, indent, fold=not key)
    if shape.single and "\n" not in text:
        quoted = _folded(text.replace("'", "''"), column + 1, indent, fold=not key, quoted=True)
        return Placed(f"'{quoted.text}'", quoted.column + 1)
    return _double_quoted(text, column, indent, fold=not key)


def _reads_as_a_string(text: str) -> bool:
    if not text or text in _WORDS or _BASE_60.fullmatch(text):
        return False
    first = text[0]
    if first == ".":
        return not _is_float(text)
    if first not in "+-0123456789":
        return True
    digits = text.replace("_", "")
    return not (_is_time(text) or _is_integer(digits) or (_FLOAT.fullmatch(digits) and _is_float(digits)))


def _is_float(text: str) -> bool:
    try:
        parse_float(text)
    except ValueError:  # also one that is too large
        return False
    return True


def _is_integer(text: str) -> bool:
    for pattern, base in _INTEGERS:
        match = pattern.fullmatch(text)
        if match:
            number = int(match[1], base) if len(match[1]) <= 100 else 2**64  # noqa: PLR2004 — surely too large for 64 bits
            return -number >= -(2**63) if text.startswith("-") else number < 2**64
    return False


def _is_time(text: str) -> bool:
    match = _TIME.fullmatch(text)
    if match is None or (match["sep"] in {"T", "t"}) != (match["zone"] is not None):
        return False
    try:
        datetime(
            int(match["y"]) or 400,
            int(match["m"]),
            int(match["d"]),
            int(match["H"] or 0),
            int(match["M"] or 0),
            int(match["S"] or 0),
            tzinfo=UTC,
        )
    except ValueError:
        return False
    return True


def _shape_of(text: str) -> _Shape:
    impossible = bool(_UNPRINTABLE.search(text) or _SPACE_BREAK.search(text))
    breaks = bool(_BREAK.search(text))
    at_edge = any(char == " " or char in _BREAKS for char in text[:1] + text[-1:])
    return _Shape(
        plain=not (impossible or at_edge or breaks or _has_indicator(text)),
        single=not (impossible or _BREAK_SPACE.search(text)),
        block=not (impossible or text.endswith(" ")),
    )


def _has_indicator(text: str) -> bool:
    """Whether a reader could take a part of the plain text for YAML's own signs."""
    if text.startswith(("---", "...")) or text[:1] in _FIRST_FORBIDDEN:
        return True
    if text[:1] in {"?", "-"} and (len(text) == 1 or text[1] in _BLANKS):
        return True
    return bool(_INDICATOR.search(text))


def _folded(text: str, column: int, indent: int, *, fold: bool, quoted: bool = False) -> Placed:
    if _BREAK.search(text):
        return _folded_with_breaks(text, column, indent, fold=fold, quoted=quoted)
    if not fold or column + len(text) <= _BEST_WIDTH:
        return Placed(text, column + len(text))
    out: list[str] = []
    for match in _WORDS_AND_SPACES.finditer(text):
        piece = match[0]
        at_edge = quoted and (match.start() == 0 or match.end() == len(text))
        if piece == " " and column > _BEST_WIDTH and not at_edge:
            out.append("\n" + " " * indent)
            column = indent
        else:
            out.append(piece)
            column += len(piece)
    return Placed("".join(out), column)


def _folded_with_breaks(text: str, column: int, indent: int, *, fold: bool, quoted: bool) -> Placed:
    """As ``_folded``, for U+2028 and U+2029: a reader keeps them and drops what indents the next line."""
    out: list[str] = []
    position = 0
    for number, line in enumerate(_BREAK.split(text)):
        begins = " " * indent if number and line else ""
        placed = _folded(line, len(begins) if number else column, indent, fold=fold, quoted=quoted)
        position += len(line) + 1
        out.append(begins + placed.text + text[position - 1 : position])
        column = placed.column
    return Placed("".join(out), column)


def _double_quoted(text: str, column: int, indent: int, *, fold: bool) -> Placed:
    if text.startswith(_BYTE_ORDER_MARK):  # yaml.v2 takes every character after one for another
        escaped = "".join(_escape_of(char) for char in text)
        return Placed(f'"{escaped}"', column + len(escaped) + 2)
    out = ['"']
    column += 1
    last = len(text) - 1
    for match in _WORDS_AND_SPACES.finditer(text):
        piece = match[0]
        if piece[0] != " ":
            piece = _TO_ESCAPE.sub(_escape, piece)
        elif fold and column > _BEST_WIDTH and 0 < match.start() < last:
            escape = "\\" if len(piece) > 1 else ""
            out.append("\n" + " " * indent)
            column = indent
            piece = escape + piece[1:]
        out.append(piece)
        column += len(piece)
    out.append('"')
    return Placed("".join(out), column + 1)


def _escape(match: re.Match[str]) -> str:
    return _escape_of(match[0])


def _escape_of(char: str) -> str:
    if char in _ESCAPES:
        return f"\\{_ESCAPES[char]}"
    code = ord(char)
    if code <= 0xFF:  # noqa: PLR2004 — two hex digits
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"  # noqa: PLR2004 — four hex digits


def _literal(text: str, indent: int) -> Placed:
    hint = str(2) if text[0] in f" {_BREAKS}" else ""
    if text[-1] not in _BREAKS:
        chomp = "-"
    elif len(text) == 1 or text[-2] in _BREAKS:
        chomp = "+"
    else:
        chomp = ""
    body = _LINE.sub(" " * indent + r"\g<0>", text)
    return Placed(f"|{hint}{chomp}\n{body}", 0 if text[-1] in _BREAKS else indent + 1)
