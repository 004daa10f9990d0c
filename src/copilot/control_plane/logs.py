"""An attempt's log: live from its pod, afterwards from the store. Either way lines with their times.

The task's secrets are masked: here in a live log, when it is archived in the one in the store.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from flyteidl2.logs.dataplane.payload_pb2 import LogLine, LogLineOriginator

from copilot.control_plane.errors import NoSuchResource
from copilot.control_plane.lifecycle.observe import main_name, main_status
from copilot.core.errors import PodNotFound
from copilot.core.secret_mask import StreamMask

if TYPE_CHECKING:
    from copilot.control_plane.lifecycle.records import AttemptRecord
    from copilot.control_plane.office import Office

_MAX_LINES: Final = 500
_MAX_LINE_BYTES: Final = 256 * 1024
_CHUNK_BYTES: Final = 256 * 1024


class Lines:
    """Chunks of bytes → lines. A line longer than 256 KiB is cut into several."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[LogLine]:
        """The lines that are whole now."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        lines = [line_of(each) for each in whole]
        if len(self._rest) > _MAX_LINE_BYTES:
            lines.append(line_of(self._rest))
            self._rest = b""
        return lines

    def end(self) -> list[LogLine]:
        """What came after the last newline."""
        rest, self._rest = self._rest, b""
        return [line_of(rest)] if rest else []


def line_of(raw: bytes) -> LogLine:
    """A line of an executor or an archive: RFC 3339 time, blank, text. A line without a time is text."""
    stamp, _, text = raw.partition(b" ")
    line = LogLine(originator=LogLineOriginator.USER)
    try:
        at = datetime.fromisoformat(stamp.decode("ascii"))
    except ValueError:
        text = raw
    else:
        line.timestamp.FromDatetime(at)
    line.message = text.decode("utf-8", "replace") + "\n"
    return line


async def attempt_lines(office: Office, record: AttemptRecord) -> AsyncIterator[list[LogLine]]:
    """The attempt's lines, some at a time, until its end. Raises ``NoSuchResource`` when there are none to be had (yet)."""
    given = 0
    if not record.attempt.logs_archived:
        pod = await office.executor.get(record.attempt.pod_name)
        state = ((main_status(pod) or {}).get("state") or {}) if pod is not None else {}
        if pod is not None and ("running" in state or "terminated" in state):
            # A pod goes once its log is in the store: what it could not say any more is read there.
            with contextlib.suppress(PodNotFound):
                live = office.executor.follow(record.attempt.pod_name, main_name(pod))
                async for lines in _batches(_masked(live, await office.known_secrets(record))):
                    given += len(lines)
                    yield lines
                return
    if await office.objects.size(record.attempt.logs_uri) is None:
        where = f"{record.run.name}/{record.action.name} attempt {record.attempt.number}"
        if record.ended:
            raise NoSuchResource(
                f"there is no log of {where}: it ended before its task began",
                hint=f"See why: copilot describe {record.run.name}.",
            )
        raise NoSuchResource(f"there is no log of {where} yet", hint="It begins when the task does.")
    async for lines in _batches(_archived(office, record.attempt.logs_uri)):
        fresh = lines[given:]
        given -= len(lines) - len(fresh)
        if fresh:
            yield fresh


async def _masked(chunks: AsyncIterator[bytes], known: Sequence[bytes]) -> AsyncIterator[bytes]:
    mask = StreamMask(known)
    async for chunk in chunks:
        yield mask.feed(chunk)
    yield mask.finish()


async def _archived(office: Office, uri: str) -> AsyncIterator[bytes]:
    location = office.objects.stores.locate(uri)
    stream = await office.objects.run(lambda: location.store.get(location.key))
    chunks = iter(stream)
    try:
        while (chunk := await office.objects.run(lambda: next(chunks, None))) is not None:
            for start in range(0, len(chunk), _CHUNK_BYTES):
                yield bytes(chunk[start : start + _CHUNK_BYTES])
    finally:
        await office.objects.run(stream.close)


async def _batches(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[LogLine]]:
    lines = Lines()
    async for chunk in chunks:
        ready = lines.feed(chunk)
        for start in range(0, len(ready), _MAX_LINES):
            yield ready[start : start + _MAX_LINES]
    if rest := lines.end():
        yield rest
