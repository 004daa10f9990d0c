"""Completion: what is offered, and the scripts in the shells themselves."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("COPILOT_", "AWS_"))}
ENVIRON = {**CLEAN, "PATH": f"{BIN}:{CLEAN['PATH']}"}


def script(shell: str) -> str:
    ended = subprocess.run([BIN / "copilot", "completion", shell], capture_output=True, text=True, env=ENVIRON, check=True)
    assert "_COPILOT_COMPLETE" in ended.stdout
    return ended.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("copilot plan in", ["plain,init"]),
        ("copilot ver", ["plain,version"]),
        ("copilot init --from-r", ["plain,--from-remote"]),
        ("copilot init --format J", ["plain,JSON"]),
        ("copilot init --to-local-dir /v", ["dir,/v"]),
        ("copilot --log-level w", ["plain,warning"]),
        ("copilot run --log-level w", ["plain,warning"]),
        ("copilot run --workdir /v", ["dir,/v"]),
        ("copilot show /v", ["file,/v"]),
        ("copilot explain DiskF", ["plain,DiskFull"]),
        ("copilot explain ./o", ["file,./o"]),
        ("copilot completion f", ["plain,fish"]),
    ],
)
def test_commands_flags_choices_codes_and_files_are_completed(words: str, offered: list[str]) -> None:
    environ = {**ENVIRON, "_COPILOT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    ended = subprocess.run([BIN / "copilot"], capture_output=True, text=True, env=environ, check=False)
    assert (ended.stdout.split(), ended.stderr) == (offered, "")


def test_the_tab_key_of_a_real_bash_completes_a_command_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "rc").write_text(script("bash") + "PS1='ready> '\nbind 'set enable-bracketed-paste off'\n")
    (tmp_path / "some-outputs.pb").write_bytes(b"")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["/bin/bash", "--rcfile", "rc", "-i"],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env={**ENVIRON, "TERM": "dumb"}, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    told = ""

    def until(text: str) -> None:
        nonlocal told
        deadline = time.monotonic() + 60
        while text not in told:
            assert time.monotonic() < deadline, told
            told += os.read(ours, 65536).decode()
        told = told.partition(text)[2]

    try:
        until("ready> ")
        os.write(ours, b"copilot vers\t")
        until("copilot version ")
        os.write(ours, b"--json\n")
        until('"copilot": ')
        until("ready> ")
        os.write(ours, b"copilot show some\t")
        until("copilot show some-outputs.pb ")
        os.write(ours, b"\n")
        until("{}")
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_accept_their_scripts(tmp_path: Path, shell: str) -> None:
    """The scripts are click's own; where the shell is installed, it reads them."""
    (tmp_path / "script").write_text(script(shell))
    if (found := shutil.which(shell)) is not None:
        ended = subprocess.run([found, "-n", tmp_path / "script"], capture_output=True, text=True, env=ENVIRON, check=False)
        assert (ended.returncode, ended.stderr) == (0, "")
