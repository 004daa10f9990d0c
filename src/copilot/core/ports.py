"""The ports: what the engine and the use-cases need from the world. Read this first, it is the architecture on one page.

Adapters (``stores``, ``secrets.providers``, ``upload.watchers``, ``control_plane.executors``) implement these protocols; the
contract suites in ``copilot.testing`` say what an implementation must do, in tests. Everything blocks; nothing here is async.
Every method raises only ``core.errors.CopilotError`` (adapters classify, the engine retries).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self, runtime_checkable

# --- bytes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of one object.

    Attributes:
        key: the object's name inside its store, as bytes of UTF-8 text; never percent-encoded, never with a leading ``/``
            unless the object's name really has one.
        size_bytes: its length; None where the store does not say (HTTP without ``Content-Length``).
        etag: opaque, good for ``if_match``; None where there is none.
        version: the object's version id, where the store keeps versions.
        modified_at_s: seconds since the epoch, or None.
        md5_hex: the MD5 of the content as 32 hex digits, only where the store states it as such.
    """

    key: str
    size_bytes: int | None
    etag: str | None = None
    version: str | None = None
    modified_at_s: float | None = None
    md5_hex: str | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do, as data.

    Attributes:
        writable: ``put`` works.
        listable: ``list`` works.
        ranged: ``get`` honours ``start`` and ``end``.
        pinned: ``get`` honours ``if_match``.
        if_absent: ``put(if_absent=True)`` is atomic.
        versioned: ``ObjectInfo.version`` can be set.
        local: keys are paths of this machine (no network, no parallel ranges needed).
        clear_text: bytes travel without TLS: a bit that flips on the way is noticed by nobody but us.
        states_content: it is also a ``StatesContent``.
        min_part_bytes: smallest part of a multipart upload but the last; None where there is no re-attachable multipart.
        max_parts: most parts of one multipart upload.
        min_ranged_bytes: objects smaller than this gain nothing from several ranges.
    """

    writable: bool = True
    listable: bool = True
    ranged: bool = True
    pinned: bool = True
    if_absent: bool = True
    versioned: bool = False
    local: bool = False
    clear_text: bool = False
    states_content: bool = False
    min_part_bytes: int | None = None
    max_parts: int = 10_000
    min_ranged_bytes: int = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Checksum:
    """A digest of the whole content: ``algorithm`` is ``md5``, ``sha256`` or ``crc32c``; ``value`` its raw bytes."""

    algorithm: str
    value: bytes


class ByteStream(Protocol):
    """One response's body. Iterating yields non-empty chunks in order; closing early is allowed and frees the connection.

    ``info`` describes the whole object as this response saw it (size of the object, not of the range).
    A body that ends before its promised length raises ``Truncated`` from the iteration.
    """

    info: ObjectInfo

    def __iter__(self) -> Iterator[bytes | memoryview]: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


class Source(Protocol):
    """Bytes to be uploaded: re-readable, so that an attempt can be made again, and a part can be read alone."""

    @property
    def size_bytes(self) -> int: ...
    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        """Bytes ``start`` (included) to ``end`` (excluded), in chunks of bounded size. May raise ``LocalError``."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """One uploaded part: its number from 1, its size, and the store's receipt for it (an etag, a block id)."""

    number: int
    size_bytes: int
    receipt: str


class MultipartUpload(Protocol):
    """An upload that survives this process: anybody with ``upload_id`` can go on with it."""

    @property
    def upload_id(self) -> str: ...
    def parts(self) -> Sequence[Part]:
        """The parts the store holds, by number. An upload that is gone raises ``ObjectNotFound``."""
        ...

    def put_part(self, number: int, source: Source, start: int, end: int) -> Part: ...
    def complete(self, parts: Sequence[Part], *, if_absent: bool = False) -> ObjectInfo: ...
    def abort(self) -> None:
        """Frees what was uploaded. An upload that is gone already is no error."""
        ...


class Store(Protocol):
    """One bucket, container, host or tree. Safe to use from many threads.

    No delete and no rename: user data is never destroyed.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def head(self, key: str) -> ObjectInfo:
        """One object's description. Raises ``ObjectNotFound``."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with ``prefix``, lazily, page by page, in no promised order.

        ``prefix`` is empty or ends at ``/``; an adapter adds the ``/`` itself if it is missing, so that ``a`` never matches
        ``ab/c``. Nothing there is an empty iterator, not an error. "Directory marker" objects (a key that ends at ``/``) are
        listed with size 0 under their key as it is.
        """
        ...

    def get(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> ByteStream:
        """The object's bytes from ``start`` to ``end`` (excluded; None: to its end).

        Raises ``ObjectNotFound``; ``ObjectChanged`` when ``if_match`` is given and the object's etag is another.
        """
        ...

    def put(self, key: str, source: Source, *, checksum: Checksum | None = None, if_absent: bool = False) -> ObjectInfo:
        """The whole object, all or nothing: after an error nothing is visible under ``key`` that was not there before.

        Raises ``ChecksumMismatch`` if the bytes do not have ``checksum``, ``AlreadyExists`` for ``if_absent``.
        """
        ...

    def multipart(self, key: str, upload_id: str | None = None) -> MultipartUpload:
        """A new re-attachable upload, or the one with that id.

        Raises ``Unsupported`` where ``capabilities.min_part_bytes`` is None.
        """
        ...

    def pending_uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        """``(key, upload_id)`` of unfinished multipart uploads under ``prefix``; empty where the store has none."""
        ...


@dataclass(frozen=True, slots=True)
class ContentFacts:
    """What a store says of an object's content when it is asked for just that; None for what it does not say.

    Attributes:
        md5_hex: the MD5 of the content.
        crc32c: its CRC-32C.
        part_bytes: the length of the first part of the multipart upload that made it.
    """

    md5_hex: str | None = None
    crc32c: int | None = None
    part_bytes: int | None = None


class StatesContent(Protocol):
    """A store that knows more of an object's content than ``head`` tells (``Capabilities.states_content``)."""

    def content_facts(self, key: str) -> ContentFacts:
        """One request for what can be compared with the bytes that came. Raises ``ObjectNotFound``."""
        ...


