"""``copilot exec``: exit codes, signals, orphans, streams, times; and how little it loads."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.core import podfiles
from copilot.upload.watchers import wrapper as watcher
from copilot.wrapper import control, memory, options, probe

EXEC = [sys.executable, "-m", "copilot", "exec"]
MOUNT, UMOUNT = shutil.which("mount") or "", shutil.which("umount") or ""
#: Everything it may load beside the interpreter's own; threads and select only for --tee.
OURS = ("run", "control", "memory", "options", "secrets", "streams")
ALLOWED = {"__future__", "copilot", "copilot.__main__", "copilot.wrapper", "signal", "enum", "time"} | {
    f"copilot.wrapper.{name}" for name in OURS
}


def run(*arguments: str, **keywords: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401 — of subprocess.run
    return subprocess.run([*EXEC, *arguments], capture_output=True, text=True, check=False, timeout=60, **keywords)


def document(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "exitcode").read_text())
    return found


def test_names_and_formats_are_those_of_the_protocol() -> None:
    assert (control.EXITCODE, control.RUNNING, probe.ARMED) == (podfiles.EXITCODE, podfiles.RUNNING, podfiles.ARMED)
    assert control.FORMAT == watcher.FORMAT


@pytest.mark.parametrize(("script", "code", "number"), [("exit 0", 0, 0), ("exit 3", 3, 0), ("kill -9 $$", 137, 9)])
def test_the_exit_code_is_passed_on_and_written(tmp_path: Path, script: str, code: int, number: int) -> None:
    done = run("--control-dir", str(tmp_path), "--", "/bin/sh", "-c", script)
    told = document(tmp_path)
    assert (done.returncode, told["code"], told["signal"], told["stop_signal"]) == (code, code, number, 0)
    assert told["started_at_s"] <= told["ended_at_s"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A control volume of one page and a handful of files."""
    volume = tmp_path / "control"
    volume.mkdir()
    subprocess.run([MOUNT, "-t", "tmpfs", "-o", "size=8k,nr_inodes=8", "tmpfs", str(volume)], check=True)
    yield volume
    subprocess.run([UMOUNT, "--lazy", str(volume)], check=True)


def test_a_control_volume_without_room_is_told_before_the_command_runs(small: Path, tmp_path: Path) -> None:
    (small / "filler").write_bytes(bytes(8192))
    done = run("--control-dir", str(small), "--", "touch", str(tmp_path / "ran"))
    assert (done.returncode, done.stderr) == (
        22,
        f"copilot exec: the control directory {small} cannot be written: No space left on device.\n",
    )
    assert [path.name for path in small.iterdir()] == ["filler"]
    assert not (tmp_path / "ran").exists()


def test_the_word_has_its_place_on_a_volume_that_fills_up_meanwhile(small: Path) -> None:
    done = run("--control-dir", str(small), "--", "/bin/sh", "-c", f"cat /dev/zero > {small}/filler")
    assert (done.returncode, document(small)["code"]) == (1, 1)
    assert (small / "exitcode").stat().st_size < 512


@pytest.mark.parametrize(("command", "code"), [("/no/such/thing", 127), ("", 127), ("/etc/passwd", 126)])
def test_a_command_that_cannot_be_run_is_told_as_a_shell_tells_it(tmp_path: Path, command: str, code: int) -> None:
    done = run("--control-dir", str(tmp_path), "--", command)
    assert (done.returncode, document(tmp_path)["code"]) == (code, code)
    assert done.stderr.startswith(f"copilot exec: the command {command or repr(command)} cannot be run: ")


@pytest.mark.parametrize("arguments", [[], ["--"], ["--nope", "--", "x"], ["--timeout", "soon", "--", "x"], ["--timeout"]])
def test_a_mistake_is_one_sentence_and_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_signals_reach_the_whole_group_and_are_told(tmp_path: Path) -> None:
    child = 'trap "touch $D/child; exit" TERM; touch "$D/child-up"; while :; do sleep 0.02; done'
    script = f'trap "wait; exit 5" TERM; ({child}) & touch "$D/up"; wait; wait'
    process = subprocess.Popen(
        [*EXEC, "--control-dir", str(tmp_path), "--", "/bin/sh", "-c", script], env={**os.environ, "D": str(tmp_path)}
    )
    for name in ("up", "child-up"):
        wait_for(tmp_path / name)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 5
    assert document(tmp_path)["stop_signal"] == signal.SIGTERM
    wait_for(tmp_path / "child")


