"""Every other scheme through fsspec, and s3, gs and azure through s3fs, gcsfs and adlfs on request (``--engine fsspec``).

fsspec's file systems differ in what they can do; what they cannot, the capabilities say. An object is read in ranges of bounded
size, each a request of its own, and written through a file that is only committed whole.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from copilot.core.errors import (
    AlreadyExists,
    BadStoreRequest,
    BucketNotFound,
    CopilotError,
    ObjectChanged,
    ObjectNotFound,
    Unsupported,
)
from copilot.core.ports import Capabilities, Checksum, MultipartUpload, ObjectInfo, Source
from copilot.core.uri import as_prefix
from copilot.stores.fsspec_errors import classified
from copilot.stores.sources import promised, read_whole
from copilot.stores.streams import ChunkStream, check_range

if TYPE_CHECKING:
    from copilot.core.uri import Uri
    from copilot.stores.settings import SchemeSettings, StoreSettings

CHUNK_BYTES = 4 * 1024 * 1024
WHOLE_BYTES = 8 * 1024 * 1024
_ETAGS = ("ETag", "etag", "e_tag", "md5Hash", "generation", "mtime", "LastModified", "last_modified", "created")


def open_fsspec(uri: Uri, settings: SchemeSettings, process: StoreSettings) -> FsspecStore:
    """One bucket, or one host.

    Raises:
        BadFlag: fsspec does not know the scheme.
        ImportError: fsspec, or the package for the scheme, is not installed.
    """
    from copilot.stores.fsspec_open import file_system  # noqa: PLC0415 - an extra

    opened = file_system(uri, settings, process)
    return FsspecStore(opened.fs, opened.root, f"{uri.scheme}://{uri.authority}", creates=opened.creates)


class FsspecStore:
    """One bucket of a file system of fsspec.

    Args:
        fs: the file system, without caches.
        root: what stands before every key, ``bucket/`` or empty.
        where: ``scheme://bucket`` for messages.
        creates: whether ``pipe_file(mode="create")`` is atomic there.
    """

    def __init__(self, fs: Any, root: str, where: str, *, creates: bool) -> None:  # noqa: ANN401 - an extra's class
        self.capabilities = Capabilities(if_absent=creates, min_ranged_bytes=64 * 1024 * 1024)
        self._fs = fs
        self._root = root
        self._where = where

    def head(self, key: str) -> ObjectInfo:
        """See the port."""
        with self._errors("head", key):
            meta = self._fs.info(self._path(key))
        if meta.get("type") == "directory" and not key.endswith("/"):
            raise self._not_found(key, "head")
        return _info(key, meta)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See the port. Directories are asked for one by one, so that no more than one is in memory."""
        prefix = as_prefix(prefix)
        with self._errors("list", prefix):
            yield from self._walk(prefix)

    def get(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> ChunkStream:
        """See the port."""
        info, name = self.head(key), self._name(key)
        if if_match is not None and if_match != info.etag:
            raise ObjectChanged(f"{name} is not the object it was", op="get", subject=name)
        end = check_range(info.size_bytes or 0, start, end, name)
        return ChunkStream(info, self._read(key, info, start, end), expected=end - start, subject=name)

    def put(self, key: str, source: Source, *, checksum: Checksum | None = None, if_absent: bool = False) -> ObjectInfo:
        """See the port."""
        name, path = self._name(key), self._path(key)
        if not key:
            raise BadStoreRequest(f"{name} names no object", op="put", subject=name)
        if if_absent and not self.capabilities.if_absent:
            raise Unsupported(f"{name} cannot be written only where nothing is", op="put", subject=name, hint="Use obstore.")
        with self._errors("put", key):
            if if_absent or source.size_bytes <= WHOLE_BYTES:
                data = bytes(read_whole(source, checksum, name))
                self._fs.pipe_file(path, data, mode="create" if if_absent else "overwrite")
            else:
                self._write(path, promised(source, checksum, name))
        return ObjectInfo(key, source.size_bytes)

    def multipart(self, key: str, upload_id: str | None = None) -> MultipartUpload:
        """See the port."""
        del upload_id
        name = self._name(key)
        raise Unsupported(f"An upload of {name} cannot be gone on with by another process", op="put", subject=name)

    def pending_uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        """See the port."""
        del prefix
        return iter(())

    def retract(self, key: str) -> None:
        """See ``Retracts``."""
        with suppress(ObjectNotFound), self._errors("delete", key):
            self._fs.rm_file(self._path(key))

    def _write(self, path: str, chunks: Iterator[bytes | memoryview]) -> None:
        file = self._fs.open(path, "wb", autocommit=False, block_size=WHOLE_BYTES)
        try:
            for chunk in chunks:
                file.write(bytes(chunk))
            file.close()
            file.commit()
        except BaseException:
            file.closed = True  # or the garbage collector would close, that is to say finish, it
            with suppress(Exception):
                file.discard()
            raise

    def _read(self, key: str, info: ObjectInfo, start: int, end: int) -> Iterator[bytes]:
        path = self._path(key)
        with self._errors("get", key):
            while start < end:
                chunk: bytes = self._fs.cat_file(path, start=start, end=min(start + CHUNK_BYTES, end))
                if not chunk:
                    break
                start += len(chunk)
                yield chunk
        if self.head(key).etag != info.etag:
            raise ObjectChanged(f"{self._name(key)} changed while it was read", op="get", subject=self._name(key))

    def _walk(self, prefix: str, *, listed: bool = False) -> Iterator[ObjectInfo]:
        base = self._path(prefix).rstrip("/")
        try:
            entries = self._fs.ls(base, detail=True)
        except FileNotFoundError:
            if listed:  # leaving it out in silence would be a hole in the data
                name = self._name(prefix)
                raise BadStoreRequest(
                    f"{name} is listed and cannot be opened",
                    op="list",
                    subject=name,
                    hint="Use the obstore engine, or rename it.",
                ) from None
            if not prefix or not self._has_bucket():
                raise
            return
        below: list[str] = []
        empty = True
        for meta in entries:
            name = str(meta["name"])
            if name.rstrip("/") == base:
                if meta.get("type") == "file" and not name.endswith("/") and (meta.get("size") or 0) > 0:
                    return  # a file of that name, and no directory
                continue
            empty = False
            key = name[len(self._root) :]
            if meta.get("type") == "directory":
                below.append(as_prefix(key))
            else:
                yield _info(key, meta)
        for directory in below:
            yield from self._walk(directory, listed=True)
        if empty and prefix and entries:
            yield ObjectInfo(prefix, 0)

    @contextmanager
    def _errors(self, op: str, key: str) -> Iterator[None]:
        try:
            yield
        except (CopilotError, GeneratorExit, KeyboardInterrupt):
            raise
        except FileExistsError as error:
            raise AlreadyExists(f"{self._name(key)} exists already", op=op, subject=self._name(key)) from error
        except (FileNotFoundError, NotADirectoryError) as error:
            if op in {"list", "put"} or not self._has_bucket():
                raise BucketNotFound(
                    f"There is no bucket {self._where}", op=op, subject=self._name(key), hint="Check its name and the endpoint."
                ) from error
            raise self._not_found(key, op) from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.ENOENT:
                raise self._not_found(key, op) from error
            raise classified(error, op, self._name(key), self._where) from error

    def _has_bucket(self) -> bool:
        if not self._root:
            return True
        try:
            return bool(self._fs.exists(self._root.rstrip("/")))
        except Exception:  # noqa: BLE001 - any other trouble is told by the request itself
            return True

    def _not_found(self, key: str, op: str) -> ObjectNotFound:
        name = self._name(key)
        return ObjectNotFound(
            f"There is no object {name}", op=op, subject=name, hint="Check the URI: names are case-sensitive."
        )

    def _path(self, key: str) -> str:
        return self._root + key

    def _name(self, key: str) -> str:
        return f"{self._where}/{key}"


def _info(key: str, meta: Mapping[str, Any]) -> ObjectInfo:
    modified = next((meta[name] for name in ("LastModified", "last_modified", "mtime", "modified") if meta.get(name)), None)
    at = modified.timestamp() if isinstance(modified, datetime) else modified if isinstance(modified, int | float) else None
    etag = next((str(meta[name]) for name in _ETAGS if meta.get(name)), None)
    return ObjectInfo(key, meta.get("size") or 0, etag, modified_at_s=at)
