"""Secret files: on memory only unless asked otherwise, each with its mode and owner, all of them or none."""

from __future__ import annotations

import errno
import os
import secrets as randomness
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from copilot.core.errors import CopilotError, DiskFull, LocalIOError, NotTmpfs, ReadOnlyPath, SecretPathTaken

if TYPE_CHECKING:
    from collections.abc import Sequence

_TMPFS_MAGIC = 0x01021994
_RAMFS_MAGIC = 0x858458F6


@dataclass(frozen=True, slots=True)
class SecretFile:
    """One file to be written.

    Attributes:
        path: absolute.
        mode: the permission bits.
        uid: the owner, or None for this process's user.
        gid: the group, or None for this process's.
    """

    path: Path
    mode: int = 0o400
    uid: int | None = None
    gid: int | None = None


def check_paths(files: Sequence[SecretFile]) -> None:
    """Raises ``SecretPathTaken`` when two files have one path, or one lies where another needs a directory."""
    seen: set[Path] = set()
    for file in files:
        path = Path(os.path.normpath(file.path))
        if path in seen:
            raise SecretPathTaken(
                f"two secrets are to be written to {path}", op="inject", subject=str(path), hint="Give each a path of its own."
            )
        seen.add(path)
    for path in seen:
        for parent in path.parents:
            if parent in seen:
                raise SecretPathTaken(
                    f"the secret {path} needs a directory where another secret is a file",
                    op="inject",
                    subject=str(path),
                    hint="Give each a path of its own.",
                )


_ON_A_DISK = (
    "Use an emptyDir with medium: Memory, or allow disks expressly: --secrets-allow-disk, with copilot secrets --allow-disk."
)


def check_memory(path: Path, *, hint: str = _ON_A_DISK) -> None:
    """Raises ``NotTmpfs`` unless ``path`` (or the nearest directory above it that exists) is on a memory volume."""
    existing = Path(os.path.realpath(path))  # a step back out of a directory that is not there yet leads elsewhere
    while not existing.exists():
        existing = existing.parent
    if not on_memory(existing):
        raise NotTmpfs(
            f"{path} is not on a memory volume, so the secret would stay on a disk",
            op="inject",
            subject=str(path),
            hint=hint,
        )


def on_memory(path: Path) -> bool:
    """Whether ``path`` is on tmpfs or ramfs, by the magic number of statfs(2). False where it cannot be told."""
    if sys.platform != "linux":
        return False
    import ctypes  # noqa: PLC0415 - Python has no statfs that tells the type

    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(256)  # twice struct statfs
    if libc.statfs(os.fsencode(path), buffer) != 0:
        return False
    # f_type comes first: a word on little-endian Linux, whose low half this is, and half a word on s390x.
    return struct.unpack_from("=I", buffer)[0] in {_TMPFS_MAGIC, _RAMFS_MAGIC}


class SecretFiles:
    """Several files being written: first all beside their places, then all into them.

    Use as a context manager; what was not ``publish``-ed is gone afterwards.

    Args:
        allow_disk: also where it is no memory volume.
    """

    def __init__(self, *, allow_disk: bool = False) -> None:
        """See the class."""
        self._allow_disk = allow_disk
        self._staged: list[tuple[Path, Path]] = []
        self._published: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for temporary, _path in self._staged:
            with suppress(OSError):
                temporary.unlink()
        self._staged.clear()

    def stage(self, file: SecretFile, data: bytes) -> None:
        """Writes ``data`` beside its place, with its final mode and owner.

        Raises:
            NotTmpfs: it would be on a disk.
            SecretPathTaken: there is a directory of that name.
            LocalError: it cannot be written.
        """
        if not self._allow_disk:
            check_memory(file.path)
        if file.path.is_dir():  # found out now, while nothing is published yet
            raise SecretPathTaken(
                f"there is a directory where the secret {file.path} should be",
                op="inject",
                subject=str(file.path),
                hint="Choose another path.",
            )
        temporary = file.path.with_name(f".{file.path.name[:100]}.{randomness.token_hex(6)}")
        try:
            _make_directories(file.path.parent)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            self._staged.append((temporary, file.path))
            with open(descriptor, "wb", closefd=True) as stream:  # noqa: PTH123 - it is a descriptor, not a path
                stream.write(data)
                stream.flush()
                if file.uid is not None or file.gid is not None:
                    os.fchown(stream.fileno(), _id(file.uid), _id(file.gid))
                os.fchmod(stream.fileno(), file.mode)
        except OSError as cause:
            raise _local(cause, file.path) from cause

    def publish(self) -> None:
        """Renames every staged file into its place."""
        while self._staged:
            temporary, path = self._staged[0]
            try:
                temporary.replace(path)
            except OSError as cause:
                raise _local(cause, path) from cause
            del self._staged[0]
            self._published.append(path)

    def withdraw(self) -> None:
        """Removes what was published: where a part of it is worth nothing."""
        for path in self._published:
            with suppress(OSError):
                path.unlink()
        self._published.clear()


def same_content(path: Path, data: bytes) -> bool:
    """Whether the file holds just ``data`` already."""
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def _id(value: int | None) -> int:
    return -1 if value is None else value


def _make_directories(directory: Path) -> None:
    """The directories above a file: to be entered by everybody, since the files' own modes protect them."""
    missing = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    for each in reversed(missing):
        with suppress(FileExistsError):
            each.mkdir()
            each.chmod(0o755)


def _local(cause: OSError, path: Path) -> CopilotError:
    subject = str(path)
    if cause.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFull(
            f"there is no room for the secret {path}", op="inject", subject=subject, hint="Raise the memory volume's sizeLimit."
        )
    if cause.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return ReadOnlyPath(
            f"the secret {path} cannot be written, or not be given to its owner",
            op="inject",
            subject=subject,
            hint="Mount the volume writable, and run as a user that may write there and change owners.",
        )
    if cause.errno in {errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
        return SecretPathTaken(f"something else is where the secret {path} should be", op="inject", subject=subject)
    return LocalIOError(f"the secret {path} cannot be written: {cause.strerror}", op="inject", subject=subject)
