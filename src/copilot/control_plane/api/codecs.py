"""The two encodings of messages; what cannot be decoded is the client's mistake, and is told as that."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from connectrpc.code import Code
from connectrpc.codec import Codec, proto_binary_codec, proto_json_codec
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
