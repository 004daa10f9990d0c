"""After the commit, error documents that earlier attempts left in the same place are taken back: who reads both sees a failure.

First ``outputs.pb``, then this: a sidecar that is killed between the two leaves both, which is the truth as well, since
``outputs.pb`` is the commit; the other way round it could leave neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from copilot.core.error_document import is_ours
from copilot.core.errors import CopilotError, ObjectNotFound
from copilot.core.uri import join, redact
from copilot.engine.cancel import Token

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken, Clock, Log
    from copilot.engine.transfer import Transfer
    from copilot.upload.plan import OutputTarget

_TIMEOUT_S: Final = 15.0


def take_back_errors(target: OutputTarget, *, transfer: Transfer, clock: Clock, log: Log, cancel: CancelToken) -> None:
    """Removes the error documents that copilot wrote below ``target``; those of others stay. Never fails.

    Args:
        target: where outputs.pb has just been written.
        transfer: the engine.
        clock: time.
        log: hears ``error_document.taken_back``, ``error_document.kept``, ``error_document.remains``.
        cancel: when to stop altogether.
    """
    token = Token(clock, timeout_s=_TIMEOUT_S, parent=cancel, budget="the time for old error documents")
    for name in target.error_names:
        uri = join(target.output_prefix, name)
        try:
            document = transfer.read(uri, token)
        except ObjectNotFound:
            continue
        except CopilotError as error:  # stores answer so for what is not there to those who may not list
            log.event("error_document.unread", level="debug", uri=redact(uri), reason=error.reason)
            continue
        if not is_ours(document):
            log.event("error_document.kept", uri=redact(uri), why="copilot did not write it")
            continue
        try:
            transfer.retract(uri, token)
        except CopilotError as error:
            log.event(
                "error_document.remains",
                level="warning",
                uri=redact(uri),
                reason=error.reason,
                error=error.message,
                hint="It is of an earlier attempt; outputs.pb counts. Let the sidecar delete objects there.",
            )
        else:
            log.event("error_document.taken_back", uri=redact(uri), why="it is of an earlier attempt, and this one succeeded")
