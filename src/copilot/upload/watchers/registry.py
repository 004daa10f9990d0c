"""Watchers by name: ``name -> ("module:factory", install hint)``. A new one is a file and a line here."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from copilot.core.errors import BadFlag

if TYPE_CHECKING:
    from collections.abc import Callable

    from copilot.core.ports import CompletionWatcher
    from copilot.upload.watchers.context import WatcherContext

WATCHERS: Final[dict[str, tuple[str, str]]] = {
    "marker": ("copilot.upload.watchers.marker:open_watcher", ""),
    "noop": ("copilot.upload.watchers.noop:open_watcher", ""),
    "pod": ("copilot.upload.watchers.pod:open_watcher", ""),
    "process": ("copilot.upload.watchers.process:open_watcher", ""),
    "signal": ("copilot.upload.watchers.signal:open_watcher", ""),
    "wrapper": ("copilot.upload.watchers.wrapper:open_watcher", ""),
}


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
