"""Signed URLs of the clouds' own: who holds one may do one thing with one object for a while, without credentials."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from copilot.stores.object_store import ObjectStore

if TYPE_CHECKING:
    from copilot.core.ports import Location

_METHODS: Final[dict[str, Literal["GET", "PUT"]]] = {"GET": "GET", "PUT": "PUT"}


def presign(location: Location, method: str, expires_s: float) -> str | None:
    """A URL for one ``GET`` or ``PUT`` of the object, or None where the store signs none (files, memory, Redis).

    Args:
        location: the object; it need not exist.
        method: ``GET`` or ``PUT``.
        expires_s: how long the URL is good, in seconds.

    Raises:
        StoreError: there is nothing to sign with.
    """
    if not isinstance(location.store, ObjectStore):
        return None
    import obstore  # noqa: PLC0415 - 40 ms, only where a cloud's store is used

    handle: Any = location.store.bucket.handle
    with location.store.errors("sign", location.key):
        return str(obstore.sign(handle, _METHODS[method], location.key, timedelta(seconds=expires_s)))
