"""A big file as a multipart upload that the next process can go on with.

The store is the journal: what an earlier process has brought there is listed, and a part counts if its receipt is the MD5 of
that part of the local file. The job of the file works on one part at a time, and so do lanes beside it; so what a kill costs is
at most the parts that were in flight, 16 MiB or one part.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar

from copilot.core.errors import CopilotError, InternalError, Interrupted, ObjectChanged, ObjectNotFound, StoreError
from copilot.core.uri import redact
from copilot.engine.claims import bare_etag
from copilot.engine.crashpoints import reach
from copilot.engine.journal import MOST_REPEATED_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from copilot.core.ports import Location, MultipartUpload, ObjectInfo, Part, Store
    from copilot.core.values import Receipt
    from copilot.engine.budget import Limits
    from copilot.engine.context import Context
    from copilot.engine.crew import Beat, Crew, Job
    from copilot.engine.source import FileSource

T = TypeVar("T")

LANES: Final = 3
PART_BYTES: Final = 8 * 1024 * 1024
_WAIT_S: Final = 0.1


def upload_part_bytes(limits: Limits, store: Store, size_bytes: int) -> int | None:
    """Length of one part of an upload of that size to that store, or None where uploads cannot be gone on with.

    Depends on nothing that a restart would change. Two of them may be in flight together (``lanes``); every part costs a
    signature, so they are not shorter. A file of more parts than the store takes has longer ones.
    """
    able = store.capabilities
    if able.min_part_bytes is None:
        return None
    return max(min(limits.part_bytes, PART_BYTES), able.min_part_bytes, -(-size_bytes // able.max_parts))


def lanes(part_bytes: int) -> int:
    """How many parts of one file may be in flight: what a kill costs is never more than 16 MiB, or one part. Pure."""
    return max(1, min(LANES, MOST_REPEATED_BYTES // part_bytes))


def upload_bounds(size_bytes: int, part_bytes: int, most: int) -> list[tuple[int, int]]:
    """``(start, end)`` of parts that are all of one length, at least ``part_bytes``, but the last; at most ``most``. Pure."""
    step = max(part_bytes, -(-size_bytes // most))
    return [(start, min(start + step, size_bytes)) for start in range(0, size_bytes, step)]


class ResumableSend:
    """One file on its way. Owns ``source`` and closes it when the last lane has left.

    Args:
        context: the world.
        location: the object.
        source: the file.
        part_bytes: ``upload_part_bytes``.
    """

    def __init__(self, context: Context, location: Location, source: FileSource, part_bytes: int) -> None:
        """See the class."""
        self.context = context
        self.location = location
        self.source = source
        self.subject = redact(location.uri)
        most = location.store.capabilities.max_parts
        self._bounds = upload_bounds(source.size_bytes, part_bytes, most)
        self._upload: MultipartUpload | None = None
        self._parts: dict[int, Part] = {}
        self._missing: deque[int] = deque()
        self._state = threading.Condition()
        self._flying = 0
        self._error: CopilotError | None = None
        self._users = 1
        self._lane = Lane(self)

    def send(self, crew: Crew[Receipt], beat: Beat) -> ObjectInfo:
        """Uploads what is missing; what the object is now.

        Raises:
            ObjectChanged: the file changed, or somebody else ended the upload: try again.
            StoreError, LocalError: as they come. The upload is left for another attempt; see ``abort``.
        """
        store, key = self.location.store, self.location.key
        there = self._take_up(crew, beat)
        if there is not None:
            return there
        upload = self._upload = self._upload or self._call(crew, lambda: store.multipart(key))
        reach("multipart.created")
        self._missing.extend(number for number in range(1, len(self._bounds) + 1) if number not in self._parts)
        most = lanes(self._bounds[0][1])
        beside: list[Job[Receipt]] = [Lane(self) for _ in range(min(most, len(self._missing)) - 1)]
        if beside:
            crew.urgent(beside)
        self._lane.work(crew, beat)
        self._wait(beat)
        if self._error is not None:
            raise self._error
        self.source.check()
        reach("multipart.before-complete")
        beat.touch()
        with self.context.writing(self.location, beat), beat.waiting(self.context.limits.stall_s):
            try:
                info = self._call(crew, lambda: upload.complete([self._parts[number] for number in sorted(self._parts)]))
            except ObjectNotFound as error:
                raise self._gone(upload) from error
        self._upload = None
        reach("multipart.completed")
        return info

    def abort(self) -> None:
        """Frees what was uploaded: nobody will go on with it. Errors are not worth hiding the first one for."""
        upload, self._upload = self._upload, None
        if upload is None:
            return
        try:
            upload.abort()
        except CopilotError as error:
            self.context.log.event("resume.not_aborted", level="warning", reason=error.reason, error=error.message)

    def leave(self) -> None:
        """The job of the file is done with it, well or not: lanes stop after the part they are at."""
        with self._state:
            self._missing.clear()
        if self._upload is not None:
            self.context.uploads.leave(self.location, self._upload.upload_id)
        self.release()

    # --- for lanes ----------------------------------------------------------------------------------------------------

    def enter(self) -> bool:
        """Counts a user of the source; False when it is closed."""
        with self._state:
            if self._users == 0:
                return False
            self._users += 1
            return True

    def release(self) -> None:
        """A user is done; the last one closes the file."""
        with self._state:
            self._users -= 1
            if self._users == 0:
                self.source.close()

    def take(self) -> int | None:
        """The next part to bring, or None."""
        with self._state:
            if not self._missing or self._error is not None:
                return None
            self._flying += 1
            return self._missing.popleft()

    def bring(self, number: int, crew: Crew[Receipt], beat: Beat) -> None:
        """Uploads one part."""
        upload = self._upload
        if upload is None:
            raise InternalError("A part was sent to no upload", op="put", subject=self.subject)
        start, end = self._bounds[number - 1]

        def put() -> Part:
            beat.touch()
            # A part that an earlier transfer still has in hand would take the place of this one.
            with self.context.writing(self.location, beat), beat.waiting(self.context.limits.slack_s(end - start)):
                return upload.put_part(number, self.source, start, end)

        try:
            part = self._call(crew, put)
            beat.touch()
            if part.size_bytes != end - start:
                raise ObjectChanged("A part arrived with another length", op="put", subject=self.subject)
        except Interrupted:
            raise
        except ObjectNotFound as error:
            self._landed(error=self._gone(upload, error))
        except CopilotError as error:
            self._landed(error=error)
        else:
            reach("multipart.part-sent")
            self._landed(part=part)

    def _landed(self, part: Part | None = None, error: CopilotError | None = None) -> None:
        with self._state:
            self._flying -= 1
            if part is not None:
                self._parts[part.number] = part
            self._error = self._error or error
            self._state.notify_all()

    def _wait(self, beat: Beat) -> None:
        while True:
            beat.touch()
            with self._state:
                if not self._flying:
                    return
                self._state.wait(_WAIT_S)

    # --- what is there already ------------------------------------------------------------------------------------------

    def _take_up(self, crew: Crew[Receipt], beat: Beat) -> ObjectInfo | None:
        """Finds what an earlier process has brought. The object itself, when it is there whole."""
        found: list[tuple[MultipartUpload, dict[int, Part]]] = []
        for upload_id in self.context.uploads.claim(self.location, self.context.retrier, self.context.log, crew):
            beat.touch()
            upload = self.location.store.multipart(self.location.key, upload_id)
            try:
                found.append((upload, self._matching(self._call(crew, upload.parts), beat)))
            except ObjectNotFound:
                continue
        if not found:
            return self._whole(crew, beat)
        found.sort(key=lambda one: len(one[1]))
        self._upload, self._parts = found.pop()
        for upload, _ in found:
            self._call(crew, upload.abort)
        had = sum(part.size_bytes for part in self._parts.values())
        self.context.log.event("send.continued", subject=self.subject, had_bytes=had, size_bytes=self.source.size_bytes)
        return None

    def _matching(self, parts: Sequence[Part], beat: Beat) -> dict[int, Part]:
        found: dict[int, Part] = {}
        for part in parts:
            if part.number > len(self._bounds):
                continue
            start, end = self._bounds[part.number - 1]
            if part.size_bytes == end - start and part.receipt == self._md5(start, end, beat):
                found[part.number] = part
        return found

    def _whole(self, crew: Crew[Receipt], beat: Beat) -> ObjectInfo | None:
        """The object, if it was made of just these parts: S3's etag is then the MD5 of their MD5s."""
        store = self.location.store
        try:
            info = self._call(crew, lambda: store.head(self.location.key))
        except StoreError as error:
            if error.transient:
                raise
            return None
        etag = bare_etag(info.etag)
        if info.size_bytes != self.source.size_bytes or not etag.endswith(f"-{len(self._bounds)}"):
            return None
        over = hashlib.md5(usedforsecurity=False)
        for start, end in self._bounds:
            over.update(bytes.fromhex(self._md5(start, end, beat)))
        if etag != f"{over.hexdigest()}-{len(self._bounds)}":
            return None
        self.source.check()
        self.context.log.event("send.already_there", subject=self.subject, size_bytes=info.size_bytes)
        return info

    def _md5(self, start: int, end: int, beat: Beat) -> str:
        hasher = hashlib.md5(usedforsecurity=False)
        for chunk in self.source.read(start, end):
            hasher.update(chunk)
            beat.touch()
        return hasher.hexdigest()

    def _gone(self, upload: MultipartUpload, cause: CopilotError | None = None) -> ObjectChanged:
        self._upload = None
        error = ObjectChanged(
            f"Somebody else ended the upload {upload.upload_id[:16]} of {self.subject}", op="put", subject=self.location.uri
        )
        error.__cause__ = cause
        return error

    def _call(self, crew: Crew[Receipt], fn: Callable[[], T]) -> T:
        return self.context.retrier.call(fn, cancel=crew, op="put", subject=self.location.uri)


class Lane:
    """One part at a time, until there are none."""

    __slots__ = ("_file", "_number", "heavy", "patience")

    def __init__(self, file: ResumableSend) -> None:
        """Of one file."""
        self._file = file
        self._number: int | None = None
        self.heavy = False
        self.patience = file.context.retrier.patience()

    @property
    def subject(self) -> str:
        """The object, for messages."""
        return self._file.subject

    def run(self, crew: Crew[Receipt], beat: Beat) -> Receipt | None:
        """Works beside the job of the file, which makes the receipt."""
        if not self._file.enter():
            return None
        try:
            self.work(crew, beat)
        finally:
            self._file.release()
        return None

    def work(self, crew: Crew[Receipt], beat: Beat) -> None:
        """Brings parts. After a stall it is called again, and begins with the part it was at."""
        while True:
            number = self._number if self._number is not None else self._file.take()
            if number is None:
                return
            self._number = number
            self._file.bring(number, crew, beat)
            self._number = None
