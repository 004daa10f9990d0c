"""Names from a store that become names on this disk, and nothing outside the directory they belong to.

A store's keys are free text; a path is not. What cannot be a path below its directory is refused with its name, never mended:
two keys must not meet in one file without anybody knowing.
"""

from __future__ import annotations

from typing import Final

from copilot.core.errors import UnsafePath

MAX_NAME_BYTES: Final = 255
"""Longest name of one file or directory on Linux's file systems (NAME_MAX)."""

MAX_PATH_BYTES: Final = 3500
"""Longest relative path taken: PATH_MAX is 4096 and the directory it goes below needs its share."""


_MOST_SHOWN: Final = 200


def safe_relative(key_tail: str) -> str:
    """``key_tail`` itself, proven to be a relative ``/``-separated path that stays below the directory it is joined to.

    Args:
        key_tail: what follows the prefix in a store's key, or a path below a directory; a ``/`` at its end (the marker object
            of a directory) must be taken off by the caller.

    Raises:
        UnsafePath: for ``..`` or ``.`` as a segment, NUL, an absolute path, an empty segment (``a//b``), a name longer than
            255 bytes or a path longer than 3,500, text that cannot be written as UTF-8, and the empty path.
    """
    reason = _reason_against(key_tail)
    if reason:
        raise _refusal(key_tail, reason)
    return key_tail


def _reason_against(path: str) -> str:
    if not path:
        return "it is empty"
    if "\0" in path:
        return "it holds a NUL character"
    if path.startswith("/"):
        return "it is an absolute path"
    try:
        size = len(path.encode("utf-8"))
    except UnicodeEncodeError:
        return "it is no valid UTF-8 text"
    if size > MAX_PATH_BYTES:
        return f"it is {size} bytes long and {MAX_PATH_BYTES} is the most a path can have"
    return _reason_against_segments(path, size)


def _reason_against_segments(path: str, size: int) -> str:
    segments = path.split("/")
    for forbidden, reason in (("..", "it holds '..'"), (".", "it holds '.' as a directory"), ("", "it holds an empty segment")):
        if forbidden in segments:
            return reason
    if size > MAX_NAME_BYTES and any(len(segment.encode("utf-8")) > MAX_NAME_BYTES for segment in segments):
        return f"one of its names is longer than {MAX_NAME_BYTES} bytes"
    return ""


def _refusal(path: str, reason: str) -> UnsafePath:
    shown = printable(path)
    return UnsafePath(
        f"The name '{shown}' cannot become a path below the input directory: {reason}",
        op="plan",
        subject=shown,
        hint="Rename the object or the key in the store; nothing was written outside.",
    )


def printable(name: str) -> str:
    """``name`` on one line, for messages: control characters escaped, and no more of it than is needed to recognise it."""
    shown = name if len(name) <= _MOST_SHOWN else f"{name[:_MOST_SHOWN]}…"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in shown)


class PathTree:
    """The paths that will be written, so that none is a file and a directory at once, or a file twice.

    Memory grows with the number of paths added: one for each planned file and tree, not for every object of a tree (there, the
    file system itself says that a name is taken).
    """

    def __init__(self) -> None:
        """Empty: nothing is taken."""
        self._taken: dict[str, tuple[str, str]] = {}  # path -> (owner, what it is)
        self._directories: dict[str, str] = {}

    def add_file(self, path: str, owner: str) -> None:
        """Claims ``path``, and its parents as directories. ``owner`` names who wants it, for the message.

        Raises:
            UnsafePath: the path is taken.
        """
        self._claim(path, owner, "a file")

    def add_tree(self, path: str, owner: str) -> None:
        """Claims ``path`` and everything below it.

        Raises:
            UnsafePath: the path is taken, or something below it is.
        """
        self._claim(path, owner, "a directory")

    def add_directory(self, path: str, owner: str) -> None:
        """Claims ``path`` as a directory; several owners may share one.

        Raises:
            UnsafePath: a file or a tree is there.
        """
        if path in self._taken:
            raise self._refusal(path, owner, *self._taken[path])
        self._add_parents(path, owner)
        self._directories.setdefault(path, owner)

    def _claim(self, path: str, owner: str, kind: str) -> None:
        if path in self._taken:
            raise self._refusal(path, owner, *self._taken[path])
        if path in self._directories:
            raise self._refusal(path, owner, self._directories[path], "a directory")
        self._add_parents(path, owner)
        self._taken[path] = (owner, kind)

    def _add_parents(self, path: str, owner: str) -> None:
        position = path.rfind("/")
        while position > 0:
            parent = path[:position]
            if parent in self._taken:
                raise self._refusal(parent, owner, *self._taken[parent])
            if parent in self._directories:
                return
            self._directories[parent] = owner
            position = path.rfind("/", 0, position)

    @staticmethod
    def _refusal(path: str, owner: str, holder: str, kind: str) -> UnsafePath:
        return UnsafePath(
            f"'{printable(path)}' is wanted by {owner} and is already {kind} of {holder}",
            op="plan",
            subject=printable(path),
            hint="Rename one of the two: a path cannot be both.",
        )
