"""Kubernetes resource quantities (``64Mi``, ``0.5``, ``1e3``) as numbers. Pure."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Final

_UNITS: Final = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(1000),
    "M": Decimal(1000) ** 2,
    "G": Decimal(1000) ** 3,
    "T": Decimal(1000) ** 4,
    "P": Decimal(1000) ** 5,
    "E": Decimal(1000) ** 6,
    "Ki": Decimal(1024),
    "Mi": Decimal(1024) ** 2,
    "Gi": Decimal(1024) ** 3,
    "Ti": Decimal(1024) ** 4,
    "Pi": Decimal(1024) ** 5,
    "Ei": Decimal(1024) ** 6,
}
_SHAPE: Final = re.compile(r"([+-]?[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+\.)([numkMGTPE]|[KMGTPE]i)?")


def quantity(text: str | float) -> Decimal | None:
    """The number a quantity stands for, or None for what is no quantity."""
    found = _SHAPE.fullmatch(str(text))
    if not found:
        return None
    try:
        return Decimal(found.group(1)) * _UNITS[found.group(2) or ""]
    except InvalidOperation:
        return None


def quantity_bytes(text: str | float) -> int:
    """A quantity of memory in whole bytes, rounded up; 0 for what is no quantity."""
    number = quantity(text)
    return 0 if number is None else int(number.to_integral_value(rounding="ROUND_CEILING"))
