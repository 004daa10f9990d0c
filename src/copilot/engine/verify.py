"""Receipts against the plan. The only place that makes a ``Manifest``, and ``publish`` takes nothing else.

Streams: what is held is one mark for each thing that was planned, never one for each object that moved.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from copilot.core.errors import InternalError, LocalIOError, Truncated
from copilot.core.uri import redact
from copilot.core.values import FetchSpec, SendSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from copilot.core.values import Receipt

_SEAL: Final = object()
_MODULUS: Final = 1 << 256


@dataclass(frozen=True, slots=True)
class Manifest:
    """Proof that everything planned has moved, whole. Made by ``verify`` alone.

    Attributes:
        objects: how many objects moved (markers of empty directories included).
        size_bytes: their bytes.
        digest: ``sum-sha256:<64 hex>`` over all receipts, the same in whatever order they came.
    """

    objects: int
    size_bytes: int
    digest: str
    seal: object = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuses to be made by anybody else."""
        if self.seal is not _SEAL:
            raise InternalError("A manifest was made without verification", op="verify")


def verify(
    specs: Sequence[FetchSpec] | Sequence[SendSpec],
    receipts: Iterable[Receipt],
    *,
    each: Callable[[Receipt], None] | None = None,
    root: Path | None = None,
) -> Manifest:
    """Takes all ``receipts`` and proves that they cover ``specs``: each single object once, trees with what is below them.

    Args:
        specs: what was planned.
        receipts: what ``Transfer.fetch`` or ``.send`` yields; read once, to its end.
        each: called with every receipt that was accepted, in the order of arrival.
        root: a staging directory; when given, every receipt's file must be there with its size.

    Raises:
        InternalError: a receipt that belongs to nothing that was planned, or two for one object.
        Truncated: something planned has no receipt.
        LocalIOError: a staged file does not have its receipt's size.
    """
    singles = {_single_key(spec): False for spec in specs if not spec.tree}
    if len(singles) != sum(not spec.tree for spec in specs):
        raise InternalError("The plan names one object twice", op="verify")
    trees = tuple({spec.uri.rstrip("/") + "/" for spec in specs if spec.tree})
    objects = size_bytes = total = 0
    for receipt in receipts:
        _mark(receipt, singles, trees)
        if root is not None:
            _check_file(receipt, root)
        objects += 1
        size_bytes += receipt.size_bytes
        total = (total + _fingerprint(receipt)) % _MODULUS
        if each is not None:
            each(receipt)
    missing = next((uri for (uri, _), seen in singles.items() if not seen), None)
    if missing is not None:
        raise Truncated(f"{redact(missing)} was planned and has not moved", op="verify", subject=redact(missing))
    return Manifest(objects=objects, size_bytes=size_bytes, digest=f"sum-sha256:{total:064x}", seal=_SEAL)


def _single_key(spec: FetchSpec | SendSpec) -> tuple[str, str]:
    # One object may be wanted in two places; nothing may be sent twice to one.
    return (spec.uri, spec.target if isinstance(spec, FetchSpec) else "")


def _mark(receipt: Receipt, singles: dict[tuple[str, str], bool], trees: tuple[str, ...]) -> None:
    for key in ((receipt.uri, receipt.path), (receipt.uri, "")):
        if key in singles:
            if singles[key]:
                raise InternalError(f"{redact(receipt.uri)} has two receipts", op="verify", subject=redact(receipt.uri))
            singles[key] = True
            return
    if not receipt.uri.startswith(trees):
        raise InternalError(f"{redact(receipt.uri)} moved and was not planned", op="verify", subject=redact(receipt.uri))


def _check_file(receipt: Receipt, root: Path) -> None:
    path = root / receipt.path
    try:
        there = path.is_dir() if receipt.path.endswith("/") else path.lstat().st_size == receipt.size_bytes
    except OSError:
        there = False
    if not there:
        raise LocalIOError(
            f"{path} does not hold the {receipt.size_bytes} bytes that were written there",
            op="verify",
            subject=str(path),
            hint="Somebody else writes into this directory, or its volume is failing.",
        )


def _fingerprint(receipt: Receipt) -> int:
    line = "\0".join((receipt.uri, receipt.path, str(receipt.size_bytes), receipt.digest))
    return int.from_bytes(hashlib.sha256(line.encode("utf-8", "surrogatepass")).digest())
