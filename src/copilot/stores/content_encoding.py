"""Bodies that a web server compresses though nobody asked for it: decoded as they come, to their very end.

What is labelled with a word that is no compression (``utf-8`` is frequent, some stores say ``aws-chunked``) is data as it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

DECODED: Final = frozenset({"gzip", "x-gzip", "deflate"})
_COMPRESSIONS: Final = DECODED | {"br", "zstd", "compress", "x-compress", "dcb", "dcz"}

_GZIP: Final = 16 + zlib.MAX_WBITS
_PIECE_BYTES: Final = 256 * 1024  # most that is decoded at once: a small chunk may be a large text


class Undecodable(Exception):
    """A body that is not what its encoding says, or ends before its end."""


def compression(header: str) -> str:
    """The compression that a ``Content-Encoding`` names, empty where it names none; of several, all of them with commas."""
    return ",".join(word for word in (part.strip().lower() for part in header.split(",")) if word in _COMPRESSIONS)


def decoded(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """``chunks`` without their ``encoding``, one of ``DECODED``, in pieces of bounded size.

    Raises:
        Undecodable: see there.
    """
    return _deflated(chunks) if encoding == "deflate" else _gzipped(chunks)


def _gzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(_GZIP)
    members, fresh = 0, True
    for chunk in chunks:
        rest = chunk
        while rest:
            if member.eof:
                members, fresh, member = members + 1, True, zlib.decompressobj(_GZIP)
            if fresh and members:
                rest = rest.lstrip(b"\0")  # padding after a member, as tapes and tars have it
                if not rest:
                    break
            fresh = False
            yield from _pieces(member, rest)
            rest = member.unused_data
    if not member.eof and not (fresh and members):
        raise Undecodable


def _deflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """With zlib's frame, as the RFC has it; without one, as some servers have it."""
    body = None
    for chunk in chunks:
        if body is None:
            framed = len(chunk) > 1 and chunk[0] & 0x0F == zlib.DEFLATED and int.from_bytes(chunk[:2]) % 31 == 0
            body = zlib.decompressobj(zlib.MAX_WBITS if framed else -zlib.MAX_WBITS)
        yield from _pieces(body, chunk)
    if body is not None and not body.eof:
        raise Undecodable


def _pieces(stream: zlib._Decompress, chunk: bytes) -> Iterator[bytes]:
    rest = chunk
    while True:
        try:
            piece = stream.decompress(rest, _PIECE_BYTES)
        except zlib.error as error:
            raise Undecodable from error
        if piece:
            yield piece
        rest = stream.unconsumed_tail
        if stream.eof or (not rest and len(piece) < _PIECE_BYTES):
            return
