"""Several witnesses at once: the first that saw something ends the wait; what others saw by then counts as well."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from copilot.core.errors import CopilotError, DeadlineExceeded, InternalError
from copilot.engine.cancel import Token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from copilot.core.ports import CancelToken, Clock, Completion, CompletionWatcher, Log

_SLICE_S: Final = 0.1


def await_completion(watchers: Sequence[CompletionWatcher], *, clock: Clock, log: Log, cancel: CancelToken) -> list[Completion]:
    """Blocks until a witness has seen the end, and returns what all of them have said by then.

    A watcher that fails is logged and no longer asked; when all have failed, the last error is raised.

    Raises:
        Interrupted: ``cancel`` ended first.
        CopilotError: no watcher is left.
    """
    if not watchers:
        raise InternalError("Nobody was asked to watch the task", op="watch")
    said: SimpleQueue[Completion | CopilotError | None] = SimpleQueue()
    stop = Token(clock, parent=cancel)

    def ask(watcher: CompletionWatcher) -> None:
        try:
            said.put(watcher.wait(stop))
        except CopilotError as error:
            said.put(error)

    for watcher in watchers:
        threading.Thread(target=ask, args=(watcher,), name=f"watch-{type(watcher).__name__}", daemon=True).start()
    try:
        return _first(said, len(watchers), log=log, cancel=cancel)
    finally:
        stop.cancel("another witness was first")


def await_start(watcher: CompletionWatcher, *, timeout_s: float | None, clock: Clock, cancel: CancelToken) -> None:
    """Blocks until the start watcher says the task has begun.

    Raises:
        DeadlineExceeded: it did not within ``timeout_s``.
        Interrupted: ``cancel`` ended first.
    """
    token = Token(clock, timeout_s=timeout_s, parent=cancel, budget="--start-timeout")
    if watcher.wait(token) is None:
        cancel.check()
        raise DeadlineExceeded(
            f"the task did not start within --start-timeout ({timeout_s:g} s)",
            op="watch",
            hint="Give it more time; 0 waits as long as it takes.",
        )


def _first(
    said: SimpleQueue[Completion | CopilotError | None], asked: int, *, log: Log, cancel: CancelToken
) -> list[Completion]:
    seen: list[Completion] = []
    error: CopilotError | None = None
    while not seen:
        try:
            answer = said.get(timeout=_SLICE_S)
        except Empty:
            cancel.check()
            continue
        asked -= 1
        if isinstance(answer, CopilotError):
            error = answer
            log.event("watch.failed", level="warning", reason=answer.reason, error=answer.message)
        elif answer is not None:
            seen.append(answer)
        if not seen and asked == 0:
            cancel.check()
            raise error or InternalError("Every watcher gave up without a word", op="watch")
    while not said.empty():
        answer = said.get()
        if answer is not None and not isinstance(answer, CopilotError):
            seen.append(answer)
    return seen
