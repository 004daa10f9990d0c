"""The part of a plan that needs no store: directories and files with known content, written into the staging directory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from copilot.core.paths import safe_relative
from copilot.engine.atomic import local_errors, make_directory, write_all

if TYPE_CHECKING:
    from copilot.core.literals import ValueFile
    from copilot.core.ports import CancelToken


def write_values(files: Iterable[ValueFile], root: Path, *, final: Path, cancel: CancelToken) -> int:
    """Writes ``files`` below ``root`` and returns their bytes. They are readable by everybody the umask allows.

    Args:
        files: what to write; their directories are made.
        root: the staging directory.
        final: the directory people know, for messages.
        cancel: when to stop.

    Raises:
        LocalError: as the file system says.
    """
    made: set[str] = set()
    size_bytes = 0
    for file in files:
        cancel.check()
        path = f"{root}/{safe_relative(file.path)}"
        directory = path.rpartition("/")[0]
        if directory not in made:
            make_directory(directory)
            made.add(directory)
        with local_errors(final / file.path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                size_bytes += write_all(descriptor, file.content)
            finally:
                os.close(descriptor)
    return size_bytes


def make_directories(paths: Iterable[str], root: Path) -> None:
    """Makes directories that must be there even when nothing comes into them."""
    for path in paths:
        make_directory(f"{root}/{safe_relative(path)}")
