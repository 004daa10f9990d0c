"""Files that appear whole or not at all, and what the machine's refusals are called.

A container that is killed loses no page the kernel has; only a machine that dies does. So nothing here syncs a file at a time:
``write_file`` syncs because it writes commits, and a tree is synced once, by ``sync_tree``, before it is published.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.core.errors import DiskFull, LocalError, LocalIOError, ReadOnlyPath, UnsafePath

if TYPE_CHECKING:
    from types import TracebackType

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def local_error(path: Path | str, cause: OSError, *, op: str = "write") -> LocalError:
    """What ``cause`` is called: ``DiskFull``, ``ReadOnlyPath`` or ``LocalIOError``, decided by its errno."""
    # An error may name a file of ours, or none; what the user knows is the path that was worked on.
    subject = str(path)
    why = os.strerror(cause.errno) if cause.errno else type(cause).__name__
    if cause.errno in _FULL:
        return DiskFull(
            f"There is no space left for {subject}",
            op=op,
            subject=subject,
            hint="Give the volume more space (for an emptyDir: its sizeLimit and the node's ephemeral storage).",
        )
    if cause.errno in _READ_ONLY and op != "read":
        return ReadOnlyPath(
            f"{subject} cannot be written ({why})",
            op=op,
            subject=subject,
            hint="Mount the directory writable, and check its owner, mode and the pod's securityContext.",
        )
    return LocalIOError(
        f"{subject} could not be {'read' if op == 'read' else 'written'} ({why})",
        op=op,
        subject=subject,
        hint="Check that the path exists, its permissions, and the health of its volume.",
    )


class local_errors:  # noqa: N801 - reads as the statement it is: `with local_errors(path):`
    """Inside, an ``OSError`` becomes the ``LocalError`` it is, naming ``path``. A class because it runs for every file."""

    __slots__ = ("_op", "_path")

    def __init__(self, path: Path | str, *, op: str = "write") -> None:
        """``op`` is ``read`` or ``write``: a refused read is no read-only path."""
        self._path = path
        self._op = op

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Raises the ``LocalError`` for an ``OSError``; lets everything else pass."""
        if isinstance(error, OSError):
            raise local_error(self._path, error, op=self._op) from error


def write_file(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """``data`` under ``path``: complete and on the disk, or not there (what stood there before stays).

    Args:
        path: the final name; its directory exists.
        data: the whole content.
        mode: permissions before the umask.

    Raises:
        LocalError: as the file system says; no temporary file is left.
    """
    temporary = path.with_name(f".copilot-{os.urandom(8).hex()}")
    with local_errors(path):
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            try:
                write_all(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)


def publish_directory(staged: Path, final: Path) -> None:
    """``staged`` gets the name ``final`` in one step, with all its content on the disk first.

    ``final`` does not exist, or is an empty directory. Both are in one file system.

    Raises:
        LocalError: as the file system says; ``staged`` is as it was.
    """
    sync_tree(staged)
    with local_errors(final):
        staged.rename(final)
        _sync_directory(final.parent)


def sync_tree(path: Path) -> None:
    """Everything written so far in the file system of ``path`` is on its disk: one ``syncfs``, not an ``fsync`` a file."""
    import ctypes  # noqa: PLC0415 - 8 ms, needed once at the end

    libc = ctypes.CDLL(None, use_errno=True)
    with local_errors(path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.syncfs(fd) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
        finally:
            os.close(fd)


def reserve(fd: int, size_bytes: int) -> None:
    """Makes the file ``size_bytes`` long and takes the space now, where the file system can: a full disk shows at once.

    Raises ``OSError``. A file system without ``fallocate`` gets a sparse file (libc's own substitute would write it all).
    """
    import ctypes  # noqa: PLC0415 - as above: only big files get here

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(fd, 0, ctypes.c_int64(0), ctypes.c_int64(size_bytes)) != 0:
        code = ctypes.get_errno()
        if code not in {errno.EOPNOTSUPP, errno.ENOSYS}:
            raise OSError(code, os.strerror(code))
        os.ftruncate(fd, size_bytes)


def write_all(fd: int, chunk: bytes | memoryview) -> int:
    """The whole chunk; its length. Raises ``OSError``."""
    size = len(chunk)
    done = os.write(fd, chunk)
    while done < size:
        done += os.write(fd, memoryview(chunk)[done:])
    return size


def write_all_at(fd: int, chunk: bytes | memoryview, offset: int) -> int:
    """As ``write_all``, at ``offset`` and without moving the file's own position."""
    size = len(chunk)
    done = os.pwrite(fd, chunk, offset)
    while done < size:
        done += os.pwrite(fd, memoryview(chunk)[done:], offset + done)
    return size


def make_directory(path: str) -> None:
    """``path`` and its parents are directories.

    Raises:
        UnsafePath: a file stands where a directory must be.
        LocalError: as the file system says.
    """
    try:
        os.makedirs(path, exist_ok=True)  # noqa: PTH103 - twice as fast as pathlib's, and called for every directory of a tree
    except (FileExistsError, NotADirectoryError) as error:
        raise file_and_directory(path) from error
    except OSError as error:
        raise local_error(path, error) from error


def move_into_place(temporary: str, final: str) -> None:
    """``temporary`` becomes ``final``, whose directory is made if it is missing. Replaces a file, never a directory.

    Raises:
        UnsafePath: ``final`` is a directory, or one of its parents is a file.
        LocalError: as the file system says.
    """
    try:
        os.rename(temporary, final)  # noqa: PTH104 - as above
    except FileNotFoundError:
        make_directory(os.path.dirname(final))  # noqa: PTH120 - as above
        with local_errors(final):
            os.rename(temporary, final)  # noqa: PTH104 - as above
    except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        raise file_and_directory(final) from error
    except OSError as error:
        raise local_error(final, error) from error


def file_and_directory(path: str) -> UnsafePath:
    """The error for a name that is an object and also the start of other objects' names."""
    return UnsafePath(
        f"{path} would have to be a file and a directory at once",
        op="get",
        subject=path,
        hint="A store can hold both 'a' and 'a/b', a disk cannot: rename one of the two objects.",
    )


def remove_tree(path: Path) -> None:
    """``path`` and all below it are gone; nothing happens if it is not there. Errors are not worth hiding the first one for."""
    import shutil  # noqa: PLC0415 - brings every compressor along, and is needed once at the end

    shutil.rmtree(path, ignore_errors=True)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
