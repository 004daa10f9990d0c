"""Flags' texts as values: Go durations, protobuf messages in base64."""

from __future__ import annotations

import base64
import binascii
from typing import Protocol, Self, TypeVar

from copilot.core.errors import BadFlag
from copilot.core.gotext import parse_duration

_NANOSECONDS = 1_000_000_000


class Message(Protocol):
    """What we use of a generated message."""

    @classmethod
    def FromString(cls, data: bytes, /) -> Self:  # noqa: N802 - protobuf's name
        """Parses."""
        ...


M = TypeVar("M", bound=Message)


def seconds_of(text: str, where: str) -> float | None:
    """A Go duration (``1h0m0s``, ``90s``, ``1.5h``) in seconds; None for zero or less: no limit.

    Raises:
        BadFlag: it is none.
    """
    try:
        nanoseconds = parse_duration(text)
    except ValueError as error:
        raise BadFlag(
            f"{where} is {text!r}, which is no duration", op="flags", subject=where, hint="Write it like 90s or 1h30m."
        ) from error
    return nanoseconds / _NANOSECONDS if nanoseconds > 0 else None


def message_of(kind: type[M], text: str, where: str) -> M:
    """A message in base64, as pflag's ``BytesBase64`` reads it: blanks around it are no part of it.

    Raises:
        BadFlag: it is no base64, or no such message.
    """
    name = kind.__name__
    try:
        data = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadFlag(
            f"{where} is not base64", op="flags", subject=where, hint=f"Give a core.{name} message in base64."
        ) from error
    from copilot.core.idl import DecodeError  # noqa: PLC0415 - loaded with the messages anyway

    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise BadFlag(f"{where} is no core.{name} message", op="flags", subject=where, hint="Was it cut off?") from error
