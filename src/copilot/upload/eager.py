"""``UPLOAD_EAGER``: what the task has finished writing is uploaded while it still runs, so that at its end only the tail moves.

Nothing is decided here. A file that lies still is sent to the place the plan will give it and noted (``engine.sent``); at the
end everything is planned and sent as ever, and the engine finds that most of it is there: same size, time and digest, and the
object still has its etag. Nothing names these objects before ``outputs.pb`` does.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.core.errors import CopilotError, Interrupted, OutputError
from copilot.core.uri import redact
from copilot.engine.cancel import Token
from copilot.engine.grace import Forecast, Rate
from copilot.upload.plan import UploadMode, plan_outputs
from copilot.upload.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from watchdog.events import FileSystemEvent

    from copilot.core import idl
    from copilot.core.ports import CancelToken, Clock, Log
    from copilot.core.values import SendSpec
    from copilot.engine.sent import SentFiles
    from copilot.engine.transfer import Transfer
    from copilot.upload.plan import OutputTarget
    from copilot.upload.walk import PlannedSend

LOOK_EVERY_S: Final = 2.0
QUIET_S: Final = 3.0
_STOP_S: Final = 1.0
_WORTH_WATCHING: Final = frozenset({"closed", "modified", "moved", "created"})


def by_size(sends: Iterable[PlannedSend]) -> list[PlannedSend]:
    """The order that saves most when time is short: single files, the smallest first; then directories."""
    return sorted(sends, key=lambda send: (send.entry.is_directory, send.entry.fingerprint.size_bytes))


def end_leftovers(uris: Iterable[str], *, transfer: Transfer, log: Log, cancel: CancelToken) -> None:
    """At the end: uploads that a killed sidecar or an early upload began and nobody needs are ended. Never fails."""
    try:
        ended = transfer.abort_leftovers(dict.fromkeys(uris), cancel)
    except CopilotError as error:
        log.event("leftovers.remain", level="warning", reason=error.reason, error=error.message)
        return
    if ended:
        log.event("leftovers.ended", uploads=ended)


@contextmanager
def early_upload(
    mode: UploadMode,
    directory: Path,
    declared: Mapping[str, idl.LiteralType],
    target: OutputTarget,
    *,
    transfer: Transfer,
    clock: Clock,
    log: Log,
    cancel: CancelToken,
    sent: SentFiles,
    guard: Callable[[CancelToken], None] | None = None,
    grace_s: float | None = None,
) -> Iterator[None]:
    """Inside, finished files are uploaded; leaving it takes a second at most. Does nothing in other modes.

    Args:
        mode: only ``EAGER`` uploads early.
        directory: where the task writes.
        declared: its outputs.
        target: where they go.
        transfer: the engine.
        clock: time.
        log: hears ``eager.sent``, ``eager.failed``, ``grace.enough``, ``grace.short``.
        cancel: ends it too.
        sent: where it is noted what has arrived.
        guard: looks at what the task has written before any of it leaves the pod; once it refuses, nothing more leaves early.
        grace_s: the grace period, where it is known.
    """
    if mode is not UploadMode.EAGER:
        yield
        return
    token = Token(clock, parent=cancel)
    early = EarlyUpload(
        directory,
        declared,
        target,
        transfer=transfer,
        clock=clock,
        log=log,
        cancel=token,
        sent=sent,
        guard=guard,
        grace_s=grace_s,
    )
    with watched(directory, early, log):
        worker = threading.Thread(target=early.run, name="copilot-eager", daemon=True)
        worker.start()
        try:
            yield
        finally:
            token.cancel("the task has ended")
            early.wake()
            worker.join(_STOP_S)


class EarlyUpload:
    """Looks for files that lie still, and sends them. See ``early_upload``."""

    def __init__(
        self,
        directory: Path,
        declared: Mapping[str, idl.LiteralType],
        target: OutputTarget,
        *,
        transfer: Transfer,
        clock: Clock,
        log: Log,
        cancel: CancelToken,
        sent: SentFiles,
        guard: Callable[[CancelToken], None] | None = None,
        grace_s: float | None = None,
    ) -> None:
        """See ``early_upload``."""
        self._directory = Path(os.path.abspath(directory))  # noqa: PTH100 — Path.resolve would follow links
        self._declared = {name: kind for name, kind in declared.items() if _may_hold_files(kind)}
        self._target = target
        self._transfer = transfer
        self._clock = clock
        self._log = log
        self._cancel = cancel
        self._sent = sent
        self._guard = guard
        self._refused = False
        self._grace_s = grace_s
        self._rate = Rate()
        self._woken = threading.Event()
        self._lock = threading.Lock()
        self._closed: set[str] = set()
        self._seen: dict[str, tuple[int, int, float]] = {}
        self._said: bool | None = None

    def wake(self) -> None:
        """Looks at once."""
        self._woken.set()

    def saw(self, path: str, *, closed: bool) -> None:
        """The kernel says that a file was closed after writing, or is being written to."""
        with self._lock:
            if closed:
                self._closed.add(path)
            else:
                self._closed.discard(path)
        if closed:
            self._woken.set()

    def run(self) -> None:
        """Rounds until the task has ended."""
        while not self._cancel.cancelled:
            self.round()
            self._woken.wait(LOOK_EVERY_S)
            self._woken.clear()

    def round(self) -> int:
        """Sends what lies still and is not known to be there; the number of files that arrived. Never fails."""
        arrived = 0
        left_bytes = 0
        try:
            still, left_bytes = self._still()
            if self._refused or (still and not self._may_leave()):
                return 0
            began_s = self._clock.monotonic_s()
            for receipt in self._transfer.send(still, self._cancel, sent=self._sent) if still else ():
                arrived += 1
                left_bytes -= receipt.size_bytes
                now_s = self._clock.monotonic_s()
                self._rate.add(receipt.size_bytes, now_s - began_s)
                began_s = now_s
                self._log.event("eager.sent", level="debug", uri=redact(receipt.uri), size_bytes=receipt.size_bytes)
        except CopilotError as error:
            # The end will meet it again, and say so; until then it is only a pity.
            if not self._cancel.cancelled:
                self._log.event("eager.failed", level="warning", reason=error.reason, error=error.message)
        self._forecast(left_bytes)
        return arrived

    def _may_leave(self) -> bool:
        if self._guard is not None:
            try:
                self._guard(self._cancel)
            except Interrupted:
                raise
            except CopilotError as error:
                self._refused = True
                self._log.event("eager.refused", level="warning", reason=error.reason, error=error.message)
                return False
        return True

    def _still(self) -> tuple[list[SendSpec], int]:
        """What can be sent now, the smallest first, and the bytes of everything that is not there yet."""
        found: list[tuple[int, SendSpec]] = []
        left_bytes = 0
        now_s = self._clock.monotonic_s()
        for spec in self._specs():
            try:
                facts = spec.path.stat()
            except OSError:
                continue
            if spec.tree or self._sent.find(spec.uri, facts.st_size, facts.st_mtime_ns) is not None:
                continue
            left_bytes += facts.st_size
            if self._quiet(str(spec.path), facts, now_s):
                found.append((facts.st_size, spec))
        found.sort(key=lambda one: one[0])
        return [spec for _, spec in found], left_bytes

    def _specs(self) -> Iterator[SendSpec]:
        for variable, kind in self._declared.items():
            try:
                plan = plan_outputs(self._directory, {variable: kind}, self._target, mode=UploadMode.EAGER)
                yield from Walk(self._directory).specs(plan.sends)
            except (OutputError, CopilotError):
                continue  # not written yet, or not to the end: the last plan will judge it

    def _quiet(self, path: str, facts: os.stat_result, now_s: float) -> bool:
        """Closed, says the kernel; or the same for a while, where it says nothing."""
        size_bytes, modified_ns, since_s = self._seen.get(path, (-1, -1, now_s))
        if (size_bytes, modified_ns) != (facts.st_size, facts.st_mtime_ns):
            self._seen[path] = (facts.st_size, facts.st_mtime_ns, now_s)
            since_s = now_s
        with self._lock:
            closed = path in self._closed
        return closed or now_s - since_s >= QUIET_S

    def _forecast(self, left_bytes: int) -> None:
        if self._grace_s is None:
            return
        forecast = Forecast(self._grace_s, left_bytes, self._rate.bytes_per_s)
        if forecast.enough is None or forecast.enough == self._said:
            return
        self._said = forecast.enough
        self._log.event(
            "grace.enough" if forecast.enough else "grace.short",
            level="info" if forecast.enough else "warning",
            grace_s=self._grace_s,
            left_bytes=left_bytes,
            bytes_per_s=round(self._rate.bytes_per_s or 0),
            needed_s=round(forecast.needed_s or 0, 1),
        )


@contextmanager
def watched(directory: Path, early: EarlyUpload, log: Log) -> Iterator[None]:
    """Inside, the kernel tells ``early`` of files that were closed; where it cannot, polling must do."""
    try:
        from watchdog.events import FileSystemEventHandler  # noqa: PLC0415 — paid for by who uploads early
        from watchdog.observers import Observer  # noqa: PLC0415

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                if not event.is_directory and event.event_type in _WORTH_WATCHING:
                    early.saw(os.fsdecode(event.src_path), closed=event.event_type == "closed")

        observer = Observer()
        observer.schedule(Handler(), str(directory), recursive=True)
        observer.start()
    except (ImportError, OSError) as error:
        log.event("eager.polls", why=type(error).__name__)
        yield
        return
    try:
        yield
    finally:
        threading.Thread(target=observer.stop, name="copilot-eager-end", daemon=True).start()


def _may_hold_files(kind: idl.LiteralType) -> bool:
    """Everything but what is a plain value for sure."""
    return kind.WhichOneof("type") not in {"simple", "enum_type"}
