"""One bucket of a server, past every store: what the contract's ``raw`` fixture gives."""

from __future__ import annotations

from typing import Protocol


class Server(Protocol):
    """What every launcher's server can do with any bucket."""

    def poke(self, bucket: str, key: str, data: bytes) -> object:
        """Writes or replaces an object."""

    def peek(self, bucket: str, key: str) -> bytes | None:
        """An object's bytes, or None."""

    def remove(self, bucket: str, key: str) -> None:
        """Deletes an object."""


class RawBucket:
    """See ``copilot.testing.store_contract.Raw``."""

    def __init__(self, server: Server, bucket: str) -> None:
        self._server = server
        self._bucket = bucket

    def poke(self, key: str, data: bytes) -> None:
        """Writes or replaces an object."""
        self._server.poke(self._bucket, key, data)

    def peek(self, key: str) -> bytes | None:
        """An object's bytes, or None."""
        return self._server.peek(self._bucket, key)

    def remove(self, key: str) -> None:
        """Deletes an object."""
        self._server.remove(self._bucket, key)
