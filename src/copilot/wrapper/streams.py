"""Standard output and error as files: instead of passing them on, or as well."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # ``typing`` would cost more than the task's own start
if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK_BYTES = 64 * 1024
_LEFT_BYTES = 1024 * 1024  # the most a pipe holds: /proc/sys/fs/pipe-max-size
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


class Streams:
    """What the command's descriptors 1 and 2 are.

    Attributes:
        actions: for ``posix_spawn``.
        broken: the first error of a file that could not be kept whole, or None.
    """

    def __init__(self, known: Callable[[], list[bytes]], news: Callable[[], Callable[[], list[bytes]]]) -> None:
        """As they are. ``known`` gives the secrets that must not be seen in what is kept, ``news`` what tells further ones."""
        self._known = known
        self._news = news
        self.actions: list[tuple[int, int, int]] = []
        self.broken: OSError | None = None
        self._ours: list[int] = []
        self._pumps: list[_Pump] = []

    def to_file(self, number: int, path: str) -> None:
        """Descriptor ``number`` is ``path``. Raises ``OSError``."""
        known = self._known()
        if known:  # what is kept passes through us, so that no secret stays in it
            self._pipe(number, path, -1, known)
            return
        descriptor = _create(path)
        self._ours.append(descriptor)
        self.actions.append((os.POSIX_SPAWN_DUP2, descriptor, number))

    def to_both(self, number: int, path: str) -> None:
        """Descriptor ``number`` is a pipe; what comes out goes to ``path`` and to our own. Raises ``OSError``."""
        self._pipe(number, path, number, self._known())

    def _pipe(self, number: int, path: str, passed_on: int, known: list[bytes]) -> None:
        descriptor = _create(path)
        reader, writer = os.pipe()
        self._ours.append(writer)
        self.actions.append((os.POSIX_SPAWN_DUP2, writer, number))
        self._pumps.append(_Pump(reader, descriptor, passed_on, known, self._news()))

    def started(self) -> None:
        """The command has its descriptors: ours are closed, and bytes begin to flow."""
        for descriptor in self._ours:
            os.close(descriptor)
        for pump in self._pumps:
            pump.start()

    def finish(self) -> None:
        """Everything the command wrote is where it belongs. A process it left behind is not waited for."""
        for pump in self._pumps:
            pump.finish()
            self.broken = self.broken or pump.error


class _Pump:
    """From one pipe to a file and a descriptor."""

    def __init__(self, reader: int, file: int, passed_on: int, known: list[bytes], news: Callable[[], list[bytes]]) -> None:
        self._mask = None
        self._news = news
        if known:
            from copilot.core.secret_mask import StreamMask  # noqa: PLC0415 - only a task with secrets pays for it

            self._mask = StreamMask(known)
        self.error: OSError | None = None
        self._reader = reader
        self._file = file
        self._passed_on = passed_on
        self._wake_reader, self._wake = os.pipe()

    def start(self) -> None:
        import threading  # noqa: PLC0415 - only --tee pays for it

        os.set_blocking(self._reader, False)
        self._thread = threading.Thread(target=self._run, name=f"tee-{self._passed_on}", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        os.write(self._wake, b"x")
        self._thread.join()

    def _run(self) -> None:
        import select  # noqa: PLC0415 - as above

        poller = select.poll()
        poller.register(self._reader, select.POLLIN)
        poller.register(self._wake_reader, select.POLLIN)
        ending, left_bytes = False, _LEFT_BYTES
        while left_bytes > 0:
            ready = poller.poll()
            ending = ending or any(descriptor == self._wake_reader for descriptor, _ in ready)
            try:
                chunk = os.read(self._reader, _CHUNK_BYTES)
            except BlockingIOError:
                if ending:
                    break
                continue
            if not chunk:
                break
            if ending:  # a process that was left behind may write for ever
                left_bytes -= len(chunk)
            if self._mask is not None:
                # Whoever prints a value has it from a file that was written before: it is known in time.
                self._mask.learn(self._news())
                chunk = self._mask.feed(chunk)
            self._keep(chunk)
        if self._mask is not None:
            self._keep(self._mask.finish())
        if self._file >= 0:
            os.close(self._file)

    def _keep(self, chunk: bytes) -> None:
        self._file = self._write(self._file, chunk, kept=True)
        self._passed_on = self._write(self._passed_on, chunk, kept=False)

    def _write(self, descriptor: int, chunk: bytes, *, kept: bool) -> int:
        """Writes all of ``chunk``; gives the descriptor to go on with, or -1 when it takes no more."""
        if descriptor < 0:
            return -1
        left = memoryview(chunk)
        try:
            while left:
                left = left[os.write(descriptor, left) :]
        except OSError as error:
            # A reader of our output that has gone is no loss; a file that is not whole is one.
            if kept:
                self.error = error
                os.close(descriptor)
            return -1
        return descriptor


def _create(path: str) -> int:
    directory = path.rpartition("/")[0]
    if directory:
        os.makedirs(directory, exist_ok=True)  # noqa: PTH103 - pathlib would cost more than the task's own start
    return os.open(path, _WRITE, 0o644)