def test_a_signal_that_does_not_ask_to_stop_is_passed_on_and_no_stop(tmp_path: Path) -> None:
    script = 'trap "exit 6" USR1; touch "$D/up"; while :; do sleep 0.02; done'
    process = subprocess.Popen(
        [*EXEC, "--control-dir", str(tmp_path), "--", "/bin/sh", "-c", script], env={**os.environ, "D": str(tmp_path)}
    )
    wait_for(tmp_path / "up")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(30) == 6
    assert document(tmp_path)["stop_signal"] == 0


def test_the_timeout_terminates_then_kills(tmp_path: Path) -> None:
    done = run(
        "--control-dir",
        str(tmp_path),
        "--timeout",
        "0.2s",
        "--grace=0.2s",
        "--",
        "/bin/sh",
        "-c",
        "trap '' TERM; while :; do sleep 0.02; done",
    )
    told = document(tmp_path)
    assert (done.returncode, told["timed_out"], told["signal"]) == (124, True, 9)
    assert told["seconds"] >= 0.4


@pytest.mark.parametrize("times", [("--timeout", "9" * 20 + "h"), ("--timeout", "0.1s", "--grace", "9" * 400)])
def test_a_time_beyond_what_the_kernel_counts_is_no_limit(times: tuple[str, ...]) -> None:
    done = run(*times, "--", "/bin/sleep", "0.3")
    assert (done.returncode, done.stderr) == (124 if "--grace" in times else 0, "")


def test_whatever_the_umask_the_sidecar_may_read(tmp_path: Path) -> None:
    assert run("--control-dir", str(tmp_path), "--", "/bin/true", umask=0o077).returncode == 0
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {"running": 0o644, "exitcode": 0o644}


def test_what_is_left_of_the_group_ends_with_the_command(tmp_path: Path) -> None:
    script = 'sleep 60 & echo $! > "$D/pid"; exit 0'
    done = run("--", "/bin/sh", "-c", script, env={**os.environ, "D": str(tmp_path)})
    assert done.returncode == 0
    pid = int((tmp_path / "pid").read_text())
    deadline_s = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and b"Z" not in Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2][:3]:
        assert time.monotonic() < deadline_s


