"""Early upload: what a failed task leaves behind in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from copilot.core import idl
from copilot.core.errors import TaskFailed
from copilot.upload.plan import UploadMode

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
