"""The keys of secrets at rest: given by the environment, or in a file that may change while servers run."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final, Protocol

from copilot.control_plane.errors import InvalidRequest
from copilot.core.errors import BadConfig
from copilot.engine.atomic import local_errors

KEY_BYTES: Final = 32
_FILE_MODE: Final = 0o600


class Keys(Protocol):
    """Keys, the one that encrypts first."""

    def read(self) -> Sequence[bytes]:
        """As they are now; at least one. Raises ``BadConfig``."""
        ...

    def hold(self) -> contextlib.AbstractContextManager[object]:
        """While it is open, none of them is forgotten. Blocks for the moment in which one is being."""
        ...


class FixedKeys:
    """Keys that stay as they are as long as the process runs."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Raises ``BadConfig`` for none, or one of another length."""
        self._keys = _checked(keys)

    def read(self) -> Sequence[bytes]:
        """See ``Keys``."""
        return self._keys

    def hold(self) -> contextlib.AbstractContextManager[object]:
        """See ``Keys``."""
        return contextlib.nullcontext()


class KeyFile:
    """Keys in a file of mode 0600, a line each in base64, the newest first; made with a fresh one if it is not there.

    Args:
        path: the file. Beside it is ``….lock``, by which those who write secrets and who changes the keys keep apart.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_path = path.with_name(path.name + ".lock")
        self._seen: tuple[int, int, int] | None = None
        self._keys: Sequence[bytes] = ()
        self._lock = threading.Lock()
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with self.changing():
                if not path.exists():
                    self.write([fresh_key()])

    def read(self) -> Sequence[bytes]:
        """See ``Keys``. The file is read again when it has changed."""
        with self._lock, local_errors(self.path, op="read"):
            state = self.path.stat()
            seen = (state.st_ino, state.st_mtime_ns, state.st_size)
            if seen != self._seen:
                self._keys = _checked(keys_of([line for line in self.path.read_text().splitlines() if line.strip()]))
                self._seen = seen
            return self._keys

    def hold(self) -> IO[bytes]:
        """See ``Keys``."""
        return self._locked(fcntl.LOCK_SH)

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """While it is open, nobody else changes the keys, and nobody writes a secret."""
        with self._locked(fcntl.LOCK_EX):
            yield

    def write(self, keys: Sequence[bytes]) -> None:
        """Other keys, all or none of them, also when the machine goes down in the middle of it."""
        text = "".join(base64.b64encode(key).decode() + "\n" for key in _checked(keys))
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with local_errors(self.path, op="write"):
            beside.unlink(missing_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
            directory = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def _locked(self, how: int) -> IO[bytes]:
        with local_errors(self._lock_path, op="lock"):
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, _FILE_MODE)
            file = os.fdopen(descriptor, "r+b")
            fcntl.flock(file, how)
            return file


def fresh_key() -> bytes:
    """A new one."""
    return os.urandom(KEY_BYTES)


def key_id(key: bytes) -> str:
    """What a key is called in rows and messages; says nothing about the key."""
    return hashlib.sha256(b"copilot-key-id" + key).hexdigest()[:12]


def keys_of(texts: Sequence[str]) -> list[bytes]:
    """Keys as settings spell them: base64 of 32 bytes. Raises ``InvalidRequest`` without quoting one."""
    try:
        return [base64.b64decode(text.strip(), validate=True) for text in texts]
    except ValueError as cause:
        raise InvalidRequest("a secret key is not base64", hint="openssl rand -base64 32 makes one.") from cause


def _checked(keys: Sequence[bytes]) -> Sequence[bytes]:
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise BadConfig(f"secrets need at least one key, each of {KEY_BYTES} bytes", hint="openssl rand -base64 32 makes one.")
    return tuple(keys)
