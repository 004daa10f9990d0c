"""How a secret may be spelled in a text: raw, hex, base64, percent-encoded, JSON-escaped. Pure and light.

The spellings are computed here without ``base64``, ``json`` and ``urllib``, whose imports would cost more than a task's start.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import Final

_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")
_SHORT_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_FIRST_PRINTABLE: Final = 0x20
_LAST_ASCII: Final = 0x7E
_LAST_OF_PLANE_0: Final = 0xFFFF


def forms(value: bytes) -> Iterator[tuple[bytes, str]]:
    """Every spelling of ``value`` that is looked for, with the form's name: ``raw``, ``hex``, ``base64``, ``url``, ``json``.

    Base64 comes whole, and in all three positions without the letters that depend on what stands before and after.
    """
    yield value, "raw"
    encoded = binascii.hexlify(value)
    yield encoded, "hex"
    yield encoded.upper(), "hex"
    whole = binascii.b2a_base64(value, newline=False)
    for padded in (whole, whole.rstrip(b"=")):
        yield padded, "base64"
        yield padded.translate(_URL_SAFE), "base64"
    for position in range(3):
        # A letter carries 6 bits: those wholly inside the value are the same whatever is around it.
        letters = binascii.b2a_base64(b"\0" * position + value, newline=False).rstrip(b"=")
        certain = letters[-(-position * 8 // 6) : (position + len(value)) * 8 // 6]
        yield certain, "base64"
        yield certain.translate(_URL_SAFE), "base64"
    everything = percent(value, safe=b"")
    for escaped in (everything, percent(value, safe=b"/"), percent(value, safe=b" ").replace(b" ", b"+"), everything.lower()):
        yield escaped, "url"
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return
    yield json_escaped(text, ascii_only=True).encode(), "json"
    yield json_escaped(text, ascii_only=False).encode(), "json"


def percent(value: bytes, *, safe: bytes) -> bytes:
    """``value`` percent-encoded, but for unreserved characters (RFC 3986) and those in ``safe``."""
    return b"".join(b"%c" % byte if byte in _UNRESERVED or byte in safe else b"%%%02X" % byte for byte in value)


def json_escaped(text: str, *, ascii_only: bool) -> str:
    """``text`` as it stands between the quotes of a JSON string (RFC 8259)."""
    return "".join(_json_letter(letter, ascii_only=ascii_only) for letter in text)


def _json_letter(letter: str, *, ascii_only: bool) -> str:
    if letter in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[letter]
    code = ord(letter)
    if code >= _FIRST_PRINTABLE and (code <= _LAST_ASCII or not ascii_only):
        return letter
    if code > _LAST_OF_PLANE_0:
        code -= 0x10000
        return f"\\u{0xD800 | code >> 10:04x}\\u{0xDC00 | code & 0x3FF:04x}"
    return f"\\u{code:04x}"
