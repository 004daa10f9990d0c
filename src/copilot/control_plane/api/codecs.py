"""Encodings and compression of messages; what cannot be decoded is the client's mistake, and is told as that."""

from __future__ import annotations

import zlib
from typing import Any, Final, TypeVar

from connectrpc.code import Code
from connectrpc.codec import Codec, proto_binary_codec, proto_json_codec
from connectrpc.compression.gzip import GzipCompression
from connectrpc.errors import ConnectError
from google.protobuf.json_format import ParseError
from google.protobuf.message import DecodeError

M = TypeVar("M")


class _Told:
    """A codec whose decoding errors have a code."""

    def __init__(self, inner: Codec[Any, Any]) -> None:
        self._inner = inner

    def name(self) -> str:
        return self._inner.name()

    def encode(self, message: Any) -> bytes:  # noqa: ANN401 - any message
        return self._inner.encode(message)

    def decode(self, data: bytes | bytearray, message: M) -> M:
        try:
            decoded: M = self._inner.decode(data, message)
        except (DecodeError, ParseError, UnicodeDecodeError) as cause:
            raise ConnectError(Code.INVALID_ARGUMENT, "the message cannot be decoded") from cause
        return decoded


CODECS: Final[dict[str, Codec[Any, Any]]] = {codec.name(): _Told(codec) for codec in (proto_binary_codec(), proto_json_codec())}

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


class BoundedGzip(GzipCompression):
    """Gzip that makes no message larger than it may be, however small it came.

    Args:
        most_bytes: the largest message.
    """

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._most_bytes = most_bytes

    def decompress(self, data: bytes | bytearray | memoryview) -> bytes:
        """The message. Raises ``ConnectError``."""
        made, rest = bytearray(), bytes(data)
        while rest:
            member = zlib.decompressobj(_GZIP_WINDOW)
            try:
                made += member.decompress(rest, self._most_bytes + 1 - len(made))
            except zlib.error as cause:
                raise ConnectError(Code.INVALID_ARGUMENT, "the message is not gzip, although it says so") from cause
            if len(made) > self._most_bytes:
                raise too_large(self._most_bytes)
            if not member.eof:
                raise ConnectError(Code.INVALID_ARGUMENT, "the compressed message is cut off")
            rest = member.unused_data
        return bytes(made)


def too_large(most_bytes: int) -> ConnectError:
    """The answer to a message above the limit."""
    return ConnectError(Code.RESOURCE_EXHAUSTED, f"the message is larger than {most_bytes} bytes")
