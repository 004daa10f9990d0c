"""Moves bytes. ``Transfer`` is all that the use-cases see of the engine: fetch, send, read, write.

Four promises, whatever moves: what a receipt says has been counted and checked; memory does not grow with size or number; the
first error that is not worth another try stops everything and is the one raised; when the caller's ``CancelToken`` ends, so
does the transfer, within a second and without leaving a temporary file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from copilot.core.errors import InternalError
from copilot.core.uri import redact
from copilot.engine.atomic import make_directory, remove_tree
from copilot.engine.context import Context
from copilot.engine.crew import Crew
from copilot.engine.fetch import fetch_jobs
from copilot.engine.one_object import AbortJob, ReadJob, RetractJob
from copilot.engine.retry import Retrier
from copilot.engine.send import WriteJob, send_jobs

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator

    from copilot.core.ports import CancelToken, Clock, Log, Progress, Stores
    from copilot.core.values import FetchSpec, Receipt, SendSpec
    from copilot.engine.budget import Limits
    from copilot.engine.crew import Job
    from copilot.engine.journal import FetchJournal
    from copilot.engine.sent import SentFiles

_R = TypeVar("_R")
_HEAVY_BYTES = 32 * 1024 * 1024  # what a store may hold for one streamed upload


class Transfer:
    """The engine.

    Args:
        stores: opens URIs.
        limits: what may be used (``Limits.detect()``).
        clock: whose time deadlines, waits and silences are in.
        log: hears ``retry``, ``stalled``, ``object.changed``.
        progress: hears of every chunk and object.
        rng: the jitter's randomness; None for the system's.
    """

    def __init__(
        self, stores: Stores, *, limits: Limits, clock: Clock, log: Log, progress: Progress, rng: random.Random | None = None
    ) -> None:
        """See the class."""
        self._stores = stores
        self._limits = limits
        retrier = Retrier(limits.retry, clock=clock, log=log, rng=rng)
        self._context = Context(limits, clock, log, progress, retrier)

    def fetch(
        self, specs: Iterable[FetchSpec], root: Path, cancel: CancelToken, *, journal: FetchJournal | None = None
    ) -> Iterator[Receipt]:
        """Brings everything below ``root`` and yields a receipt for each object, in the order they arrive.

        A tree is what is below ``uri/`` (``a`` never means ``ab/``); its marker objects ``x/`` become empty directories, and a
        tree without objects an empty directory. ``Receipt.path`` is relative to ``root``. Files appear under their names whole;
        until then they are in a hidden directory of ``root`` that is gone at the end, however it ends. With a ``journal``,
        which the caller keeps outside ``root``, what an earlier run has left there is gone on with.

        Raises:
            UnsafePath: a key that would be written outside, or is a file and a directory at once.
            StoreError: what the store said last, when trying again is of no use or has taken too long.
            LocalError: the disk is full, or cannot be written.
            Interrupted: ``cancel`` said so.
        """
        context = self._context.below(str(root), journal)
        make_directory(context.scratch)
        try:
            crew = self._crew(fetch_jobs(specs, self._stores, context, cancel), cancel)
            yield from crew.results()
        finally:
            remove_tree(Path(context.scratch))

    def send(self, specs: Iterable[SendSpec], cancel: CancelToken, *, sent: SentFiles | None = None) -> Iterator[Receipt]:
        """Uploads everything and yields a receipt for each object, in the order they arrive.

        ``Receipt.path`` begins with the name of the spec's own path: ``model/weights.bin`` for a tree ``/out/model``. Empty
        directories become marker objects. Big files go up as multipart uploads where the store has them; one that an earlier
        process has left is gone on with. With ``sent``, files that it knows, and that are what they were, do not move again.

        Raises:
            UnreadableOutput: a link that leads out, a device, a name that is no UTF-8.
            ObjectChanged: a file that did not stand still for several attempts.
            StoreError, LocalError, Interrupted: as for ``fetch``.
        """
        yield from self._crew(send_jobs(specs, self._stores, self._context.noting(sent)), cancel).results()

    def abort_leftovers(self, uris: Iterable[str], cancel: CancelToken) -> int:
        """Ends unfinished uploads of these objects, and of what is below them: nobody will go on with them. Their number.

        Raises:
            StoreError, Interrupted: as for ``fetch``. A store that does not let us list its uploads is left alone.
        """
        jobs: list[Job[int]] = [AbortJob(self._context, self._stores.locate(uri)) for uri in uris]
        return sum(self._crew(iter(jobs), cancel).results())

    def read(self, uri: str, cancel: CancelToken, *, max_bytes: int | None = None) -> bytes:
        """One object's whole content.

        Args:
            uri: the object.
            cancel: when to stop.
            max_bytes: more than this is refused before it is read; None for ``Limits.max_read_bytes``.

        Raises:
            BadInputs: the object is larger than ``max_bytes``.
            StoreError, Interrupted: as for ``fetch``.
        """
        limit = self._limits.max_read_bytes if max_bytes is None else max_bytes
        return self._one(ReadJob(self._context, self._stores.locate(uri), limit), cancel)

    def write(self, uri: str, data: bytes, cancel: CancelToken, *, if_absent: bool = False) -> Receipt:
        """One object with ``data`` as its content, in one put.

        Args:
            uri: the object.
            data: its whole content.
            cancel: when to stop.
            if_absent: only when nothing is there. An object that an earlier attempt of this very call wrote is no obstacle.

        Raises:
            AlreadyExists: ``if_absent``, and something else is there.
            StoreError, Interrupted: as for ``fetch``.
        """
        location = self._stores.locate(uri)
        return self._one(WriteJob(self._context, location, data, redact(uri).rpartition("/")[2], if_absent=if_absent), cancel)

    def retract(self, uri: str, cancel: CancelToken) -> None:
        """Removes a document of our own that no longer holds; one that is gone is no error. Never for user data.

        Raises:
            Unsupported: the store cannot.
            StoreError, LocalError, Interrupted: as for ``fetch``.
        """
        self._one(RetractJob(self._context, self._stores.locate(uri)), cancel)

    def _one(self, job: Job[_R], cancel: CancelToken) -> _R:
        for result in self._crew(iter((job,)), cancel).results():
            return result
        raise InternalError("A transfer ended without a result", op="transfer", subject=job.subject)

    def _crew(self, jobs: Iterator[Job[_R]], cancel: CancelToken) -> Crew[_R]:
        return Crew(
            jobs,
            limits=self._limits,
            heavy_slots=max(1, self._limits.memory_bytes // _HEAVY_BYTES),
            retrier=self._context.retrier,
            clock=self._context.clock,
            cancel=cancel,
            log=self._context.log,
        )
