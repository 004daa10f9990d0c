"""The values that travel plan → transfer → verify → publish.

``plan`` makes ``FetchSpec``/``SendSpec``, ``transfer`` turns each into one or more ``Receipt``, ``engine.verify`` alone makes a
``Manifest`` from them, and ``publish`` takes nothing but a ``Manifest``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class FetchSpec:
    """One thing to bring here.

    Attributes:
        uri: the object, or for a tree the prefix.
        target: where, relative to the staging root, ``/``-separated, already proven safe by ``core.paths``.
        tree: everything below ``uri`` and not the object itself.
        variable: the input it belongs to, for messages.
    """

    uri: str
    target: str
    tree: bool = False
    variable: str = ""


@dataclass(frozen=True, slots=True)
class SendSpec:
    """One thing to bring there.

    Attributes:
        path: a local file, or for a tree a directory.
        uri: the object, or for a tree the prefix (without the ``/`` at its end).
        tree: every file below ``path`` (and a marker object ``<dir>/`` for each empty directory).
        variable: the output it belongs to, for messages.
    """

    path: Path
    uri: str
    tree: bool = False
    variable: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that one object moved whole.

    Attributes:
        uri: the object.
        path: its local path relative to the staging root (fetch) or to the output directory (send), ``/``-separated.
        size_bytes: as counted, not as promised.
        digest: ``crc32c:<8 hex>`` or ``sha256:<64 hex>`` of the bytes as they passed, or empty where none was taken.
        etag: what the store called this content, or empty.
        version: the store's version id, or empty.
        variable: the variable it belongs to.
        proof: what showed that the bytes came as they are stored: ``md5``, ``crc32c``, ``two readings``; ``none`` where nothing
            could; empty where the transport itself (TLS, this machine) answers for it.
    """

    uri: str
    path: str
    size_bytes: int
    digest: str = ""
    etag: str = ""
    version: str = ""
    variable: str = ""
    proof: str = ""


@dataclass(frozen=True, slots=True)
class Totals:
    """What moved, in all."""

    objects: int = 0
    size_bytes: int = 0
    seconds: float = 0.0
