"""The endpoint behind our own signed URLs: ``PUT`` and ``GET`` of one object of a store that signs none itself.

A body is taken into a temporary file first; only when its size and MD5 are right does it become the object, all at once: by a
rename for files, by one ``put`` for any other store.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import os
import secrets
import tempfile
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiofiles
import aiofiles.os

from copilot.control_plane.api.answers import code_of
from copilot.control_plane.api.http import Receive, Scope, Send, answer, body, header
from copilot.control_plane.errors import InvalidRequest, NotAllowed
from copilot.core.errors import ChecksumMismatch, CopilotError, LocalIOError, ObjectNotFound
from copilot.core.ports import Checksum

if TYPE_CHECKING:
    from collections.abc import Iterator

    from copilot.control_plane.office import Office

_UPLOADING: Final = ".uploading"
_LEFT_BEHIND_S: Final = 86_400.0
_IN_THE_WAY: Final = frozenset({errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY})
_CHUNK_BYTES: Final = 256 * 1024
_STATUS: Final = {
    "not_found": HTTPStatus.NOT_FOUND,
    "permission_denied": HTTPStatus.FORBIDDEN,
    "invalid_argument": HTTPStatus.BAD_REQUEST,
    "resource_exhausted": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
}


class _FileSource:
    """A ``Source`` over a finished file."""

    def __init__(self, path: str, size_bytes: int) -> None:
        self._path = path
        self.size_bytes = size_bytes

    def read(self, start: int, end: int) -> Iterator[bytes]:
        with open(self._path, "rb") as file:  # noqa: PTH123 - the path is a temporary file's name
            file.seek(start)
            left = end - start
            while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
                left -= len(chunk)
                yield chunk


class ObjectEndpoint:
    """An ASGI application.

    Args:
        office: signer, objects, limits and clock.
    """

    def __init__(self, office: Office) -> None:
        self._office = office
        self._swept = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        started = False

        async def track(message: Any) -> None:  # noqa: ANN401 - ASGI's own
            nonlocal started
            started = True
            await send(message)

        try:
            method = scope["method"]
            if method not in {"GET", "HEAD", "PUT"}:
                raise NotAllowed(f"{method} is not possible here")
            query = scope.get("query_string", b"").decode("latin-1")
            grant = self._office.signer.check(scope["path"], query, method, self._office.clock.now_s())
            if method == "PUT":
                await self._put(grant.uri, grant.max_bytes, grant.md5, scope, receive)
                await answer(track, HTTPStatus.OK)
            else:
                await self._get(grant.uri, track, whole=method == "GET")
        except CopilotError as error:
            if started:
                raise
            status = _STATUS.get(code_of(error).value, HTTPStatus.INTERNAL_SERVER_ERROR)
            await answer(send, status, error.sentence().encode())

    # --- PUT ----------------------------------------------------------------------------------------------------------

    async def _put(self, uri: str, max_bytes: int, md5: bytes, scope: Scope, receive: Receive) -> None:
        most = max_bytes or self._office.settings.limits.max_upload_bytes
        said = header(scope, "content-length")
        if said.isdigit() and int(said) > most:
            raise _too_large(most)
        location = self._office.objects.stores.locate(uri)
        local = location.store.capabilities.local and uri.startswith("file://")
        target = Path("/", location.key) if local else None
        directory = self._beside() if target is not None else Path(tempfile.gettempdir())
        temporary = directory / f"upload-{secrets.token_hex(8)}"
        try:
            for each in {directory, directory if target is None else target.parent}:
                await self._office.objects.run(partial(each.mkdir, parents=True, exist_ok=True))
            size, digest = await _take(receive, temporary, most)
            _check_content(scope, said, size, md5, digest)
            if target is not None:
                await aiofiles.os.rename(temporary, target)
            else:
                source = _FileSource(str(temporary), size)
                await self._office.objects.run(
                    lambda: location.store.put(location.key, source, checksum=Checksum("md5", digest))
                )
        except OSError as cause:
            if cause.errno in _IN_THE_WAY:
                raise InvalidRequest(f"the upload cannot have this name: {cause.strerror}", op="put", subject=uri) from cause
            raise LocalIOError(f"the upload could not be written: {cause.strerror}", op="put", subject=uri) from cause
        finally:
            if await aiofiles.os.path.exists(temporary):
                await aiofiles.os.remove(temporary)

    def _beside(self) -> Path:
        """Where uploads grow: on the store's own disk, and not among its objects, should we be killed in the middle of one."""
        directory = Path("/", self._office.objects.stores.locate(self._office.settings.store_base).key) / _UPLOADING
        if not self._swept:
            self._swept = True
            _sweep(directory, self._office.clock.now_s() - _LEFT_BEHIND_S)
        return directory

    # --- GET ----------------------------------------------------------------------------------------------------------

    async def _get(self, uri: str, send: Send, *, whole: bool) -> None:
        objects = self._office.objects
        size = await objects.size(uri)
        if size is None:
            raise ObjectNotFound("there is no such object", op="get", subject=uri)
        kind = "text/html; charset=utf-8" if uri.endswith(".html") else "application/octet-stream"
        # A report is somebody's page: it must not run as ours.
        headers = {"content-type": kind, "content-length": str(size), "content-security-policy": "sandbox allow-scripts"}
        start = {
            "type": "http.response.start",
            "status": 200,
            "headers": [(key.encode(), value.encode()) for key, value in headers.items()],
        }
        await send(start)
        if whole:
            location = objects.stores.locate(uri)
            stream = await objects.run(lambda: location.store.get(location.key))
            chunks = iter(stream)
            try:
                while (chunk := await objects.run(lambda: next(chunks, None))) is not None:
                    await send({"type": "http.response.body", "body": bytes(chunk), "more_body": True})
            finally:
                await objects.run(stream.close)
        await send({"type": "http.response.body", "body": b""})


def _sweep(directory: Path, before_s: float) -> None:
    """What servers left that were killed. Others may be at work on the same store: only what nobody writes any more."""
    with contextlib.suppress(OSError):
        for each in directory.iterdir():
            if each.stat().st_mtime < before_s:
                each.unlink(missing_ok=True)


async def _take(receive: Receive, temporary: Path, most: int) -> tuple[int, bytes]:
    """Writes the body to disk; its size and MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    async with aiofiles.open(temporary, "wb") as file:
        async for chunk in body(receive):
            size += len(chunk)
            if size > most:
                raise _too_large(most)
            digest.update(chunk)
            await file.write(chunk)
        await file.flush()
        await _sync(file.fileno())
    return size, digest.digest()


async def _sync(descriptor: int) -> None:
    await aiofiles.os.wrap(os.fsync)(descriptor)


def _check_content(scope: Scope, said: str, size: int, md5: bytes, digest: bytes) -> None:
    if said.isdigit() and int(said) != size:
        raise InvalidRequest(f"{size} bytes came, and {said} were announced")
    header_md5 = header(scope, "content-md5")
    try:
        promised = base64.b64decode(header_md5, validate=True) if header_md5 else md5
    except ValueError as cause:
        raise InvalidRequest("Content-MD5 is not base64") from cause
    if (md5 and digest != md5) or (promised and digest != promised):
        mismatch = ChecksumMismatch("the content does not have the promised MD5")
        raise InvalidRequest(mismatch.message, hint="Upload it again.") from mismatch


def _too_large(most: int) -> CopilotError:
    from copilot.control_plane.errors import TooLarge  # noqa: PLC0415 - rarely needed

    return TooLarge(f"the upload is larger than {most} bytes")