@runtime_checkable
class Retracts(Protocol):
    """A store that can take back a document of ours."""

    def retract(self, key: str) -> None:
        """Removes the object; one that is gone is no error."""
        ...


@dataclass(frozen=True, slots=True)
class Location:
    """A URI, opened: the store it lives in, its key there, and the URI as the user wrote it."""

    uri: str
    store: Store
    key: str


class Stores(Protocol):
    """Opens URIs. One instance per process; stores are opened once and shared."""

    def locate(self, uri: str) -> Location:
        """Raises ``BadFlag`` for a URI that cannot be, ``MissingExtra`` for a scheme whose package is not installed."""
        ...


# --- time and stopping ----------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Time, so that tests own it."""

    def now_s(self) -> float:
        """Seconds since the epoch; may jump."""
        ...

    def monotonic_s(self) -> float:
        """Seconds of a clock that never jumps."""
        ...

    def sleep(self, seconds: float) -> None: ...


class CancelToken(Protocol):
    """A deadline and a reason to stop, passed explicitly to everything that takes time."""

    def check(self) -> None:
        """Raises ``Cancelled`` or ``DeadlineExceeded`` when it is time to stop."""
        ...

    @property
    def cancelled(self) -> bool: ...

    def remaining_s(self) -> float | None:
        """Seconds to the deadline, never negative; None without one."""
        ...

    def wait(self, seconds: float) -> bool:
        """Sleeps, at most until the token is cancelled; True if it was."""
        ...


# --- how a task ended ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Completion:
    """One witness's word on how the task ended.

    Attributes:
        witness: its name: ``wrapper``, ``marker``, ``signal``, ``process``, ``pod``.
        reason: what it saw, a word of ``core.completion``.
        exit_code: main's, where this witness can know it.
        evidence: facts for the verdict's record (never secrets).
        observed_at_s: seconds since the epoch.
    """

    witness: str
    reason: str
    exit_code: int | None = None
    evidence: Mapping[str, str] = field(default_factory=dict)
    observed_at_s: float = 0.0


class CompletionWatcher(Protocol):
    """Waits for one kind of evidence."""

    def wait(self, cancel: CancelToken) -> Completion | None:
        """Blocks until the evidence is there; None when ``cancel`` says stop first."""
        ...


# --- pods -----------------------------------------------------------------------------------------------------------


class PodApi(Protocol):
    """Creates, watches and deletes pods given as plain manifests (the Kubernetes API's JSON).

    A pod is known by namespace and name; its last state stays readable until ``release``, even if somebody else deletes it.
    """

    def create(self, manifest: Mapping[str, object], *, secrets: Sequence[Mapping[str, object]] = ()) -> Mapping[str, object]:
        """Creates the pod, and Secret objects that live and go with it.

        Raises ``PodExists``, ``PodRefused``, ``PodApiUnavailable``.
        """
        ...

    def get(self, namespace: str, name: str) -> Mapping[str, object]:
        """Raises ``PodNotFound``."""
        ...

    def watch(self, namespace: str, cancel: CancelToken) -> Iterator[tuple[str, Mapping[str, object]]]:
        """First ``ADDED`` for every pod, then one ``BOOKMARK`` (annotation ``k8s.io/initial-events-end``), then changes.

        A change is ``ADDED``, ``MODIFIED`` or ``DELETED`` with the whole pod. After a gap it begins anew by itself; it ends
        with ``cancel``.
        """
        ...

    def logs(
        self, namespace: str, name: str, container: str, *, follow: bool, cancel: CancelToken, timestamps: bool = False
    ) -> Iterator[bytes]:
        """The container's current (or last) run's output, in pieces of whole lines; ``follow`` ends with the container.

        With ``timestamps`` each line begins with RFC 3339 time and a blank. Raises ``PodNotFound``.
        """
        ...

    def delete(self, namespace: str, name: str, *, grace_s: float) -> None:
        """Begins the pod's end: SIGTERM now, SIGKILL after ``grace_s``. A pod that is not there, or over, is no error."""
        ...

    def release(self, namespace: str, name: str) -> None:
        """Its last state was read: the pod's object may go as soon as it is over (the finalizer is taken off)."""
        ...


# --- telling people -------------------------------------------------------------------------------------------------


class Progress(Protocol):
    """Hears of moved bytes and finished objects; called from many threads."""

    def planned(self, objects: int, size_bytes: int) -> None: ...
    def moved(self, size_bytes: int) -> None: ...
    def finished(self, subject: str, size_bytes: int) -> None: ...


class Log(Protocol):
    """Structured events: a fixed name and fields. Values known as secrets are masked below this port."""

    def event(self, name: str, /, *, level: str = "info", **fields: object) -> None: ...
