"""The bytes around a value that make it a serialized ``core.Literal``, so that a large one need not pass through memory.

Protobuf nests by length: every message around a field is its tag and the length of what is inside. Field numbers are read from
Flyte's own descriptors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from copilot.core import idl
from copilot.core.output_scalars import MSGPACK_TAG

MAX_LITERAL_BYTES: Final = 2**31 - 1024
"""Protobuf reads no message of 2 GiB or more."""

_LENGTH_DELIMITED: Final = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """What comes before and after the content."""

    head: bytes
    tail: bytes = b""


def text_frame(size_bytes: int) -> Frame:
    """Around ``size_bytes`` of UTF-8 text: ``Literal{scalar{primitive{string_value}}}``."""
    head = _field(idl.Primitive, "string_value", size_bytes)
    head = _field(idl.Scalar, "primitive", len(head) + size_bytes) + head
    return Frame(_field(idl.Literal, "scalar", len(head) + size_bytes) + head)


def binary_frame(size_bytes: int) -> Frame:
    """Around ``size_bytes`` of any bytes: ``Literal{scalar{binary{value, tag}}}``."""
    tail = bytes(idl.Binary(tag=MSGPACK_TAG).SerializeToString())
    head = _field(idl.Binary, "value", size_bytes)
    head = _field(idl.Scalar, "binary", len(head) + size_bytes + len(tail)) + head
    return Frame(_field(idl.Literal, "scalar", len(head) + size_bytes + len(tail)) + head, tail)


def _field(message: type, name: str, size_bytes: int) -> bytes:
    number: int = message.DESCRIPTOR.fields_by_name[name].number  # type: ignore[attr-defined]  # every message has one
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(size_bytes)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:  # noqa: PLR2004 — seven bits a byte
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
