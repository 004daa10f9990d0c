"""Early upload: what a failed task leaves behind in the store."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from copilot.core import idl
from copilot.core.completion import Saw, Witness
from copilot.core.errors import TaskFailed
from copilot.core.ports import CancelToken, Checksum, Completion, MultipartUpload, ObjectInfo, Part, Source
from copilot.engine.budget import MIB, Limits
from copilot.engine.cancel import never
from copilot.engine.sent import SentFiles
from copilot.engine.transfer import Transfer
from copilot.stores.memory import MemoryStore
from copilot.stores.sources import BytesSource
from copilot.testing.scripted_store import ScriptedStores, ScriptedUpload
from copilot.upload.eager import EarlyUpload
from copilot.upload.plan import OutputTarget, UploadMode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.upload.conftest import World

FILE = idl.LiteralType(blob=idl.BlobType())


def test_an_upload_that_was_on_its_way_when_the_task_failed_is_ended(world: World) -> None:
    location = world.stores.locate(f"{world.raw}/f")
    location.store.multipart(location.key)
    location.store.multipart("somebody/else")
    world.wrote({"_ERROR": "no"})
    with pytest.raises(TaskFailed):
        world.publish({"f": FILE}, mode=UploadMode.EAGER)
    assert [key for key, _ in location.store.pending_uploads("")] == ["somebody/else"]


def test_what_has_just_arrived_is_not_left_for_the_grace_period(world: World) -> None:
    world.wrote({"f": "12345", "g": "123"})
    early = EarlyUpload(
        world.out,
        {"f": FILE, "g": FILE},
        OutputTarget(world.raw, world.meta),
        transfer=world.transfer,
        clock=world.clock,
        log=world.log,
        cancel=never(world.clock),
        sent=SentFiles(),
        grace_s=30,
    )
    early.saw(str(world.out / "f"), closed=True)
    assert early.round() == 1
    assert [event.fields["left_bytes"] for event in world.log.named("grace.enough")] == [3]


class Slow(MemoryStore):
    """Has read the first body whole, and takes its time before it lands."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.landed = threading.Event(), threading.Semaphore(0)

    def put(self, key: str, source: Source, *, checksum: Checksum | None = None, if_absent: bool = False) -> ObjectInfo:
        content = b"".join(map(bytes, source.read(0, source.size_bytes)))
        if key == "raw/f" and not self.begun.is_set():
            self.begun.set()
            time.sleep(2.5)  # an early upload is waited for a little, and given up
        info = super().put(key, BytesSource(content), checksum=checksum, if_absent=if_absent)
        if key == "raw/f":
            self.landed.release()
        return info


class SlowParts(Slow):
    """The same for the first part of an upload; the last part of the next takes longer still."""

    def multipart(self, key: str, upload_id: str | None = None) -> MultipartUpload:
        return SlowUpload(super().multipart(key, upload_id), self)


class SlowUpload(ScriptedUpload):
    """An upload to ``SlowParts``."""

    def __init__(self, inner: MultipartUpload, store: SlowParts) -> None:
        super().__init__(inner, lambda: None, lambda: None)
        self.store, self.inner = store, inner

    def put_part(self, number: int, source: Source, start: int, end: int) -> Part:
        content = b"".join(map(bytes, source.read(start, end)))
        if number == 1 and not self.store.begun.is_set():
            self.store.begun.set()
            time.sleep(2.5)
        elif number == 3 and content.startswith(b"b"):
            time.sleep(3)
        return self.inner.put_part(number, BytesSource(bytes(start) + content), start, end)

    def complete(self, parts: Sequence[Part], *, if_absent: bool = False) -> ObjectInfo:
        info = self.inner.complete(parts, if_absent=if_absent)
        self.store.landed.release(2)
        return info


@pytest.mark.parametrize(
    ("size_bytes", "kind"),
    [(3, Slow), (2 * MIB, Slow), (3 * MIB - 1, SlowParts)],
    ids=["from memory", "streamed", "in parts"],
)
def test_what_an_early_upload_still_has_in_hand_does_not_land_over_what_was_published(
    world: World, size_bytes: int, kind: type[Slow]
) -> None:
    stores, slow = ScriptedStores(world.stores, world.meta), kind()
    stores.store.inner = slow

    class Task:
        """Finishes a file, and writes it anew while its first content is on its way."""

        def wait(self, cancel: CancelToken) -> Completion:
            del cancel
            world.wrote({"f": b"a" * size_bytes})
            assert slow.begun.wait(30)
            world.wrote({"f": b"b" * size_bytes})
            return Completion(Witness.WRAPPER, Saw.EXITED, 0)

    limits = Limits(max_workers=4, part_bytes=MIB if isinstance(slow, SlowParts) else 8 * MIB)
    transfer = Transfer(stores, limits=limits, clock=world.clock, log=world.log, progress=world.progress)
    world.publish({"f": FILE}, mode=UploadMode.EAGER, transfer=transfer, watchers=[Task()])
    for _ in range(2):
        assert slow.landed.acquire(timeout=30)
    with slow.get("raw/f") as stream:
        assert b"".join(map(bytes, stream)) == b"b" * size_bytes
