"""The wrapper's word: ``exitcode`` in the control directory, and ``running``, locked as long as the wrapper lives."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from copilot.core import podfiles
from copilot.core.completion import Saw, Witness
from copilot.core.errors import BadFlag
from copilot.core.ports import Completion
from copilot.upload.watchers.listening import listening

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken, Clock, Log
    from copilot.upload.watchers.context import WatcherContext

LOOK_EVERY_S: Final = 0.25
FORMAT: Final = "copilot-exitcode/1"
_MAX_BYTES: Final = 64 * 1024


class WrapperWatcher:
    """Waits for ``exitcode``, or for the wrapper's death without one.

    Args:
        directory: the control directory; it may appear later.
        clock: for the time of the observation.
        log: hears ``watch.polling`` when there is no inotify, ``watch.unreadable`` when the file is not the wrapper's.
    """

    witness: Final = Witness.WRAPPER

    def __init__(self, directory: Path, clock: Clock, log: Log) -> None:
        """See the class."""
        self._directory = directory
        self._clock = clock
        self._log = log
        self._woken = threading.Event()
        self._attending = False
        self._complained = False

    def wait(self, cancel: CancelToken) -> Completion | None:
        """Blocks until there is a word. After ``cancel`` one last look decides; a wrapper that lives has seen no end."""
        with listening(self._directory, {podfiles.EXITCODE, podfiles.RUNNING}, self._woken, self._log):
            while not cancel.cancelled:
                seen = self._look()
                if seen is not None:
                    return seen
                self._attend()
                self._woken.wait(LOOK_EVERY_S)
                self._woken.clear()
        seen = self._look()
        if seen is None and self.running():
            return self._said(Saw.RUNNING)
        return seen

    def may_speak(self) -> bool:
        """Whether there is a wrapper at all: it was seen, or lives."""
        return (self._directory / podfiles.RUNNING).exists()

    def running(self) -> bool:
        """Whether the wrapper lives: it holds the lock, and the kernel takes it back however the wrapper ends."""
        try:
            descriptor = os.open(self._directory / podfiles.RUNNING, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            os.lockf(descriptor, os.F_TEST, 0)
        except (PermissionError, BlockingIOError):
            return True
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return False

    def hurry(self) -> None:
        """Looks at once."""
        self._woken.set()

    def _attend(self) -> None:
        """Once there is a wrapper, a thread queues behind its lock: the kernel wakes it the moment the wrapper lets go."""
        if self._attending or not self.may_speak():
            return
        self._attending = True

        def queue() -> None:
            import fcntl  # noqa: PLC0415 — paid for by who has a wrapper

            with suppress(OSError), (self._directory / podfiles.RUNNING).open("rb") as file:
                fcntl.lockf(file, fcntl.LOCK_SH)
            self._woken.set()

        threading.Thread(target=queue, name="wrapper-lock", daemon=True).start()

    def _look(self) -> Completion | None:
        dead = self._dead()
        # The wrapper writes the file, then lets go of the lock: who is dead now has written it before, or never will.
        document = self._read()
        if document is not None:
            return _judged(document, self._clock)
        # Unless it was a wrapper before this one, which has just taken the file away.
        return self._said(Saw.GONE) if dead and self._dead() else None

    def _dead(self) -> bool:
        return self.may_speak() and not self.running()

    def _said(self, saw: Saw) -> Completion:
        return Completion(Witness.WRAPPER, saw, observed_at_s=self._clock.now_s())

    def _read(self) -> dict[str, Any] | None:
        path = self._directory / podfiles.EXITCODE
        try:
            with path.open("rb") as file:
                document = json.loads(file.read(_MAX_BYTES))
        except OSError:
            return None
        except ValueError:
            document = None
        if not isinstance(document, dict) or document.get("format") != FORMAT or not isinstance(document.get("code"), int):
            self._complain(path)
            return None
        return document

    def _complain(self, path: Path) -> None:
        """Once: it is looked at four times a second."""
        if not self._complained:
            self._complained = True
            self._log.event("watch.unreadable", level="warning", path=str(path), hint="Only copilot exec should write it.")


def open_watcher(context: WatcherContext) -> WrapperWatcher:
    """For the registry. Raises ``BadFlag`` without a control directory."""
    if context.control_dir is None:
        raise BadFlag(
            "the wrapper's word is read in the control directory, and none is named",
            op="watch",
            subject="--control-dir",
            hint="Give --control-dir, or set COPILOT_CONTROL_DIR, here and for copilot exec.",
        )
    return WrapperWatcher(context.control_dir, context.clock, context.log)


def _judged(document: dict[str, Any], clock: Clock) -> Completion:
    code = int(document["code"])
    if document.get("timed_out"):
        saw = Saw.TIMED_OUT
    elif document.get("oom_kills") and code != 0:
        saw = Saw.OOM
    else:
        saw = Saw.STOPPED if document.get("stop_signal") else Saw.EXITED
    names = ("signal", "stop_signal", "oom_kills", "started_at_s", "ended_at_s", "seconds")
    evidence = {name: str(document[name]) for name in names if document.get(name)}
    return Completion(Witness.WRAPPER, saw, code, evidence, clock.now_s())
