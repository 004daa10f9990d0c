"""``copilot exec`` where its descriptors are odd ones: a terminal, none at all, a pipe that never ends."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from copilot.wrapper.streams import _Pump

if TYPE_CHECKING:
    from pathlib import Path

EXEC = f"{sys.executable} -m copilot exec"
PATIENCE_S = 10.0
ECHOED = b"one\r\none"


def at_a_terminal(script: str, typed: bytes, until: bytes) -> bytes:
    """What a shell without job control shows; ``typed`` is there before anybody reads."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # who is started runs before who has started it
        os.execv("/bin/sh", ["sh", "-c", script])  # noqa: S606 - this is the child of a fork
    shown, deadline_s = b"", time.monotonic() + PATIENCE_S
    os.write(terminal, typed)
    try:
        while until not in shown and time.monotonic() < deadline_s:
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 4096)
    except OSError:  # everybody has left it
        pass
    finally:
        os.close(terminal)  # a hangup: who is still there ends
        os.waitpid(pid, 0)
    return shown


def test_the_command_reads_from_the_terminal_however_early_it_does() -> None:
    for _ in range(12):
        assert ECHOED in at_a_terminal(f"{EXEC} -- /bin/cat", b"one\n", ECHOED)


def test_the_terminal_is_given_back() -> None:
    shown = at_a_terminal(f"{EXEC} -- /bin/sh -c 'read x'; read y; echo after-$y-", b"one\ntwo\n", b"after-two-")
    assert b"after-two-" in shown


@pytest.mark.parametrize(("command", "code"), [("/bin/sh -c 'exit 3'", 3), ("/no/such/thing", 127)])
def test_without_any_descriptor_the_exit_code_is_the_commands_all_the_same(tmp_path: Path, command: str, code: int) -> None:
    script = f"{EXEC} --control-dir {tmp_path} -- {command} <&- >&- 2>&-"
    assert subprocess.run(["/bin/sh", "-c", script], check=False).returncode == code
    assert json.loads((tmp_path / "exitcode").read_text())["code"] == code


def test_a_help_that_nobody_can_be_told_is_no_success() -> None:
    done = subprocess.run(["/bin/sh", "-c", f"{EXEC} --help >/dev/full"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (22, "")


def test_a_process_that_was_left_behind_and_writes_for_ever_is_not_waited_for(tmp_path: Path) -> None:
    kept = os.open(tmp_path / "stdout", os.O_WRONLY | os.O_CREAT)
    pump = _Pump(os.open("/dev/zero", os.O_RDONLY), kept, -1, [], list)  # there is always more
    pump.start()
    ending = threading.Thread(target=pump.finish, daemon=True)
    ending.start()
    ending.join(PATIENCE_S)
    assert not ending.is_alive()
    assert (tmp_path / "stdout").stat().st_size > 0
