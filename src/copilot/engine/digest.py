"""CRC-32C of everything that moves, also when its parts moved out of order.

The algorithm is RFC 3720's (Castagnoli polynomial, reflected: 0x82F63B78). Two checksums combine without the bytes because a
CRC is a remainder of polynomials over GF(2): ``crc(a + b) = crc(a)·x^(8·len(b)) + crc(b)``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import google_crc32c

if TYPE_CHECKING:
    from collections.abc import Iterable

_POLYNOMIAL: Final = 0x82F63B78
_ONE: Final = 1 << 31
_X_TO_THE_8: Final = 1 << 23


def extend(crc: int, chunk: bytes | memoryview) -> int:
    """The checksum of what had ``crc``, with ``chunk`` after it."""
    # The C extension takes objects of immutable memory only. A view of a whole bytes object is that object; others are copied.
    whole = chunk.obj if isinstance(chunk, memoryview) else chunk
    if not isinstance(whole, bytes) or len(whole) != len(chunk):
        whole = bytes(chunk)
    result: int = google_crc32c.extend(crc, whole)
    return result


def text(crc: int) -> str:
    """As ``Receipt.digest`` spells it: ``crc32c:`` and eight hex digits."""
    return f"crc32c:{crc:08x}"


def combine(crc_a: int, crc_b: int, size_b: int) -> int:
    """The checksum of ``a + b`` from those of ``a`` and ``b`` and the length of ``b`` in bytes."""
    return _times(_x_to_the_8n(size_b), crc_a) ^ crc_b


def combine_all(parts: Iterable[tuple[int, int]]) -> int:
    """The checksum of parts in order, each given as ``(crc, size_bytes)``."""
    whole = 0
    for crc, size_bytes in parts:
        whole = combine(whole, crc, size_bytes)
    return whole


def _times(a: int, b: int) -> int:
    """The product of two polynomials modulo the CRC's. Bit 31 is the coefficient of x^0."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


@lru_cache(maxsize=64)  # a transfer knows few sizes of parts
def _x_to_the_8n(n: int) -> int:
    result, base = _ONE, _X_TO_THE_8
    while n:
        if n & 1:
            result = _times(base, result)
        base = _times(base, base)
        n >>= 1
    return result
