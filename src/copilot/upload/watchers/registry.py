"""Watchers by name: ``name -> ("module:factory", install hint)``. A new one is a file and a line here."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from copilot.core.errors import BadFlag

if TYPE_CHECKING:
    from collections.abc import Callable

    from copilot.core.ports import Clock, CompletionWatcher, Log
    from copilot.upload.watchers.pod import PodSource
    from copilot.upload.watchers.signal import SignalLatch

WATCHERS: Final[dict[str, tuple[str, str]]] = {
    "marker": ("copilot.upload.watchers.marker:open_watcher", ""),
    "noop": ("copilot.upload.watchers.noop:open_watcher", ""),
    "pod": ("copilot.upload.watchers.pod:open_watcher", ""),
    "process": ("copilot.upload.watchers.process:open_watcher", ""),
    "signal": ("copilot.upload.watchers.signal:open_watcher", ""),
    "wrapper": ("copilot.upload.watchers.wrapper:open_watcher", ""),
}


@dataclass(frozen=True, slots=True)
class WatcherContext:
    """What a watcher may need.

    Attributes:
        directory: the output directory.
        clock: for the time of an observation.
        log: for what people should know of the watching.
        latch: the process's SIGTERM latch; None where signals are nobody's business.
        control_dir: the control directory, where the wrapper leaves its word; None where there is none.
        pod: where our own pod is looked up; None outside of a pod.
        process_name: which processes are the task's; empty: all that are not ours.
    """

    directory: Path
    clock: Clock
    log: Log
    latch: SignalLatch | None = None
    control_dir: Path | None = None
    pod: PodSource | None = None
    process_name: str = ""


def open_watcher(name: str, context: WatcherContext, *, flag: str = "--exit-watcher-type") -> CompletionWatcher:
    """The watcher called ``name``.

    Args:
        name: a key of ``WATCHERS``.
        context: what it may need.
        flag: where the name came from, for the message.

    Raises:
        BadFlag: there is none of that name.
    """
    if name not in WATCHERS:
        close = get_close_matches(name, WATCHERS, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Use one of {', '.join(WATCHERS)}."
        raise BadFlag(f"{flag} {name!r} is no watcher", op="watch", subject=flag, hint=hint)
    module, _, factory = WATCHERS[name][0].partition(":")
    make = cast("Callable[[WatcherContext], CompletionWatcher]", getattr(import_module(module), factory))
    return make(context)
