"""What an earlier run has left below a directory output: whoever reads the directory reads it as well."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from copilot.core.errors import CopilotError
from copilot.core.uri import as_prefix, redact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from copilot.core.ports import Log, Stores
    from copilot.core.values import SendSpec


def tell_strays(sent: Iterable[SendSpec], *, stores: Stores, log: Log) -> None:
    """Objects below the prefix of a directory that was sent, and not in it. ``log`` hears ``outputs.strays``. Never fails.

    Nothing is deleted: nobody but their owner knows whether they are still wanted.

    Args:
        sent: what was published; files are no concern.
        stores: opens URIs.
        log: hears of them.
    """
    for spec in sent:
        if not spec.tree:
            continue
        try:
            location = stores.locate(spec.uri)
            prefix = as_prefix(location.key)
            count, one = 0, ""
            for info in location.store.list(prefix):
                key = info.key.removeprefix(prefix)
                if key and not os.path.lexists(spec.path / key):
                    count, one = count + 1, one or key
        except CopilotError as error:  # who may write need not be allowed to list
            log.event("outputs.unlisted", level="debug", uri=redact(spec.uri), reason=error.reason, error=error.message)
            continue
        if count:
            log.event(
                "outputs.strays",
                level="warning",
                uri=redact(spec.uri),
                objects=count,
                one=one,
                why="they were there before, and whoever reads the directory reads them too",
                hint="Remove them, or publish somewhere else.",
            )
