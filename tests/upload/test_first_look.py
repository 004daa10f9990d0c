"""What the sidecar asks the store while the task runs."""

from __future__ import annotations

import pytest

from copilot.core.errors import AccessDenied, BadCredentials, BucketNotFound, CopilotError, Unreachable
from copilot.core.ports import Location
from copilot.engine.cancel import never
from copilot.engine.clock import SystemClock
from copilot.stores.memory import MemoryStore
from copilot.stores.sources import BytesSource
from copilot.testing.recording import RecordingLog
from copilot.upload.warm import FirstLook

URI = "memory://b/outputs.pb"


class Stores:
    def __init__(self, error: CopilotError | None = None) -> None:
        self.store, self.error = MemoryStore(), error

    def locate(self, uri: str) -> Location:
        if self.error is not None:
            raise self.error
        return Location(uri, self.store, "outputs.pb")


def look(stores: Stores) -> tuple[bool, RecordingLog]:
    log = RecordingLog()
    first = FirstLook(stores, URI, log=log)
    first.begin()
    return first.absent(never(SystemClock())), log


def test_it_knows_whether_outputs_were_there() -> None:
    stores = Stores()
    assert look(stores)[0] is True
    stores.store.put("outputs.pb", BytesSource(b"x"))
    assert look(stores)[0] is False


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (BadCredentials("no"), "warning"),
        (BucketNotFound("none"), "warning"),
        (AccessDenied("no"), "debug"),
        (Unreachable("not there"), "debug"),
    ],
)
def test_what_the_end_would_meet_as_well_is_a_warning_now(error: CopilotError, level: str) -> None:
    absent, log = look(Stores(error))
    assert absent is False
    assert [(event.level, event.fields["reason"]) for event in log.named("store.not_warm")] == [(level, error.reason)]
