"""``redis://``: small metadata, as Flyte keeps it there: an object is one string value under the URI's path, verbatim.

A directory is a prefix of keys. Values are read and written whole; Redis ends them at 512 MiB.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from copilot.core.errors import (
    AccessDenied,
    AlreadyExists,
    BadConfig,
    BadCredentials,
    BadStoreRequest,
    CopilotError,
    ObjectChanged,
    ObjectNotFound,
    ServerFault,
    Stalled,
    StoreError,
    Throttled,
    Unreachable,
    Unsupported,
)
from copilot.core.ports import Capabilities, Checksum, MultipartUpload, ObjectInfo, Source
from copilot.core.uri import Uri, as_prefix
from copilot.stores.sources import read_whole
from copilot.stores.streams import ChunkStream, check_range

if TYPE_CHECKING:
    from copilot.stores.settings import RedisSettings, StoreSettings

CHUNK_BYTES = 256 * 1024
MAX_VALUE_BYTES = 512 * 1024 * 1024
PORT = 6379
_SPECIAL = re.compile(r"([*?\[\]\\])")


def open_redis(uri: Uri, settings: RedisSettings, process: StoreSettings) -> RedisStore:
    """One server: the settings' address wins over the URI's, which may name the same server from elsewhere.

    Raises:
        BadConfig: neither names one.
        ImportError: the ``redis`` extra is not installed.
    """
    import redis  # noqa: PLC0415 - an extra
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    user, _, place = uri.authority.rpartition("@")
    address = settings.addr or place
    host, colon, port = address.rpartition(":")
    if not colon:
        host, port = address, ""
    if not host or (port and not port.isdecimal()):
        raise BadConfig(
            f"The address of {uri.scheme}:// is not known", op="open", subject=f"{uri.scheme}://", hint="Set redis.addr."
        )
    name, _, password = user.partition(":")
    client = redis.Redis(
        host=host,
        port=int(port or PORT),
        db=settings.db,
        username=settings.username or unquote(name) or None,
        password=settings.password or unquote(password) or None,
        ssl=settings.tls or uri.scheme == "rediss",
        socket_connect_timeout=process.connect_timeout_s,
        socket_timeout=process.read_timeout_s,
        retry=Retry(NoBackoff(), 0),
    )
    return RedisStore(client, f"{uri.scheme}://{host}:{port or PORT}")


class RedisStore:
    """One Redis server. See ``ports.Store``."""

    def __init__(self, client: Any, where: str) -> None:  # noqa: ANN401 - an extra's class
        self.capabilities = Capabilities(min_ranged_bytes=MAX_VALUE_BYTES)
        self._client = client
        self._where = where

    def head(self, key: str) -> ObjectInfo:
        """See the port."""
        return _info(key, self._value(key, "head"))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See the port."""
        prefix = as_prefix(prefix)
        seen: set[bytes] = set()  # a SCAN may say a key twice
        cursor: int | None = None
        while cursor != 0:
            with self._errors("list", prefix):
                cursor, keys = self._client.scan(
                    cursor or 0, match=_SPECIAL.sub(r"\\\1", prefix) + "*", count=1000, _type="string"
                )
                fresh = [key for key in keys if key not in seen]
                pipe = self._client.pipeline(transaction=False)
                for key in fresh:
                    pipe.strlen(key)
                sizes = pipe.execute()
            seen.update(fresh)
            for key, size in zip(fresh, sizes, strict=True):
                yield ObjectInfo(key.decode("utf-8", "surrogateescape"), size)

    def get(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> ChunkStream:
        """See the port."""
        data, name = self._value(key, "get"), self._name(key)
        info = _info(key, data)
        if if_match is not None and if_match != info.etag:
            raise ObjectChanged(f"{name} is not the object it was", op="get", subject=name)
        end = check_range(len(data), start, end, name)
        view = memoryview(data)[start:end]
        chunks = (view[at : at + CHUNK_BYTES] for at in range(0, len(view), CHUNK_BYTES))
        return ChunkStream(info, chunks, expected=len(view), subject=name)

    def put(self, key: str, source: Source, *, checksum: Checksum | None = None, if_absent: bool = False) -> ObjectInfo:
        """See the port."""
        name = self._name(key)
        if not key:
            raise BadStoreRequest(f"{name} names no object", op="put", subject=name)
        if source.size_bytes > MAX_VALUE_BYTES:
            raise Unsupported(
                f"{name} is too big for Redis ({source.size_bytes} bytes)", op="put", subject=name, hint="Use a bucket."
            )
        data = bytes(read_whole(source, checksum, name))
        with self._errors("put", key):
            done = self._client.set(_raw(key), data, nx=if_absent)
        if not done:
            raise AlreadyExists(f"{name} exists already", op="put", subject=name)
        return _info(key, data)

    def multipart(self, key: str, upload_id: str | None = None) -> MultipartUpload:
        """See the port: values are written whole."""
        del upload_id
        raise Unsupported(f"{self._name(key)} is written whole", op="put", subject=self._name(key))

    def pending_uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        """See the port."""
        del prefix
        return iter(())

    def retract(self, key: str) -> None:
        """See ``Retracts``."""
        with self._errors("delete", key):
            self._client.delete(_raw(key))

    def _value(self, key: str, op: str) -> bytes:
        with self._errors(op, key):
            data: bytes | None = self._client.get(_raw(key))
        if data is None:
            raise ObjectNotFound(f"There is no object {self._name(key)}", op=op, subject=self._name(key), hint="Check the URI.")
        return data

    @contextmanager
    def _errors(self, op: str, key: str) -> Iterator[None]:
        import redis  # noqa: PLC0415 - an extra

        try:
            yield
        except CopilotError:
            raise
        except redis.RedisError as error:
            raise _classified(error, op, self._name(key), self._where) from error

    def _name(self, key: str) -> str:
        return f"{self._where}/{key}"


def _classified(error: Exception, op: str, name: str, where: str) -> StoreError:
    from redis import exceptions  # noqa: PLC0415 - an extra

    match error:
        case exceptions.AuthenticationError():
            return BadCredentials(f"{where} does not accept our password", op=op, subject=name, hint="Check redis.password.")
        case exceptions.NoPermissionError():
            return AccessDenied(f"{where} does not allow us to {op} {name}", op=op, subject=name, hint="Check the user's ACL.")
        case exceptions.BusyLoadingError() | exceptions.TryAgainError() | exceptions.MaxConnectionsError():
            return Throttled(f"{where} is busy", op=op, subject=name)
        case exceptions.TimeoutError():
            return Stalled(f"{where} sent nothing for too long", op=op, subject=name)
        case exceptions.ConnectionError():
            return Unreachable(f"{where} cannot be reached", op=op, subject=name, hint="Check redis.addr and the network.")
        case exceptions.OutOfMemoryError() | exceptions.ReadOnlyError():
            return ServerFault(f"{where} takes no writes now", op=op, subject=name, hint="It is out of memory, or a replica.")
    return BadStoreRequest(f"{where} refused the request for {name}", op=op, subject=name, hint="Is the key of another type?")


def _info(key: str, data: bytes) -> ObjectInfo:
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return ObjectInfo(key, len(data), f'"{digest}"', md5_hex=digest)


def _raw(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")
