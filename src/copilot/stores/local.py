"""``file://`` and plain paths: a directory tree as a store."""

# ruff: noqa: PTH103, PTH104, PTH106, PTH108, PTH112, PTH116, PTH118, PTH120 - names are bytes here, as the kernel has them; Path would cost 10 µs an object
from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from copilot.core.errors import (
    AccessDenied,
    AlreadyExists,
    BadStoreRequest,
    CopilotError,
    DiskFull,
    LocalIOError,
    ObjectChanged,
    ObjectNotFound,
    ReadOnlyPath,
    UnsafePath,
    Unsupported,
)
from copilot.core.ports import Capabilities, Checksum, MultipartUpload, ObjectInfo, Source
from copilot.core.uri import as_prefix
from copilot.stores.sources import promised
from copilot.stores.streams import ChunkStream, check_range

CHUNK_BYTES = 1024 * 1024
TEMPORARY = ".copilot-part-"
_MARKER_SIZE = 0
_CAPABILITIES = Capabilities(local=True)


class LocalStore:
    """Everything below one directory; a key is a path relative to it.

    An empty directory is listed as the marker object ``<dir>/`` and made by putting one.

    Args:
        root: the directory; nothing outside it is ever touched through ``..``.
    """

    def __init__(self, root: str = "/") -> None:
        self.capabilities = _CAPABILITIES
        self._root = os.fsencode(root).rstrip(b"/") + b"/"

    def head(self, key: str) -> ObjectInfo:
        """See the port."""
        path = self._path(key, "head")
        with self._errors("head", key):
            if key.endswith("/"):
                return self._marker(path, key)
            return _info(key, _regular(os.stat(path), key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See the port. Links to directories are not followed; a link to a file is that file."""
        prefix = as_prefix(prefix)
        with self._errors("list", prefix):
            try:
                yield from self._walk(self._path(prefix, "list"), prefix)
            except (FileNotFoundError, NotADirectoryError):
                return

    def get(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> ChunkStream:
        """See the port."""
        path = self._path(key, "get")
        with self._errors("get", key):
            if key.endswith("/"):
                return ChunkStream(self._marker(path, key), iter(()), expected=0, subject=key)
            # Non-blocking, so that a pipe without a writer is refused below and not waited for.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                info = _info(key, _regular(os.fstat(descriptor), key))
                self._check_pin(info, if_match)
                end = check_range(info.size_bytes or 0, start, end, self._name(key))
            except BaseException:
                os.close(descriptor)
                raise
        return ChunkStream(
            info,
            self._read(descriptor, start, end, key, info),
            expected=end - start,
            subject=self._name(key),
            on_close=_Closer(descriptor),
        )

    def put(self, key: str, source: Source, *, checksum: Checksum | None = None, if_absent: bool = False) -> ObjectInfo:
        """See the port: written beside its place under a hidden name, then renamed."""
        path = self._path(key, "put")
        with self._errors("put", key):
            if key.endswith("/"):
                return self._put_marker(path, key, source)
            made = _make_directory(os.path.dirname(path))
            temporary = os.path.join(os.path.dirname(path), f"{TEMPORARY}{secrets.token_hex(8)}".encode())
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try:
                try:
                    for chunk in promised(source, checksum, self._name(key)):
                        _write(descriptor, chunk)
                    os.fsync(descriptor)
                    info = _info(key, os.fstat(descriptor))
                finally:
                    os.close(descriptor)
                self._publish(temporary, path, key, if_absent=if_absent)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                _unmake(made)
                raise
            if if_absent:
                os.unlink(temporary)
            return info

    def multipart(self, key: str, upload_id: str | None = None) -> MultipartUpload:
        """See the port: a local file needs none."""
        del upload_id
        raise Unsupported(f"{self._name(key)} is a local file: it needs no multipart upload", op="put", subject=self._name(key))

    def pending_uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        """See the port."""
        del prefix
        return iter(())

    def retract(self, key: str) -> None:
        """See ``Retracts``."""
        path = self._path(key, "delete")
        with self._errors("delete", key), suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)

    def _check_pin(self, info: ObjectInfo, if_match: str | None) -> None:
        if if_match is not None and if_match != info.etag:
            name = self._name(info.key)
            raise ObjectChanged(f"{name} is not the file it was", op="get", subject=name)

    def _publish(self, temporary: bytes, path: bytes, key: str, *, if_absent: bool) -> None:
        if if_absent:
            try:
                os.link(temporary, path)  # the one way to give a finished file a name that must be free
            except FileExistsError as error:
                name = self._name(key)
                raise AlreadyExists(f"{name} exists already", op="put", subject=name) from error
        else:
            os.rename(temporary, path)
        directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _put_marker(self, path: bytes, key: str, source: Source) -> ObjectInfo:
        if source.size_bytes:
            raise BadStoreRequest(f"{self._name(key)} is a directory and holds no bytes", op="put", subject=self._name(key))
        os.makedirs(path, exist_ok=True)
        return self._marker(path, key)

    def _marker(self, path: bytes, key: str) -> ObjectInfo:
        status = os.stat(path)
        if not stat.S_ISDIR(status.st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a directory", path)
        return ObjectInfo(key, _MARKER_SIZE, modified_at_s=status.st_mtime)

    def _walk(self, directory: bytes, prefix: str) -> Iterator[ObjectInfo]:
        empty = True
        pending: list[tuple[bytes, str]] = []
        with os.scandir(directory) as entries:
            for entry in entries:
                name = os.fsdecode(entry.name)
                empty = False
                if name.startswith(TEMPORARY):
                    continue
                key = f"{prefix}{name}"
                if entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, f"{key}/"))
                elif entry.is_file():
                    yield _info(key, entry.stat())
        for path, below in pending:
            with suppress(FileNotFoundError):  # gone since it was listed
                yield from self._walk(path, below)
        if empty and prefix:
            yield ObjectInfo(prefix, _MARKER_SIZE)

    def _read(self, descriptor: int, start: int, end: int, key: str, info: ObjectInfo) -> Iterator[bytes]:
        with self._errors("get", key):
            while start < end:
                chunk = os.pread(descriptor, min(CHUNK_BYTES, end - start), start)
                if not chunk:
                    break
                start += len(chunk)
                yield chunk
            if start == end and info.etag != _info(key, os.fstat(descriptor)).etag:
                raise ObjectChanged(f"{self._name(key)} changed while it was read", op="get", subject=self._name(key))

    def _path(self, key: str, op: str) -> bytes:
        if ".." in key.split("/") or "\0" in key:
            raise UnsafePath(f"{key!r} leads out of its directory", op=op, subject=key, hint="Remove the '..' from the name.")
        return self._root + os.fsencode(key.removeprefix("/"))

    def _name(self, key: str) -> str:
        return os.fsdecode(self._root) + key.removeprefix("/")

    @contextmanager
    def _errors(self, op: str, key: str) -> Iterator[None]:
        try:
            yield
        except CopilotError:
            raise
        except OSError as error:
            raise _classified(error, op, self._name(key)) from error


def _classified(error: OSError, op: str, name: str) -> CopilotError:
    number = error.errno
    if op == "put" and number in {errno.ENOENT, errno.ENOTDIR, errno.EEXIST}:
        hint = "Every part of its path but the last must be a directory, or one that can be made."
        return LocalIOError(f"{name} cannot be written: {error.strerror}", op=op, subject=name, hint=hint)
    if number in {errno.ENOENT, errno.ENOTDIR}:
        return ObjectNotFound(f"There is no file {name}", op=op, subject=name, hint="Check the path.")
    if number in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFull(f"There is no space left to write {name}", op=op, subject=name, hint="Give the volume more space.")
    if number in {errno.EACCES, errno.EPERM, errno.EROFS}:
        if op in {"put", "delete"}:
            return ReadOnlyPath(f"{name} cannot be written: {error.strerror}", op=op, subject=name, hint="Mount it writable.")
        return AccessDenied(f"{name} cannot be read: {error.strerror}", op=op, subject=name, hint="Check who owns it.")
    if number == errno.EISDIR:
        return BadStoreRequest(
            f"{name} is a directory", op=op, subject=name, hint="Name a file, or ask for the whole directory."
        )
    return LocalIOError(f"{name} failed: {error.strerror}", op=op, subject=name)


def _make_directory(path: bytes) -> list[bytes]:
    """Makes a directory and its parents; those that were not there, the innermost first."""
    missing: list[bytes] = []
    at = path
    while at and not os.path.isdir(at):
        missing.append(at)
        at = os.path.dirname(at)
    os.makedirs(path, exist_ok=True)
    return missing


def _unmake(directories: list[bytes]) -> None:
    """Takes back directories made for a file that did not come to be; somebody else's file keeps its directory."""
    for path in directories:
        try:
            os.rmdir(path)
        except OSError:
            return


def _regular(status: os.stat_result, key: str) -> os.stat_result:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory", key)
    if not stat.S_ISREG(status.st_mode):
        raise BadStoreRequest(
            f"{key} is no regular file", op="get", subject=key, hint="Devices, pipes and sockets are not data."
        )
    return status


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    etag = f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'
    return ObjectInfo(key, status.st_size, etag, modified_at_s=status.st_mtime)


def _write(descriptor: int, chunk: bytes | memoryview) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


class _Closer:
    """Closes a descriptor once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def __call__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    __del__ = __call__  # a stream nobody closed
