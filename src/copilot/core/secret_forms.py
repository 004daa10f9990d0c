"""How a secret may be spelled in a text: raw, hex, base64, percent-encoded, JSON-escaped. Pure and light.

The spellings are computed here without ``base64``, ``json`` and ``urllib``, whose imports would cost more than a task's start.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import Final

_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")
_SHORT_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_HTML: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
_LINES: Final = (64, 76)  # OpenSSL's, and MIME's, base64(1)'s and Python's
_SENSITIVE: Final = ("pass", "pwd", "secret", "token", "key", "cred", "private", "auth", "cert", "dsn", "conn")
_SHORTEST_LEAF: Final = 8
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_FIRST_PRINTABLE: Final = 0x20
_LAST_ASCII: Final = 0x7E
_LAST_OF_PLANE_0: Final = 0xFFFF


def forms(value: bytes) -> Iterator[tuple[bytes, str]]:
    """Every spelling of ``value`` that is looked for, with the form's name: ``raw``, ``hex``, ``base64``, ``url``, ``json``.

    Base64 comes whole, and in all three positions without the letters that depend on what stands before and after; where the
    value begins the text, also in lines.
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
        if position == 0:
            for width in _LINES:
                lines = [certain[at : at + width] for at in range(0, len(certain), width)]
                yield b"\n".join(lines), "base64"
                yield b"\r\n".join(lines), "base64"
    # As Python, JavaScript (encodeURIComponent) and forms write it; some use lower-case digits.
    for safe in (b"", b"/", b"!'()*", b" "):
        for digits in (b"%%%02X", b"%%%02x"):
            escaped = percent(value, safe=safe, digits=digits)
            yield escaped.replace(b" ", b"+") if safe == b" " else escaped, "url"
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return
    yield json_escaped(text, ascii_only=True).encode(), "json"
    yield json_escaped(text, ascii_only=False).encode(), "json"
    # Go escapes what HTML would take for its own.
    yield "".join(_HTML.get(letter) or _json_letter(letter, ascii_only=False) for letter in text).encode(), "json"


def percent(value: bytes, *, safe: bytes, digits: bytes = b"%%%02X") -> bytes:
    """``value`` percent-encoded, but for unreserved characters (RFC 3986) and those in ``safe``."""
    return b"".join(b"%c" % byte if byte in _UNRESERVED or byte in safe else digits % byte for byte in value)


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


def leaves(value: bytes, *, sensitive: bool = False) -> list[bytes]:
    """The texts inside a JSON secret that are long enough to be looked for; with ``sensitive`` only under names that say so."""
    if value[:1] not in {b"{", b"["}:
        return []
    import json  # noqa: PLC0415 - only a JSON secret pays for it

    try:
        document = json.loads(value)
    except ValueError:
        return []
    found: list[bytes] = []

    def walk(node: object, *, telling: bool) -> None:
        if isinstance(node, dict):
            for name, child in node.items():
                walk(child, telling=telling or any(word in name.lower() for word in _SENSITIVE))
        elif isinstance(node, list):
            for child in node:
                walk(child, telling=telling)
        elif isinstance(node, str) and len(node) >= _SHORTEST_LEAF and (telling or not sensitive):
            found.append(node.encode())

    walk(document, telling=False)
    return found
