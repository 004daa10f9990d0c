"""``s3://``, ``gs://``, ``az://`` (and their kin) through obstore, Rust's ``object_store`` without the GIL.

obstore's own retries are off (the engine retries) and so is its limit on a whole transfer; its paths cannot spell every key,
see ``_handle``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from copilot.core.errors import (
    AccessDenied,
    BadCredentials,
    BucketNotFound,
    CopilotError,
    InternalError,
    ObjectChanged,
    ObjectNotFound,
    Truncated,
    UnsafePath,
    Unsupported,
)
from copilot.core.ports import Capabilities, Checksum, ContentFacts, MultipartUpload, ObjectInfo, Source
from copilot.core.uri import as_prefix
from copilot.stores.obstore_errors import Subject, classified
from copilot.stores.sources import promised, read_whole
from copilot.stores.streams import ChunkStream, check_range

if TYPE_CHECKING:
    from datetime import datetime

    from obstore.store import ObjectStore as Handle

CHUNK_BYTES = 256 * 1024
WHOLE_BYTES = 1024 * 1024  # a body up to here is taken in one piece
PART_BYTES = 8 * 1024 * 1024
PART_CONCURRENCY = 3
MAX_PARTS = 9_500
MAX_CREATE_BYTES = 256 * 1024 * 1024

Lister = Callable[[str], Iterator[ObjectInfo]]


class Multiparts(Protocol):
    """The uploads of one bucket that outlive a process, in its cloud's own protocol."""

    @property
    def min_part_bytes(self) -> int:
        """Smallest part but the last."""
        ...

    def open(self, key: str, upload_id: str | None) -> MultipartUpload:
        """A new one, or the one with that id."""
        ...

    def pending(self, prefix: str) -> Iterator[tuple[str, str]]:
        """``(key, upload_id)`` of the unfinished ones."""
        ...

    def content_facts(self, key: str) -> ContentFacts:
        """What the cloud says of an object's content."""
        ...


