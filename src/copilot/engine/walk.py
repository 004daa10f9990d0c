"""A directory's files, lazily, in a stable order within each directory, and never out of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from copilot.core.errors import UnreadableOutput
from copilot.engine.atomic import local_errors

if TYPE_CHECKING:
    from collections.abc import Iterator


def walk(top: str) -> Iterator[tuple[str, str]]:
    """``(path, relative)`` of every file below ``top``, and of every directory without entries.

    Such a directory's ``relative`` ends at ``/``, and is just that for ``top`` itself. Symbolic links are followed as long
    as they stay below ``top``.

    Raises:
        UnreadableOutput: a link that leads out of ``top`` or in a circle, a name that is no UTF-8, a device, FIFO or socket.
        LocalIOError: a directory that cannot be read.
    """
    real_top = os.path.realpath(top)
    yield from _directory(top, "", real_top, frozenset({real_top}))


def _directory(path: str, relative: str, real_top: str, above: frozenset[str]) -> Iterator[tuple[str, str]]:
    with local_errors(path, op="read"), os.scandir(path) as found:
        # One directory at a time is held, names only: what is held is bounded by the largest, not by the tree.
        entries = sorted(found, key=lambda entry: entry.name)
    if not entries:
        yield path, f"{relative}/"
        return
    for entry in entries:
        name = f"{relative}/{entry.name}" if relative else entry.name
        _check_name(entry.path, name)
        within = above
        if entry.is_symlink():
            real = _followed(entry.path, real_top)
            if entry.is_dir():
                if real in above:
                    raise _refused(entry.path, "is a link that leads in a circle")
                within = above | {real}
        if entry.is_dir():
            yield from _directory(entry.path, name, real_top, within)
        elif entry.is_file():
            yield entry.path, name
        else:
            raise _refused(entry.path, "is neither a file nor a directory")


def _followed(path: str, real_top: str) -> str:
    real = os.path.realpath(path)
    if real != real_top and not real.startswith(f"{real_top}/"):
        raise _refused(path, "is a link that leads out of the output's directory")
    return real


def _check_name(path: str, name: str) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _refused(path, "has a name that is no UTF-8 text") from error


def _refused(path: str, why: str) -> UnreadableOutput:
    shown = path.encode("utf-8", "backslashreplace").decode()
    return UnreadableOutput(
        f"{shown} {why}",
        op="plan",
        subject=shown,
        hint="Write outputs as ordinary files and directories below the output's path.",
    )
