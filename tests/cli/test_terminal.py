"""On a terminal: short lines, a bar that is taken away, and colours; all of it on standard error."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

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
    assert "inputs.ready  directory=" in told
    assert " objects " in told
    assert "\x1b[?25h" in told  # the cursor is shown again
    assert '{"time"' not in told


def test_a_failure_is_one_red_line(tmp_path: Path) -> None:
    code, output, told = on_a_terminal(tmp_path, "show", "none.pb")
    assert (code, output) == (11, "")
    assert told.startswith("\x1b[31merror: ")
    assert told.endswith(" [ObjectNotFound]\x1b[0m\r\n")
    assert told.count("\n") == 1