def test_as_the_first_process_it_reaps_orphans() -> None:
    zombies = "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"
    script = (
        "for i in 1 2 3; do (sh -c 'sleep 0.05 & exit 0'); done; sleep 0.5; "
        f"i=0; while [ $({zombies}) != 0 ] && [ $i -lt 50 ]; do i=$((i+1)); sleep 0.1; done; {zombies}"
    )
    done = subprocess.run(
        [
            "/usr/bin/bwrap",
            "--dev-bind",
            "/",
            "/",
            "--unshare-pid",
            "--as-pid-1",
            "--proc",
            "/proc",
            *EXEC,
            "--",
            "/bin/sh",
            "-c",
            script,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr


def test_tee_keeps_both_streams_and_passes_them_on(tmp_path: Path) -> None:
    script = "i=0; while [ $i -lt 2000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; exit 4"
    done = run("--tee", str(tmp_path / "kept"), "--", "/bin/sh", "-c", script)
    assert done.returncode == 4
    assert (tmp_path / "kept" / "stdout").read_text() == done.stdout == "".join(f"out {i}\n" for i in range(2000))
    assert (tmp_path / "kept" / "stderr").read_text() == done.stderr


def test_tee_does_not_wait_for_a_process_that_was_left_behind(tmp_path: Path) -> None:
    began_s = time.monotonic()
    done = run("--tee", str(tmp_path), "--", "/bin/sh", "-c", "setsid sleep 20 & echo done", stdin=subprocess.DEVNULL)
    assert time.monotonic() - began_s < 15
    assert (done.returncode, (tmp_path / "stdout").read_text()) == (0, "done\n")


def test_a_stream_to_a_file_is_not_passed_on(tmp_path: Path) -> None:
    done = run("--stdout", str(tmp_path / "deep" / "out"), "--", "/bin/sh", "-c", "echo hello; echo there >&2")
    assert (done.stdout, done.stderr, (tmp_path / "deep" / "out").read_text()) == ("", "there\n", "hello\n")


def test_a_stream_that_cannot_be_kept_whole_is_no_success(tmp_path: Path) -> None:
    done = run("--control-dir", str(tmp_path), "--stdout", "/proc/nowhere/x", "--", "/bin/true")
    assert (done.returncode, document(tmp_path)["code"]) == (22, 22)
    (tmp_path / "stdout").symlink_to("/dev/full")
    done = run("--control-dir", str(tmp_path), "--tee", str(tmp_path), "--", "/bin/sh", "-c", "echo hello")
    assert (done.returncode, done.stdout) == (22, "hello\n")
    assert "could not be kept whole: No space left on device" in done.stderr


def test_a_reader_that_has_gone_does_not_end_the_task(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    argv = [*EXEC, "--tee", str(tmp_path), "--", "/bin/sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.05; done"]
    process = subprocess.Popen(argv, stdout=writer)
    os.close(writer)
    assert process.wait(30) == 0
    assert (tmp_path / "stdout").read_text() == "1\n2\n3\n"


def test_the_command_dies_of_sigpipe_as_without_us() -> None:
    done = subprocess.run(
        ["/bin/bash", "-c", f"{' '.join(EXEC)} -- yes | head -1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "y\n141\n"


def test_the_command_sees_the_environment_we_were_given() -> None:
    done = subprocess.run(
        [*EXEC, "--", "/usr/bin/env"], capture_output=True, text=True, check=True, env={"A": "1", "PATH": "/bin"}
    )
    assert sorted(done.stdout.split()) == ["A=1", "PATH=/bin"]


def test_without_a_control_directory_nothing_is_written_and_the_variable_names_one(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if name != "COPILOT_CONTROL_DIR"}
    assert run("--", "/bin/true", env=clean, cwd=tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == []
    run("--", "/bin/true", env={**clean, "COPILOT_CONTROL_DIR": str(tmp_path / "c")})
    assert document(tmp_path / "c")["code"] == 0
    (tmp_path / "file").touch()
    assert run("--control-dir", str(tmp_path / "file"), "--", "/bin/true").returncode == 22


def test_an_exit_code_of_an_earlier_run_is_gone_before_the_command_starts(tmp_path: Path) -> None:
    (tmp_path / "exitcode").write_text("old")
    done = run("--control-dir", str(tmp_path), "--", "/bin/sh", "-c", f"ls {tmp_path}")
    assert done.stdout == "running\n"


def test_it_loads_next_to_nothing() -> None:
    argv = [
        sys.executable,
        "-I",
        "-S",
        "-X",
        "importtime",
        "-c",
        f"import sys; sys.path.insert(0, {SOURCE!r}); {LIGHT}",
        "exec",
        "--",
        "/bin/true",
    ]
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stderr
    loaded = [line.split("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")]
    ours = loaded[loaded.index("copilot") :]
    assert set(ours) <= ALLOWED | DEPENDENCIES, sorted(set(ours) - ALLOWED - DEPENDENCIES)


SOURCE = str(Path(options.__file__).parents[2])
LIGHT = "from copilot.__main__ import main; sys.exit(main())"
#: What enum loads.
DEPENDENCIES = {
    "os",
    "stat",
    "_stat",
    "posixpath",
    "genericpath",
    "_collections_abc",
    "types",
    "operator",
    "_operator",
    "functools",
    "collections",
    "_collections",
    "itertools",
    "keyword",
    "reprlib",
    "_functools",
}


def test_the_probe_reads_armed(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "copilot", "probe", "--control-dir", str(tmp_path)]
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 1
    (tmp_path / "ARMED").touch()
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 0
    assert probe.main([f"--control-dir={tmp_path}"], {}) == 0
    assert probe.main([], {"COPILOT_CONTROL_DIR": str(tmp_path)}) == 0
    assert probe.main([], {}) == 2
    assert probe.main(["--what"], {}) == 2


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1h30m", 5400), ("1.5h", 5400), ("250ms", 0.25), ("1m0.5s", 60.5), ("0", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert options.duration_s(text, "--timeout") == seconds


@given(st.text(alphabet="0123456789.hmsx -", max_size=8))
def test_a_text_is_a_duration_or_a_mistake(text: str) -> None:
    try:
        assert options.duration_s(text, "--timeout") >= 0
    except options.Mistake:
        assert not text.isdigit()


@pytest.mark.parametrize(
    ("groups", "file", "text"),
    [
        ("0::/\n", "memory.events", "low 0\noom 3\noom_kill 2\n"),
        ("0::/a/b\n", "a/b/memory.events", "oom_kill 2\n"),
        ("4:memory:/x\n1:cpu:/\n", "memory/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ("4:memory:/elsewhere\n", "memory/memory.oom_control", "oom_kill 2\n"),
    ],
)
def test_oom_kills_are_counted_in_both_versions_of_control_groups(tmp_path: Path, groups: str, file: str, text: str) -> None:
    (tmp_path / "self").write_text(groups)
    path = tmp_path / "root" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert memory.oom_kills(str(tmp_path / "root"), str(tmp_path / "self")) == 2
    assert memory.oom_kills(str(tmp_path / "nowhere"), str(tmp_path / "self")) == 0
    assert memory.oom_kills(str(tmp_path / "root"), str(tmp_path / "nowhere")) == 0


def wait_for(path: Path) -> None:
    deadline_s = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline_s, path
        time.sleep(0.005)
