"""Every way a task can end, over real processes: the verdict, what is in the store, the exit code, the error document."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING

import pytest
from tests.completion.conftest import until

from copilot.control_plane.executors.processes.memory_cgroup import make_memory_cgroup

if TYPE_CHECKING:
    from pathlib import Path

    from tests.completion.conftest import SmallPod

PUBLISHED = {"outputs.pb", "_manifest.json", "_receipt.json"}
FAILED = {"error.pb", "errors.pb", "_receipt.json"}
WRITES = 'printf 5 > "$OUT/n"; '


def names(store: dict[str, bytes]) -> set[str]:
    return {key for key in store if not key.startswith("partial/")}


def test_main_exits_0_and_nobody_sends_a_signal(pod: SmallPod) -> None:
    pod.start_sidecar()
    pod.start_main(WRITES)
    ended = pod.end()
    assert (ended.code, ended.row, ended.n) == (0, "exited-0-before-the-pod-ended", 5)
    assert set(ended.store) == PUBLISHED
    assert ended.receipt["verdict"]["exit_code"] == 0


def test_main_exits_3(pod: SmallPod) -> None:
    pod.start_sidecar()
    pod.start_main(WRITES + "exit 3")
    ended = pod.end()
    assert (ended.code, ended.row) == (23, "exited-by-itself")
    assert names(ended.store) == FAILED
    assert ended.partial == {"n": b"5"}
    assert ended.error.startswith("TaskFailed: the task ended with exit code 3")
    assert ended.receipt["partial"]["complete"] is True
    assert pod.main.wait() == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_main_is_ended_by_a_signal(pod: SmallPod, number: signal.Signals) -> None:
    pod.start_sidecar()
    pod.start_main(WRITES + f"kill -{number.value} $$")
    ended = pod.end()
    assert (ended.code, ended.row) == (23, "exited-by-itself")
    assert ended.partial == {"n": b"5"}
    assert f"exit code {128 + number} ({number.name})" in ended.error
    assert ended.receipt["verdict"]["evidence"]["wrapper.signal"] == str(number.value)
    assert pod.main.wait() == 128 + number


def test_main_is_killed_by_the_kernel_in_a_memory_cgroup(pod: SmallPod) -> None:
    group = make_memory_cgroup(f"copilot-matrix-{uuid.uuid4().hex[:8]}", 64 * 1024 * 1024)
    assert group is not None, "no memory cgroup can be made here: run as root with a writable /sys/fs/cgroup"
    try:
        pod.start_sidecar()
        hog = f"{sys.executable} -c 'held = bytes([1]) * (512 << 20)'"
        # The memory limit is on the wrapper as well, as in a container.
        joins = ["/bin/sh", "-c", f'echo 0 > {group.procs}; exec "$@"', "sh"]
        pod.start_main(WRITES + hog, before=joins)
        ended = pod.end()
        assert group.oom_kills() > 0
        assert (ended.code, ended.row) == (23, "wrapper-oom")
        assert names(ended.store) == FAILED
        assert ended.error.startswith("TaskOutOfMemory: ")
        assert "memory limit" in ended.error
        assert ended.partial == {"n": b"5"}
    finally:
        pod.close()
        group.kill_all()
        group.remove()


def test_main_outlives_its_deadline(pod: SmallPod) -> None:
    pod.start_sidecar()
    pod.start_main(WRITES + "trap '' TERM; while :; do sleep 0.05; done", "--timeout", "300ms", "--grace", "100ms")
    ended = pod.end()
    assert (ended.code, ended.row) == (23, "wrapper-timeout")
    assert ended.error.startswith("TaskDeadlineExceeded: ")
    assert ended.partial == {"n": b"5"}
    assert pod.main.wait() == 124


def test_main_crashes_before_the_sidecar_is_armed(pod: SmallPod) -> None:
    pod.start_main(WRITES + "exit 7")
    assert pod.main.wait(60) == 7
    pod.start_sidecar()
    ended = pod.end()
    assert (ended.code, ended.row) == (23, "exited-by-itself")
    assert "exit code 7" in ended.error


def test_main_is_done_before_the_sidecar_is_armed(pod: SmallPod) -> None:
    pod.start_main(WRITES)
    assert pod.main.wait(60) == 0
    pod.start_sidecar()
    ended = pod.end()
    assert (ended.code, ended.n) == (0, 5)


def test_main_ends_within_10_ms(pod: SmallPod) -> None:
    (pod.out / "n").write_text("5")
    pod.start_sidecar()
    pod.start_main(":")
    ended = pod.end()
    assert (ended.code, ended.n) == (0, 5)


def test_main_never_writes_an_output(pod: SmallPod) -> None:
    pod.start_sidecar()
    pod.start_main('printf 6 > "$OUT/m"')
    ended = pod.end()
    assert (ended.code, ended.row) == (21, "exited-0-before-the-pod-ended")
    assert names(ended.store) == FAILED
    assert ended.error.startswith("MissingOutput: ")
    assert ended.partial == {"m": b"6"}


def test_main_writes_after_its_marker(pod: SmallPod) -> None:
    pod.start_sidecar()
    # The wrapper lives, so the marker waits for it, and what counts is what is there at the end.
    pod.start_main(WRITES + 'touch "$OUT/_SUCCESS"; sleep 0.4; printf 77 > "$OUT/n"')
    ended = pod.end()
    assert (ended.code, ended.n) == (0, 77)


def test_main_fails_after_its_marker(pod: SmallPod) -> None:
    pod.start_sidecar()
    pod.start_main(WRITES + 'touch "$OUT/_SUCCESS"; sleep 0.3; exit 9')
    ended = pod.end()
    assert (ended.code, ended.row) == (23, "exited-by-itself")
    assert "exit code 9" in ended.error


def test_a_task_that_hangs_after_its_marker_has_succeeded_all_the_same(pod: SmallPod) -> None:
    pod.start_sidecar()
    pod.start_main(WRITES + 'touch "$OUT/_SUCCESS"; exec sleep 60')
    ended = pod.end()
    assert (ended.code, ended.row, ended.n) == (0, "success-marker", 5)


def test_without_a_wrapper_what_is_written_after_the_marker_is_whole_or_refused(pod: SmallPod) -> None:
    pod.start_sidecar()
    (pod.out / "n").write_text("5")
    (pod.out / "_SUCCESS").touch()
    (pod.out / "n").write_text("77")
    ended = pod.end()
    assert (ended.code, ended.n in {5, 77}) == (0, True) or (ended.code == 21 and "outputs.pb" not in ended.store)


def test_the_error_marker_is_stronger_than_exit_code_0(pod: SmallPod) -> None:
    pod.start_sidecar()
    pod.start_main(WRITES + 'printf "no rows" > "$OUT/_ERROR"')
    ended = pod.end()
    assert (ended.code, ended.row) == (23, "error-marker")
    assert ended.error == "TaskFailed: no rows"


def test_a_wrapper_that_was_killed_proves_nothing(pod: SmallPod) -> None:
    pod.start_sidecar()
    pod.start_main(WRITES + 'echo $$ > "$OUT/.pid"; mv "$OUT/.pid" "$OUT/pid"; exec sleep 60')
    wait_for(pod.out / "pid")
    pod.main.kill()
    ended = pod.end()
    # The end of a real container takes the task along.
    os.kill(int((pod.out / "pid").read_text()), signal.SIGKILL)
    assert (ended.code, ended.row) == (25, "wrapper-gone")
    assert ended.error.startswith("CompletionUnproven: ")
    assert set(ended.partial) == {"n", "pid"}


def test_exit_0_after_sigterm_is_obedience_and_proves_nothing(pod: SmallPod) -> None:
    pod.start_sidecar("--trust-signal")
    pod.start_main(WRITES + "trap 'exit 0' TERM; touch \"$OUT/begun\"; while :; do sleep 0.02; done")
    wait_for(pod.out / "begun")
    pod.main.send_signal(signal.SIGTERM)
    ended = pod.end()
    assert pod.main.wait() == 0
    assert (ended.code, ended.row) == (25, "stopped-with-0")
    assert "outputs.pb" not in ended.store


def test_a_sigterm_while_the_wrapper_lives_waits_for_the_wrappers_word(pod: SmallPod) -> None:
    pod.start_sidecar("--trust-signal")
    pod.start_main(WRITES + 'touch "$OUT/begun"; while [ ! -e "$OUT/go" ]; do sleep 0.02; done; printf 6 > "$OUT/n"')
    wait_for(pod.out / "begun")
    pod.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        pod.sidecar.wait(1.5)
    (pod.out / "go").touch()
    ended = pod.end()
    assert (ended.code, ended.row, ended.n) == (0, "exited-0-before-the-pod-ended", 6)


def test_a_second_sigterm_means_give_up_now(pod: SmallPod) -> None:
    pod.start_sidecar("--trust-signal")
    pod.start_main(WRITES + 'touch "$OUT/begun"; exec sleep 60')
    wait_for(pod.out / "begun")
    pod.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        pod.sidecar.wait(0.5)
    began_s = time.monotonic()
    pod.terminate()
    ended = pod.end()
    assert time.monotonic() - began_s < 3
    assert (ended.code, ended.store) == (143, {})


def test_sigint_is_a_person_who_wants_it_to_stop(pod: SmallPod) -> None:
    (pod.out / "n").write_text("5")
    pod.start_sidecar().send_signal(signal.SIGINT)
    ended = pod.end()
    assert (ended.code, names(ended.store)) == (130, {"error.pb", "errors.pb"})


def test_a_bare_sigterm_proves_nothing_unless_it_is_trusted(pod: SmallPod) -> None:
    (pod.out / "n").write_text("5")
    pod.start_sidecar()
    pod.terminate()
    ended = pod.end()
    assert (ended.code, ended.row, ended.partial) == (25, "signal-alone", {"n": b"5"})


@pytest.mark.parametrize(("name", "flags"), [("copilot", ["--trust-signal"]), ("flyte-copilot", [])])
def test_a_trusted_sigterm_publishes(pod: SmallPod, name: str, flags: list[str]) -> None:
    (pod.out / "n").write_text("5")
    pod.start_sidecar(*flags, name=name)
    pod.terminate()
    ended = pod.end()
    assert (ended.code, ended.row, ended.n) == (0, "trusted-signal", 5)


def test_under_the_references_name_the_wrapper_says_otherwise(pod: SmallPod) -> None:
    pod.start_sidecar(name="flyte-copilot")
    pod.start_main(WRITES + "exit 3")
    ended = pod.end()
    assert (ended.code, ended.row) == (137, "exited-by-itself")
    assert "outputs.pb" not in ended.store


def test_the_output_volume_vanishes(pod: SmallPod) -> None:
    pod.start_sidecar()
    shutil.rmtree(pod.out)
    pod.start_main(":")
    ended = pod.end()
    assert ended.code in {21, 22}
    assert names(ended.store) == FAILED
    assert ended.partial == {}


def test_the_control_volume_vanishes_and_the_signal_still_counts(pod: SmallPod) -> None:
    (pod.out / "n").write_text("5")
    pod.start_sidecar("--trust-signal")
    shutil.rmtree(pod.control)
    pod.terminate()
    ended = pod.end()
    assert (ended.code, ended.n) == (0, 5)


def test_nobody_reads_the_log_any_more(pod: SmallPod) -> None:
    sidecar = pod.start_sidecar()
    assert sidecar.stderr is not None
    sidecar.stderr.close()
    pod.start_main(WRITES)
    assert sidecar.wait(60) == 0
    assert set(pod.objects()) == PUBLISHED


def test_partial_can_be_turned_off(pod: SmallPod) -> None:
    pod.start_sidecar("--no-partial")
    pod.start_main(WRITES + "exit 3")
    ended = pod.end()
    assert (ended.code, set(ended.store)) == (23, FAILED)


def test_partial_holds_what_can_be_held(pod: SmallPod) -> None:
    pod.start_sidecar()
    pod.start_main(
        'cd "$OUT"; mkdir -p deep/er; printf a > deep/er/x; printf b > "odd #?% name"; '
        "ln -s /etc/passwd link; mkfifo pipe; exit 1"
    )
    ended = pod.end()
    assert ended.partial == {"deep/er/x": b"a", "odd #?% name": b"b"}
    assert ended.receipt["partial"]["skipped"] == 2


def test_the_process_witness_tells_when_and_not_how(pod: SmallPod) -> None:
    task = pod.home / "an-odd-task"
    shutil.copy("/bin/sleep", task)
    (pod.out / "n").write_text("5")
    running = subprocess.Popen([task, "60"])
    log = pod.home / "log"
    try:
        pod.start_sidecar("--exit-watcher-type", "process", "--task-process", "an-odd-task", "--log-file", str(log))
        until(lambda: log.exists() and "task.processes" in log.read_text(), "the sidecar does not see the task")
        assert pod.sidecar.poll() is None
    finally:
        running.kill()
        running.wait()
    # Nobody sends SIGTERM: after its patience it decides with what it has.
    ended = pod.end()
    assert (ended.code, ended.row) == (25, "process-gone")


@pytest.mark.parametrize(
    ("name", "environ", "grace_s", "known_from"),
    [
        ("copilot", {}, 30, "Kubernetes' default, since COPILOT_GRACE_S is not set"),
        ("copilot", {"COPILOT_GRACE_S": "120"}, 120, "COPILOT_GRACE_S"),
        ("flyte-copilot", {}, 1800, "--timeout, as Flyte sets its pods' terminationGracePeriodSeconds"),
        ("flyte-copilot", {"COPILOT_GRACE_S": "0"}, 0, "COPILOT_GRACE_S"),
    ],
)
def test_the_log_says_how_long_the_grace_period_is_and_who_says_so(
    pod: SmallPod, name: str, environ: dict[str, str], grace_s: int, known_from: str
) -> None:
    (pod.out / "n").write_text("5")
    pod.start_sidecar("--trust-signal", "--timeout", "30m", name=name, **environ)
    pod.terminate()
    ended = pod.end()
    assert ended.code == 0
    told = next(event for event in ended.events if event["event"] == "grace")
    assert (told["grace_s"], told["known_from"]) == (grace_s, known_from)


@pytest.mark.parametrize("text", ["30s", "-1", "1.5", "٣"])
def test_a_grace_period_that_is_none_is_refused_at_once(pod: SmallPod, text: str) -> None:
    pod.start_sidecar(COPILOT_GRACE_S=text)
    ended = pod.end()
    assert ended.code == 2
    failed = next(event for event in ended.events if event["event"] == "failed")
    assert failed["reason"] == "BadFlag"
    assert failed["message"].startswith(f"COPILOT_GRACE_S is {text!r}, which is no number of seconds")


@pytest.mark.parametrize("point", ["send.begun", "send.put"])
def test_a_sidecar_killed_while_it_keeps_what_a_failed_task_left_has_told_why(pod: SmallPod, point: str) -> None:
    pod.start_sidecar(COPILOT_CRASH_AT=point)
    pod.start_main(WRITES + "exit 3")
    ended = pod.end()
    assert ended.code == -signal.SIGKILL
    assert names(ended.store) == FAILED
    assert (ended.row, ended.receipt["published"]) == ("exited-by-itself", False)
    assert ended.error.startswith("TaskFailed: the task ended with exit code 3")
    pod.start_sidecar()
    ended = pod.end()
    assert (ended.code, ended.row, ended.partial) == (23, "exited-by-itself", {"n": b"5"})
    assert (names(ended.store), ended.receipt["partial"]["complete"]) == (FAILED, True)


def wait_for(path: Path) -> None:
    deadline_s = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline_s, path
        time.sleep(0.005)
