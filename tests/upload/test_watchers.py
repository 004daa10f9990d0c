"""Each watcher, on its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core.completion import Saw, Witness
from copilot.core.errors import BadFlag, InternalError
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.signals import Latch
from copilot.testing.clock import FakeClock
from copilot.testing.recording import RecordingLog
from copilot.upload.watchers.context import PodSource, WatcherContext
from copilot.upload.watchers.registry import WATCHERS, open_watcher

if TYPE_CHECKING:
    from copilot.core.ports import Completion, CompletionWatcher

CLOCK = SystemClock()


def context(directory: Path, latch: Latch | None = None) -> WatcherContext:
    pod = PodSource("http://127.0.0.1:1", "a-pod")
    return WatcherContext(directory, CLOCK, RecordingLog(), latch, control_dir=directory, pod=pod)


def waiting(watcher: CompletionWatcher, cancel: Token) -> tuple[threading.Thread, list[Completion | None]]:
    said: list[Completion | None] = []
    thread = threading.Thread(target=lambda: said.append(watcher.wait(cancel)))
    thread.start()
    return thread, said


def test_every_registered_watcher_opens(tmp_path: Path) -> None:
    assert sorted(WATCHERS) == list(WATCHERS)
    for name in WATCHERS:
        assert hasattr(open_watcher(name, context(tmp_path, Latch())), "wait")


def test_an_unknown_watcher_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(BadFlag, match="--exit-watcher-type 'signl' is no watcher") as caught:
        open_watcher("signl", context(tmp_path))
    assert caught.value.hint == "Did you mean 'signal'?"
    with pytest.raises(BadFlag) as caught:
        open_watcher("telepathy", context(tmp_path), flag="--start-watcher-type")
    assert caught.value.hint == "Use one of marker, noop, pod, process, signal, wrapper."


def test_the_signal_watcher_sees_a_signal_that_came_before_it(tmp_path: Path) -> None:
    latch = Latch()
    latch.set(15)
    said = open_watcher("signal", context(tmp_path, latch)).wait(Token(CLOCK))
    assert said is not None
    assert (said.witness, said.reason) == (Witness.SIGNAL, Saw.SIGTERM)
    assert said.observed_at_s > 0


def test_the_signal_watcher_wakes_up_and_gives_up(tmp_path: Path) -> None:
    latch, token = Latch(), Token(CLOCK, timeout_s=30)
    thread, said = waiting(open_watcher("signal", context(tmp_path, latch)), token)
    latch.set(15)
    thread.join(10)
    assert said[0] is not None
    token.cancel()
    assert open_watcher("signal", context(tmp_path, Latch())).wait(token) is None
    with pytest.raises(InternalError):
        open_watcher("signal", context(tmp_path))


@pytest.mark.parametrize("made_first", [True, False])
@pytest.mark.parametrize(("name", "saw"), [("_SUCCESS", Saw.SUCCESS_MARKER), ("_ERROR", Saw.ERROR_MARKER)])
def test_the_marker_watcher_sees_a_marker_made_before_or_after(
    tmp_path: Path, name: str, saw: Saw, *, made_first: bool
) -> None:
    if made_first:
        (tmp_path / name).write_text("x")
    thread, said = waiting(open_watcher("marker", context(tmp_path)), Token(CLOCK, timeout_s=30))
    if not made_first:
        (tmp_path / "part").write_text("x")
        (tmp_path / "part").rename(tmp_path / name)
    thread.join(10)
    assert said[0] is not None
    assert (said[0].witness, said[0].reason) == (Witness.MARKER, saw)
    assert said[0].evidence == {"path": str(tmp_path / name)}


def test_the_marker_watcher_works_where_the_directory_comes_later(tmp_path: Path) -> None:
    directory = tmp_path / "later"
    thread, said = waiting(open_watcher("marker", context(directory)), Token(CLOCK, timeout_s=30))
    directory.mkdir()
    (directory / "_SUCCESS").touch()
    thread.join(10)
    assert said[0] is not None


def test_an_error_marker_counts_once_its_text_stands_still(tmp_path: Path) -> None:
    marker = tmp_path / "_ERROR"

    class Writes(FakeClock):
        """Whoever waits on it sees the marker grow, a few times."""

        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if len(self.slept) <= 6:
                marker.write_text("x" * len(self.slept))

    marker.touch()
    said = open_watcher("marker", context(tmp_path)).wait(Token(Writes()))
    assert said is not None
    assert marker.read_text() == "xxxxxx", "it was taken while it was written"


def test_the_marker_watcher_takes_a_last_look_when_it_is_told_to_stop(tmp_path: Path) -> None:
    token = Token(CLOCK)
    token.cancel()
    watcher = open_watcher("marker", context(tmp_path))
    assert watcher.wait(token) is None
    (tmp_path / "_SUCCESS").touch()
    assert watcher.wait(token) is not None


def test_a_wrapper_that_takes_the_place_of_one_that_has_ended_is_not_gone(tmp_path: Path) -> None:
    """The file of the first is read while the second takes it away."""
    (tmp_path / "running").touch()
    os.mkfifo(tmp_path / "exitcode")
    token = Token(CLOCK, timeout_s=60)
    thread, said = waiting(open_watcher("wrapper", context(tmp_path)), token)
    with (tmp_path / "exitcode").open("wb"):  # it is read from here on
        script = f"touch {tmp_path}/up; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exit 6"
        argv = [sys.executable, "-m", "copilot", "exec", "--control-dir", str(tmp_path), "--", "/bin/sh", "-c", script]
        second = subprocess.Popen(argv)
        while not (tmp_path / "up").exists():
            assert not token.wait(0.01)
    (tmp_path / "go").touch()
    thread.join(60)
    second.wait(60)
    assert said[0] is not None
    assert (said[0].reason, said[0].exit_code) == (Saw.EXITED, 6)


def test_an_exit_code_that_is_not_the_wrappers_is_told_of_once(tmp_path: Path) -> None:
    (tmp_path / "exitcode").write_text("0\n")
    log, token = RecordingLog(), Token(CLOCK)
    thread, said = waiting(open_watcher("wrapper", replace(context(tmp_path), log=log)), token)
    while not log.named("watch.unreadable"):
        assert thread.is_alive()
    token.cancel()
    thread.join(30)
    assert said == [None]
    assert len(log.named("watch.unreadable")) == 1  # it has looked once more, at the end


def test_the_noop_watcher_does_not_wait(tmp_path: Path) -> None:
    said = open_watcher("noop", context(tmp_path)).wait(Token(CLOCK))
    assert said is not None
    assert said.reason == Saw.TOLD
