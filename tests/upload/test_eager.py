"""Early upload: what a failed task leaves behind in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from copilot.core import idl
from copilot.core.errors import TaskFailed
from copilot.engine.cancel import never
from copilot.engine.sent import SentFiles
from copilot.upload.eager import EarlyUpload
from copilot.upload.plan import OutputTarget, UploadMode

if TYPE_CHECKING:
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