class Identity:
    """A source of credentials that keeps its own error: obstore only says that there was one."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask = ask
        self.error: CopilotError | None = None

    def __call__(self) -> Any:  # noqa: ANN401 - a TypedDict that cannot be imported at run time
        """The credentials, as obstore wants them."""
        try:
            answer = self._ask()
        except CopilotError as error:
            self.error = error
            raise
        self.error = None
        return answer


@dataclass(frozen=True, slots=True)
class Bucket:
    """How to reach one bucket or container; the clouds differ in nothing else.

    Attributes:
        uri: ``scheme://bucket`` for messages.
        host: the endpoint's host name.
        handle: obstore's object for it.
        checked: like ``handle``, with the store checking what it gets (only where that costs extra), or None.
        rooted: obstore's object with a key, percent-encoded, as its root: how keys are reached that its paths cannot spell.
        whole: obstore's object whose root is exactly the key given, any key, not encoded; None where ``rooted`` must do.
        multiparts: re-attachable uploads, or None where there are none.
        clear_text: the endpoint speaks plain http.
        identity: where obstore gets credentials from, if it is not obstore's own chain.
        lister: lists keys verbatim in the store's own protocol, or None to list through obstore.
    """

    uri: str
    host: str
    handle: Handle
    rooted: Callable[[str], Handle]
    checked: Callable[[], Handle] | None = None
    lister: Callable[[ObjectStore], Lister] | None = None
    whole: Callable[[str], Handle] | None = None
    identity: Identity | None = None
    multiparts: Callable[[ObjectStore], Multiparts] | None = None
    clear_text: bool = False


class ObjectStore:
    """One bucket. See ``ports.Store``."""

    def __init__(self, bucket: Bucket) -> None:
        import obstore  # noqa: PLC0415 - 40 ms, only when a bucket is opened
        import obstore.exceptions  # noqa: PLC0415

        self.bucket = bucket
        self._multiparts = bucket.multiparts(self) if bucket.multiparts else None
        self.capabilities = Capabilities(
            min_part_bytes=self._multiparts.min_part_bytes if self._multiparts else None,
            clear_text=bucket.clear_text,
            states_content=self._multiparts is not None,
        )
        self._obstore: Any = obstore
        self._lister = bucket.lister(self) if bucket.lister else self._list_through_obstore
        self._bucket_seen = False

    def head(self, key: str) -> ObjectInfo:
        """See the port."""
        handle, path = self._handle(key, "head")
        with self.errors("head", key):
            return _info(key, self._obstore.head(handle, path))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See the port."""
        prefix = as_prefix(prefix)
        with self.errors("list", prefix):
            yield from self._lister(prefix)

    def get(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> ChunkStream:
        """See the port."""
        if end is not None and end <= start:
            return self._get_nothing(key, start, end, if_match)
        handle, path = self._handle(key, "get")
        options: dict[str, object] = {}
        if end is not None:
            options["range"] = (start, end)
        elif start:
            options["range"] = {"offset": start}
        if if_match is not None:
            options["if_match"] = if_match
        with self.errors("get", key):
            result = self._obstore.get(handle, path, options=options or None)
            info = _info(key, result.meta)
            first, last = result.range
        return ChunkStream(info, self._body(result, last - first, key), expected=last - first, subject=self._name(key))

    def put(self, key: str, source: Source, *, checksum: Checksum | None = None, if_absent: bool = False) -> ObjectInfo:
        """See the port. A big object goes up in parts that only become an object together."""
        size, name = source.size_bytes, self._name(key)
        handle, path = self._handle(key, "put", checked=checksum is not None)
        if if_absent and size > MAX_CREATE_BYTES:
            raise Unsupported(
                f"{name} is too big ({size} bytes) to be written only where nothing is",
                op="put",
                subject=name,
                hint="Write it under a new name.",
            )
        with self.errors("put", key):
            if size <= PART_BYTES or if_absent:
                data = read_whole(source, checksum, name)
                mode = "create" if if_absent else "overwrite"
                result = self._obstore.put(handle, path, data, use_multipart=False, mode=mode)
            else:
                result = self._obstore.put(
                    handle,
                    path,
                    promised(source, checksum, name),
                    use_multipart=True,
                    chunk_size=max(PART_BYTES, -(-size // MAX_PARTS)),
                    max_concurrency=PART_CONCURRENCY,
                )
        return ObjectInfo(key, size, result["e_tag"], _version(result))

    def multipart(self, key: str, upload_id: str | None = None) -> MultipartUpload:
        """See the port."""
        if self._multiparts is None or _dotted(key):
            name = self._name(key)
            raise Unsupported(f"An upload of {name} cannot be gone on with by another process", op="put", subject=name)
        return self._multiparts.open(key, upload_id)

    def pending_uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        """See the port."""
        return self._multiparts.pending(as_prefix(prefix)) if self._multiparts else iter(())

    def content_facts(self, key: str) -> ContentFacts:
        """See ``ports.StatesContent``."""
        return ContentFacts() if self._multiparts is None or _dotted(key) else self._multiparts.content_facts(key)

    def retract(self, key: str) -> None:
        """See ``Retracts``."""
        handle, path = self._handle(key, "delete")
        with suppress(ObjectNotFound), self.errors("delete", key):
            self._obstore.delete(handle, path)

    def put_rooted(self, root: str, key: str, data: bytes | bytearray) -> str:
        """A body for the store's own protocol, sent with obstore's signature over it: ``root`` is as above. Its etag."""
        with self.errors("put", key):
            return str(self._obstore.put(self.bucket.rooted(root), "", memoryview(data), use_multipart=False)["e_tag"] or "")

    def sign(self, handle: Handle, method: str, path: str, expires_s: float) -> str:
        """A URL that is good for one request of ours. Raises ``StoreError`` when there is nothing to sign with."""
        with self.errors("sign", path):
            return str(self._obstore.sign(handle, method, path, timedelta(seconds=expires_s)))

    def read_rooted(self, root: str) -> bytes:
        """A document of the store's own protocol, asked for with obstore's signature: ``root`` follows the bucket, encoded."""
        return bytes(self._obstore.get(self.bucket.rooted(root), "").bytes())

    @contextmanager
    def errors(self, op: str, key: str) -> Iterator[None]:
        """Turns what obstore raises into errors of ours, and learns on the way that the bucket is there."""
        try:
            yield
        except (CopilotError, GeneratorExit, KeyboardInterrupt):
            raise
        except Exception as error:
            raise self._classified(error, op, key) from error
        self._bucket_seen = True

    def _classified(self, error: Exception, op: str, key: str) -> CopilotError:
        if self.bucket.identity is not None and self.bucket.identity.error is not None:
            return self.bucket.identity.error
        if not isinstance(error, self._obstore.exceptions.BaseError | FileNotFoundError | ValueError):
            return InternalError(f"{op} of {self._name(key)} failed ({type(error).__name__})", op=op, subject=self._name(key))
        known = classified(error, op, self._subject(key))
        if isinstance(known, AccessDenied) and op == "head":
            # A HEAD's 403 has no body to say whether it is us or the right that is wrong: a GET's does.
            try:
                self._obstore.get(*self._handle(key, op), options={"range": (0, 1)})
            except Exception as second:  # noqa: BLE001 - obstore's tree is wide; only one answer counts
                said = classified(second, op, self._subject(key))
                return said if isinstance(said, BadCredentials) else known
        if isinstance(known, ObjectNotFound) and op != "list" and not self._bucket_seen:
            # A HEAD's 404 has no body to say which of the two is missing: one page of the listing does.
            try:
                next(iter(self._obstore.list(self.bucket.handle, "copilot-is-there-a-bucket", chunk_size=1)), None)
            except Exception as second:  # noqa: BLE001 - obstore's tree is wide; only one answer counts
                if isinstance(classified(second, op, self._subject(key)), ObjectNotFound | BucketNotFound):
                    return BucketNotFound(
                        f"There is no bucket {self.bucket.uri}",
                        op=op,
                        subject=self._name(key),
                        hint="Check its name, the endpoint and the region.",
                    )
            else:
                self._bucket_seen = True
        return known

    def _handle(self, key: str, op: str, *, checked: bool = False) -> tuple[Handle, str]:
        """Obstore's store and path for a key.

        Its paths drop a ``/`` at either end and refuse empty segments and control characters. Such keys are reached through a
        store of their own whose root is the key: obstore adds one ``/`` and an empty path to it.
        """
        if not _plain(key):
            return self._root(key, op)
        if checked and self.bucket.checked is not None:
            return self.bucket.checked(), key
        return self.bucket.handle, key

    def _root(self, key: str, op: str) -> tuple[Handle, str]:
        from urllib.parse import quote  # noqa: PLC0415 - rare

        head, _, tail = key.rpartition("/")
        if key and not _dotted(key):
            if self.bucket.whole is not None:
                return self.bucket.whole(key), ""
            if head and (not tail or _plain(tail)):
                return self.bucket.rooted("/" + quote(head, safe="/-._~")), tail
        name = self._name(key)
        raise UnsafePath(f"{name!r} is no name an object can be reached by", op=op, subject=name, hint="Rename the object.")

    def _get_nothing(self, key: str, start: int, end: int, if_match: str | None) -> ChunkStream:
        info = self.head(key)
        if if_match is not None and if_match != info.etag:
            raise ObjectChanged(f"{self._name(key)} is not the object it was", op="get", subject=self._name(key))
        check_range(info.size_bytes or 0, start, end, self._name(key))
        return ChunkStream(info, iter(()), expected=0, subject=self._name(key))

    def _body(self, result: Any, size: int, key: str) -> Iterator[memoryview]:  # noqa: ANN401 - obstore's results have no types
        try:
            if size <= WHOLE_BYTES:
                yield memoryview(result.bytes())
                return
            for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
                yield memoryview(chunk)
        except GeneratorExit:
            raise
        except Exception as error:
            known = classified(error, "get", self._subject(key))
            if known.transient:
                raise known from error
            raise Truncated(
                f"The connection broke while {self._name(key)} was read", op="get", subject=self._name(key)
            ) from error

    def _list_through_obstore(self, prefix: str) -> Iterator[ObjectInfo]:
        """Obstore's listing, with what it drops put back: the ``/`` at the end of a directory marker's key.

        An object without bytes is one if there is no object under the name without the ``/``.
        """
        if not _plain(prefix[:-1]) and prefix:
            name = self._name(prefix)
            raise UnsafePath(f"{name!r} is no directory that can be listed", op="list", subject=name, hint="Rename it.")
        files: set[str] = set()
        if prefix:
            with suppress(ObjectNotFound):
                yield self.head(prefix)
        for page in self._obstore.list(self.bucket.handle, prefix or None, chunk_size=1000):
            for meta in page:
                key = meta["path"]
                if f"{key}/" == prefix:
                    continue  # the marker itself, said above, or its namesake, which is not below it
                if meta["size"] == 0:
                    if key in files or not self._is_object(key):
                        key = f"{key}/"
                    else:
                        files.add(key)
                yield _info(key, meta)

    def _is_object(self, key: str) -> bool:
        try:
            return self.head(key).size_bytes == 0
        except ObjectNotFound:
            return False

    def _name(self, key: str) -> str:
        return f"{self.bucket.uri}/{key}"

    def _subject(self, key: str) -> Subject:
        return Subject(self._name(key), self.bucket.uri, self.bucket.host)


def _plain(key: str) -> bool:
    """Whether obstore's paths spell this key as it is."""
    return bool(key) and key.isprintable() and not any(part in {"", ".", ".."} for part in key.split("/"))


def _dotted(key: str) -> bool:
    """Whether a URL's own rules would take segments out of this key."""
    return any(part in {".", ".."} for part in key.split("/"))


def _info(key: str, meta: Any) -> ObjectInfo:  # noqa: ANN401 - a TypedDict that cannot be imported at run time
    modified: datetime = meta["last_modified"]
    return ObjectInfo(key, meta["size"], meta["e_tag"], _version(meta), modified.timestamp())


def _version(answer: Any) -> str | None:  # noqa: ANN401 - as above
    version: str | None = answer["version"]
    return None if version == "null" else version  # what S3 calls an object of a bucket without versions
