"""On a terminal: short lines, a bar that is taken away, and colours; all of it on standard error."""

from __future__ import annotations

import fcntl
import os
import pty
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

EXECUTABLE = Path(sys.executable).with_name("copilot")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("COPILOT_", "AWS_"))}


def on_a_terminal(where: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output (a pipe), standard error (a terminal)."""
    ours, theirs = pty.openpty()
    environ = {**CLEAN, "TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen([str(EXECUTABLE), *arguments], stdout=subprocess.PIPE, stderr=theirs, cwd=where, env=environ)
    os.close(theirs)
    told = b""
    try:
        while chunk := os.read(ours, 65536):
            told += chunk
    except OSError:  # a terminal whose other end is closed
        pass
    finally:
        os.close(ours)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output.decode(), told.decode()


def test_a_big_copy_shows_a_bar_on_standard_error_and_the_result_alone_on_standard_output(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(64 << 20))
    code, output, told = on_a_terminal(
        tmp_path,
        "run",
        "-i",
        "big=./big",
        "-o",
        "out",
        "--output",
        "copy:file",
        "--",
        "cp",
        "{{.inputs.big}}",
        "{{.outputDir}}/copy",
    )
    assert code == 0, told
    assert output == f"# {tmp_path}/out/outputs.pb\ncopy: {tmp_path}/out/copy\n"
    assert "inputs.ready" not in told
    assert " objects " in told
    assert "\x1b[?25h" in told  # the cursor is shown again
    assert '{"time"' not in told


def test_a_failure_is_one_red_line(tmp_path: Path) -> None:
    code, output, told = on_a_terminal(tmp_path, "show", "none.pb")
    assert (code, output) == (11, "")
    assert told.startswith("\x1b[31merror: ")
    assert told.endswith(" [ObjectNotFound]\x1b[0m\r\n")
    assert told.count("\n") == 1


@pytest.mark.parametrize("while_staging", [True, False])
def test_ctrl_c_on_a_terminal_ends_everything_and_leaves_nothing(tmp_path: Path, *, while_staging: bool) -> None:
    """The key itself, as the terminal's driver sends it: to us and to the command at once."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        staged = ["-i", f"x=http://127.0.0.1:{silent.getsockname()[1]}/x"] if while_staging else []
        script = f"echo $$ > {tmp_path}/pid; echo half > $OUTPUT_DIR/n; exec sleep 60"
        ours, theirs = pty.openpty()
        before = termios.tcgetattr(theirs)
        process = subprocess.Popen(
            [str(EXECUTABLE), "run", *staged, "-o", "out", "--", "sh", "-c", script],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=tmp_path,
            env={**CLEAN, "TERM": "xterm", "TMPDIR": str(tmp_path)},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no other thread runs here
        )
        pid = tmp_path / "pid"
        if while_staging:
            connection, _ = silent.accept()
        else:
            deadline = time.monotonic() + 30
            while not (pid.exists() and pid.read_text().strip()):
                assert time.monotonic() < deadline
        os.write(ours, b"\x03")
        assert process.wait(15) == 130
        told = os.read(ours, 65536).decode()
        if while_staging:
            connection.close()
        assert termios.tcgetattr(theirs) == before
        os.close(ours)
        os.close(theirs)
    assert "Traceback" not in told
    assert told.count("error: ") == 1
    assert not pid.exists() or not Path(f"/proc/{pid.read_text().strip()}").exists()
    assert [path.name for path in tmp_path.iterdir() if path != pid] == []
