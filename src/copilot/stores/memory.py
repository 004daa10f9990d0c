"""``memory://``: objects in this process. The fake that is shipped: it passes the contract every store passes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from copilot.core.errors import AlreadyExists, BadStoreRequest, ObjectChanged, ObjectNotFound
from copilot.core.ports import Capabilities, Checksum, MultipartUpload, ObjectInfo, Part, Source
from copilot.core.uri import as_prefix
from copilot.stores.sources import read_whole
from copilot.stores.streams import ChunkStream, check_range

CHUNK_BYTES = 256 * 1024


@dataclass(slots=True)
class _Upload:
    key: str
    parts: dict[int, bytes] = field(default_factory=dict)


class MemoryStore:
    """One bucket of this process; ``bucket`` is only for messages."""

    def __init__(self, bucket: str = "") -> None:
        self.capabilities = Capabilities(min_part_bytes=1)
        self._where = f"memory://{bucket}"
        self._objects: dict[str, tuple[bytes, ObjectInfo]] = {}
        self._uploads: dict[str, _Upload] = {}
        self._serial = 0
        self._lock = threading.Lock()

    def head(self, key: str) -> ObjectInfo:
        """See the port."""
        return self._entry(key, "head")[1]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See the port."""
        prefix = as_prefix(prefix)
        with self._lock:
            found = [info for key, (_, info) in self._objects.items() if key.startswith(prefix)]
        yield from found

    def get(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> ChunkStream:
        """See the port."""
        data, info = self._entry(key, "get")
        subject = f"{self._where}/{key}"
        if if_match is not None and if_match != info.etag:
            raise ObjectChanged(f"{subject} is not the object it was", op="get", subject=subject)
        end = check_range(len(data), start, end, subject)
        view = memoryview(data)[start:end]
        chunks = (view[at : at + CHUNK_BYTES] for at in range(0, len(view), CHUNK_BYTES))
        return ChunkStream(info, chunks, expected=len(view), subject=subject)

    def put(self, key: str, source: Source, *, checksum: Checksum | None = None, if_absent: bool = False) -> ObjectInfo:
        """See the port."""
        subject = f"{self._where}/{key}"
        if not key:
            raise BadStoreRequest(f"{subject} names no object", op="put", subject=subject)
        return self._store(key, bytes(read_whole(source, checksum, subject)), if_absent=if_absent)

    def multipart(self, key: str, upload_id: str | None = None) -> MultipartUpload:
        """See the port."""
        with self._lock:
            if upload_id is None:
                self._serial += 1
                upload_id = f"upload-{self._serial}"
                self._uploads[upload_id] = _Upload(key)
        return _MemoryUpload(self, key, upload_id)

    def pending_uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        """See the port."""
        prefix = as_prefix(prefix)
        with self._lock:
            found = [(upload.key, name) for name, upload in self._uploads.items() if upload.key.startswith(prefix)]
        yield from found

    def retract(self, key: str) -> None:
        """See ``Retracts``."""
        self.remove(key)

    def remove(self, key: str) -> None:
        """Takes an object away: for tests, which need objects that vanish. Not in the port."""
        with self._lock:
            self._objects.pop(key, None)

    def _entry(self, key: str, op: str) -> tuple[bytes, ObjectInfo]:
        with self._lock:
            entry = self._objects.get(key)
        if entry is None:
            subject = f"{self._where}/{key}"
            raise ObjectNotFound(f"There is no object {subject}", op=op, subject=subject)
        return entry

    def _store(self, key: str, data: bytes, *, if_absent: bool) -> ObjectInfo:
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
        with self._lock:
            if if_absent and key in self._objects:
                subject = f"{self._where}/{key}"
                raise AlreadyExists(f"{subject} exists already", op="put", subject=subject)
            self._serial += 1
            info = ObjectInfo(key, len(data), f'"{digest}-{self._serial}"', None, time.time(), digest)
            self._objects[key] = (data, info)
        return info


class _MemoryUpload:
    """See ``ports.MultipartUpload``."""

    def __init__(self, store: MemoryStore, key: str, upload_id: str) -> None:
        self._store = store
        self._key = key
        self.upload_id = upload_id

    def parts(self) -> Sequence[Part]:
        upload = self._upload()
        return [self._part(number, upload.parts[number]) for number in sorted(upload.parts)]

    def put_part(self, number: int, source: Source, start: int, end: int) -> Part:
        data = b"".join(source.read(start, end))
        self._upload().parts[number] = data
        return self._part(number, data)

    def complete(self, parts: Sequence[Part], *, if_absent: bool = False) -> ObjectInfo:
        held = self._upload().parts
        for part in parts:
            if part.number not in held or self._part(part.number, held[part.number]) != part:
                raise BadStoreRequest(f"Part {part.number} of {self._key} is not there", op="put", subject=self._key)
        data = b"".join(held[part.number] for part in sorted(parts, key=lambda part: part.number))
        info = self._store._store(self._key, data, if_absent=if_absent)  # noqa: SLF001 - one class in two halves
        self.abort()
        return info

    def abort(self) -> None:
        self._store._uploads.pop(self.upload_id, None)  # noqa: SLF001 - one class in two halves

    def _upload(self) -> _Upload:
        upload = self._store._uploads.get(self.upload_id)  # noqa: SLF001 - one class in two halves
        if upload is None or upload.key != self._key:
            raise ObjectNotFound(f"There is no upload {self.upload_id} of {self._key}", op="put", subject=self._key)
        return upload

    @staticmethod
    def _part(number: int, data: bytes) -> Part:
        return Part(number, len(data), hashlib.md5(data, usedforsecurity=False).hexdigest())
