"""What is the process executor's own: supervision, restarts of the server, isolation, limits."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from copilot.control_plane.executors.process import ProcessExecutor
from copilot.control_plane.executors.processes.log_files import LogWriter, read_log
from copilot.control_plane.executors.processes.memory_cgroup import memory_limits_work
from copilot.control_plane.executors.processes.records import write_whole
from copilot.control_plane.executors.processes.sandbox import FULL
from copilot.control_plane.executors.processes.volumes import memory_directory
from copilot.core.errors import PodNotFound, PodRefused
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.testing.small_pods import DEAF, OBEYS, Pod, container, ended, manifest, over, phase, running, sidecar, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Json = Any
PATIENCE_S = 30.0
SPACE = "own"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "pods"


@pytest.fixture
def executor(root: Path) -> Iterator[ProcessExecutor]:
    with ProcessExecutor(root) as executor:
        yield executor
        for place in (root / "pods").glob("*/*"):
            executor.delete(place.parent.name, place.name, grace_s=0)
            until(executor, place.name, over)


def until(executor: ProcessExecutor, name: str, wanted: Callable[[Pod], object]) -> Pod:
    for kind, pod in executor.watch(SPACE, Token(SystemClock(), timeout_s=PATIENCE_S)):
        if kind != "BOOKMARK" and pod["metadata"]["name"] == name and (kind == "DELETED" or wanted(pod)):
            return pod
    raise AssertionError(f"not as wanted within {PATIENCE_S} s: {executor.get(SPACE, name)['status']}")


def run(executor: ProcessExecutor, *containers: Json, inits: Json = (), **spec: Json) -> Pod:
    pod = manifest(SPACE, *containers, inits=inits, **spec)
    executor.create(pod)
    return until(executor, pod["metadata"]["name"], over)


def log(executor: ProcessExecutor, pod: Pod, of: str = "main") -> str:
    token = Token(SystemClock(), timeout_s=PATIENCE_S)
    return b"".join(executor.logs(SPACE, pod["metadata"]["name"], of, follow=False, cancel=token)).decode()


def gone(executor: ProcessExecutor, name: str) -> None:
    executor.delete(SPACE, name, grace_s=0)
    executor.release(SPACE, name)
    with pytest.raises(PodNotFound):
        executor.get(SPACE, name)


def supervisor(root: Path, name: str) -> int:
    """The process that looks after the pod."""
    return int((root / "pods" / SPACE / name / "lock").read_text())


# --- a server that dies ---------------------------------------------------------------------------------------------


def test_a_new_server_finds_its_pods_and_their_ends(root: Path) -> None:
    goes_on = manifest(SPACE, container("main", "while ! test -e /shared/go; do sleep 0.05; done; echo went on"))
    name = goes_on["metadata"]["name"]
    with ProcessExecutor(root) as first:
        first.create(goes_on)
        until(first, name, lambda pod: running(pod, "main"))
    with ProcessExecutor(root) as second:
        assert running(second.get(SPACE, name), "main")
        (root / "pods" / SPACE / name / "volumes" / "shared" / "go").touch()
        pod = until(second, name, over)
        assert (phase(pod), log(second, pod)) == ("Succeeded", "went on\n")


def test_a_pod_whose_server_died_before_it_began_is_begun_once(root: Path) -> None:
    pod = manifest(SPACE, container("main", "echo once >>/shared/../../begun"))
    place = root / "pods" / SPACE / pod["metadata"]["name"]
    place.mkdir(parents=True)
    metadata = {**pod["metadata"], "uid": "u-1", "creationTimestamp": "2026-11-22T10:00:00Z"}
    write_whole(place / "pod.json", {**pod, "metadata": metadata})
    with ProcessExecutor(root) as one, ProcessExecutor(root) as other:
        assert phase(until(one, pod["metadata"]["name"], over)) == "Succeeded"
        assert phase(until(other, pod["metadata"]["name"], over)) == "Succeeded"
        assert len(list((place / "logs" / "main").iterdir())) == 1


def test_every_server_on_one_directory_hears_of_changes(root: Path) -> None:
    with ProcessExecutor(root) as one, ProcessExecutor(root) as other:
        pod = manifest(SPACE, container("main", "true"))
        one.create(pod)
        assert phase(until(other, pod["metadata"]["name"], over)) == "Succeeded"


def test_a_pod_whose_supervisor_is_killed_is_lost_with_its_containers(root: Path, executor: ProcessExecutor) -> None:
    mark = f"1234.{uuid.uuid4().int % 10**12}"  # of no other test run on this machine
    pod = manifest(SPACE, container("main", f"echo $HOSTNAME; exec sleep {mark}"))
    name = pod["metadata"]["name"]
    executor.create(pod)
    until(executor, name, lambda pod: running(pod, "main"))
    os.kill(supervisor(root, name), signal.SIGKILL)
    lost = until(executor, name, over)
    assert (phase(lost), lost["status"]["reason"], ended(lost, "main")["exitCode"]) == ("Failed", "NodeLost", 137)
    assert lost["status"]["conditions"][0]["type"] == "DisruptionTarget"
    deadline = time.monotonic() + PATIENCE_S
    while any(mark.encode() in each for each in command_lines()):
        assert time.monotonic() < deadline, "a container outlived its supervisor"


def command_lines() -> list[bytes]:
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(each.read_bytes())
        except OSError:
            continue
    return found


def test_a_status_that_cannot_be_written_is_written_later_and_costs_nobody_the_task(
    root: Path, executor: ProcessExecutor
) -> None:
    pod = manifest(
        SPACE, container("main", "while ! test -e /shared/go; do sleep 0.05; done; echo went on; touch /shared/gone")
    )
    name = pod["metadata"]["name"]
    executor.create(pod)
    until(executor, name, lambda pod: running(pod, "main"))
    place = root / "pods" / SPACE / name
    in_the_way = place / ".status.json.new"
    in_the_way.mkdir()
    (place / "volumes" / "shared" / "go").touch()
    deadline = time.monotonic() + PATIENCE_S
    while not (place / "volumes" / "shared" / "gone").exists():
        assert time.monotonic() < deadline
    while json.loads((place / "processes.json").read_text()):
        assert time.monotonic() < deadline
    assert running(executor.get(SPACE, name), "main"), "nobody could be told"
    in_the_way.rmdir()
    assert phase(until(executor, name, over)) == "Succeeded"


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def runs(command: str) -> bool:
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if each.read_text() == command:
                return True
    return False


def test_a_pod_whose_directory_is_removed_ends_with_everything_in_it(root: Path, executor: ProcessExecutor) -> None:
    command = f"sleep\0003600.{os.getpid()}\0"
    pod = manifest(SPACE, container("main", f"exec sleep 3600.{os.getpid()}"))
    executor.create(pod)
    name = pod["metadata"]["name"]
    eventually(lambda: runs(command), "the task runs")
    shutil.rmtree(root / "pods" / SPACE / name)
    eventually(lambda: not runs(command), "the task ends: nobody can ask of it any more")


def test_a_log_without_room_says_so_once_there_is(tmp_path: Path) -> None:
    log = LogWriter(tmp_path / "log")
    log.feed("stdout", b"first\n")
    size = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "log").stat().st_size + 10, size[1]))
    try:
        log.feed("stdout", b"no room\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, size)
        signal.signal(signal.SIGXFSZ, ignored)
    log.feed("stdout", b"last\n")
    log.close()
    text = b"".join(read_log(tmp_path / "log", timestamps=False, more=lambda: False)).decode()
    assert [line.split(" ")[0] for line in text.splitlines()] == ["first", "copilot:", "last"]


def test_a_log_is_read_whole_though_it_is_removed_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogWriter(path)
    log.feed("stdout", b"first\n")

    def more() -> bool:
        if not path.exists():
            return False
        log.feed("stdout", b"last")
        log.close()
        path.unlink()
        return True

    assert b"".join(read_log(path, timestamps=False, more=more)) == b"first\nlast"


def test_a_followed_log_is_whole_though_its_pod_is_gone_before_it_is_read(root: Path, executor: ProcessExecutor) -> None:
    pod = manifest(SPACE, container("main", "echo first; while ! test -e /shared/go; do sleep 0.05; done; echo last"))
    name = pod["metadata"]["name"]
    executor.create(pod)
    until(executor, name, lambda pod: running(pod, "main"))
    followed = executor.logs(SPACE, name, "main", follow=True, cancel=Token(SystemClock(), timeout_s=PATIENCE_S))
    assert next(followed) == b"first\n"
    (root / "pods" / SPACE / name / "volumes" / "shared" / "go").touch()
    until(executor, name, over)
    gone(executor, name)
    assert b"".join(followed) == b"last\n"


def test_a_log_whose_pod_is_gone_before_it_is_looked_at_is_no_empty_log(executor: ProcessExecutor) -> None:
    pod = run(executor, container("main", "echo said"))
    name = pod["metadata"]["name"]
    followed = executor.logs(SPACE, name, "main", follow=True, cancel=Token(SystemClock(), timeout_s=PATIENCE_S))
    gone(executor, name)
    with pytest.raises(PodNotFound):
        next(followed)


def test_a_machine_that_goes_down_ends_its_pods_in_order(root: Path, executor: ProcessExecutor) -> None:
    pod = manifest(SPACE, container("main", OBEYS), inits=(sidecar("side", "trap 'echo bye; exit 0' TERM; " + OBEYS[20:]),))
    name = pod["metadata"]["name"]
    executor.create(pod)
    until(executor, name, lambda pod: running(pod, "main"))
    while "ready" not in log(executor, pod):
        assert not over(executor.get(SPACE, name))
    os.kill(supervisor(root, name), signal.SIGTERM)
    done = until(executor, name, over)
    condition = done["status"]["conditions"][0]
    assert (condition["type"], condition["reason"]) == ("DisruptionTarget", "TerminationByKubelet")


def test_supervisors_come_from_another_nursery_when_one_died(executor: ProcessExecutor) -> None:
    nursery = executor._nursery.process
    nursery.kill()
    nursery.wait()
    assert phase(run(executor, container("main", "true"))) == "Succeeded"


# --- isolation ------------------------------------------------------------------------------------------------------


def test_mount_points_leave_nothing_behind(executor: ProcessExecutor) -> None:
    mounts = [
        {"name": "shared", "mountPath": path} for path in ("/var/flyte/inputs", "/no-such-root/deep/er", "/usr/share/doc")
    ]
    script = "echo a >/var/flyte/inputs/a && cat /no-such-root/deep/er/a /usr/share/doc/a && ls /usr/share | head -n 1"
    pod = run(executor, container("main", script, volumeMounts=mounts))
    assert (phase(pod), log(executor, pod)[:4]) == ("Succeeded", "a\na\n")
    assert not Path("/no-such-root").exists()
    assert not Path("/var/flyte").exists()


def test_the_server_s_environment_is_not_the_task_s(executor: ProcessExecutor) -> None:
    os.environ["COPILOT_TEST_CREDENTIAL"] = "do-not-tell"
    try:
        pod = run(executor, container("main", "env"))
    finally:
        del os.environ["COPILOT_TEST_CREDENTIAL"]
    assert "do-not-tell" not in log(executor, pod)
    assert f"HOSTNAME={pod['metadata']['name']}\n" in log(executor, pod)


def test_what_main_started_ends_with_it(executor: ProcessExecutor) -> None:
    pod = run(executor, container("main", "sleep 4321.5 & echo started"))
    assert log(executor, pod) == "started\n"
    assert not any(b"4321.5" in each for each in command_lines())


def test_the_command_is_process_1_where_the_machine_can(executor: ProcessExecutor) -> None:
    first = log(executor, run(executor, container("main", "sh -c 'echo $PPID'"))).strip()
    assert (first == "1") == (executor.sandbox.mode == FULL)


def test_secrets_are_in_memory_alone_and_gone_afterwards(root: Path, executor: ProcessExecutor) -> None:
    secret = {"kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "aHVzaC1odXNo"}}
    reads = container("main", "cat /secret/k; stat -f -c %T /secret", volumeMounts=[{"name": "v", "mountPath": "/secret"}])
    pod = manifest(SPACE, reads, volumes=[{"name": "shared", "emptyDir": {}}, {"name": "v", "secret": {"secretName": "s"}}])
    uid = executor.create(pod, secrets=[secret])["metadata"]["uid"]
    done = until(executor, pod["metadata"]["name"], over)
    assert log(executor, done) == "hush-hushtmpfs\n"
    assert not memory_directory(str(uid)).exists()
    kept = [each for each in root.rglob("*") if each.is_file() and "logs" not in each.parts]
    assert not any(b"hush" in each.read_bytes() or b"aHVzaC" in each.read_bytes() for each in kept)


def test_images_can_be_required(tmp_path: Path) -> None:
    pod = manifest(SPACE, container("main", "true"))
    with ProcessExecutor(tmp_path / "strict", require_images=True) as strict, pytest.raises(PodRefused, match="image"):
        strict.create(pod)


def test_that_the_image_is_not_used_is_said(executor: ProcessExecutor) -> None:
    assert any("busybox is not used" in each for each in executor.notes(manifest(SPACE, container("main", "true"))))


# --- limits ---------------------------------------------------------------------------------------------------------


def test_a_task_over_its_memory_limit_is_oom_killed_or_it_is_said_that_there_is_no_limit(executor: ProcessExecutor) -> None:
    eats = "exec python3 -c 'x = bytearray(200_000_000); print(len(x))'"
    limited = container("main", eats, resources={"limits": {"memory": "64Mi"}})
    if not memory_limits_work():
        assert any("not enforced" in each for each in executor.notes(manifest(SPACE, limited)))
        return
    pod = run(executor, limited, inits=(sidecar("side", OBEYS),), grace_s=1)
    assert (phase(pod), ended(pod, "main")["reason"], ended(pod, "main")["exitCode"]) == ("Failed", "OOMKilled", 137)


# --- the manifest's details -----------------------------------------------------------------------------------------


def test_variables_fields_and_subpaths_are_as_in_kubernetes(executor: ProcessExecutor) -> None:
    main = container(
        "main",
        "echo '$(GREETING) $$(GREETING) $(MISSING)'; pwd; cat /part/file; echo $NAME",
        env=[
            {"name": "WHO", "value": "world"},
            {"name": "GREETING", "value": "hello-$(WHO)"},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        workingDir="/shared",
        volumeMounts=[{"name": "shared", "mountPath": "/shared"}, {"name": "shared", "mountPath": "/part", "subPath": "a/b"}],
    )
    init = container("init", "mkdir -p /shared/a/b && echo content >/shared/a/b/file")
    pod = run(executor, main, inits=(init,))
    wanted = ["hello-world $(GREETING) $(MISSING)", "/shared", "content", pod["metadata"]["name"]]
    assert log(executor, pod).splitlines() == wanted


def test_a_secret_that_is_not_there_keeps_the_pod_from_starting_with_a_reason(executor: ProcessExecutor) -> None:
    entry = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}
    pod = run(executor, container("main", "true", env=[entry]))
    assert (phase(pod), ended(pod, "main")["reason"]) == ("Failed", "CreateContainerConfigError")
    assert "none" in ended(pod, "main")["message"]


def test_a_volume_that_one_machine_does_not_have_fails_the_pod_with_a_reason(executor: ProcessExecutor) -> None:
    volume = {"name": "shared", "persistentVolumeClaim": {"claimName": "c"}}
    pod = run(executor, container("main", "true"), volumes=[volume])
    assert phase(pod) == "Failed"
    assert "shared" in ended(pod, "main")["message"]


def test_a_port_that_opens_passes_its_probe(executor: ProcessExecutor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        probe = {"periodSeconds": 1, "tcpSocket": {"port": server.getsockname()[1]}}
        pod = run(executor, container("main", "echo up"), inits=(sidecar("side", OBEYS, startupProbe=probe),))
    assert phase(pod) == "Succeeded"


def test_a_liveness_probe_that_fails_ends_the_container(executor: ProcessExecutor) -> None:
    probe = {"periodSeconds": 1, "failureThreshold": 1, "exec": {"command": ["false"]}}
    pod = run(executor, container("main", DEAF, livenessProbe=probe), grace_s=1)
    assert (phase(pod), ended(pod, "main")["exitCode"]) == ("Failed", 137)


def test_a_probe_that_hangs_is_cut_and_counts_as_failed(executor: ProcessExecutor) -> None:
    probe = {"periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1, "exec": {"command": ["sleep", "60"]}}
    pod = manifest(SPACE, container("main", "true"), inits=(sidecar("side", OBEYS, startupProbe=probe),), grace_s=1)
    executor.create(pod)
    seen = until(executor, pod["metadata"]["name"], lambda pod: status_of(pod, "side").get("restartCount", 0) > 0)
    assert not running(seen, "main")


def test_times_are_true_to_the_millisecond(executor: ProcessExecutor) -> None:
    pod = run(executor, container("main", "sleep 0.3"))
    began, finished = (ended(pod, "main")[each] for each in ("startedAt", "finishedAt"))
    assert json.dumps([began, finished]).count(".") == 2


# --- a server that is killed at any moment ----------------------------------------------------------------------------

_SERVER = """
import json, sys
from pathlib import Path
from copilot.control_plane.executors.process import ProcessExecutor
from copilot.core.errors import PodExists
with ProcessExecutor(Path(sys.argv[1])) as executor:
    for pod in json.loads(sys.stdin.read()):
        try:
            executor.create(pod)
        except PodExists:
            pass
        print(pod["metadata"]["name"], flush=True)
"""


def test_a_server_killed_at_any_moment_loses_nothing_and_starts_nothing_twice(root: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    pods = [manifest(SPACE, container("main", f"echo {place} >>{ledger}; sleep 0.1")) for place in range(25)]
    for kill_after in (0, 1, 4, 9, 16, 25):
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process, process.stdin, process.stdout:
            process.stdin.write(json.dumps(pods).encode())
            process.stdin.close()
            for _ in range(kill_after):
                process.stdout.readline()
            process.kill()
    with ProcessExecutor(root) as last:
        for pod in pods:
            assert phase(until(last, pod["metadata"]["name"], over)) == "Succeeded"
    assert sorted(ledger.read_text().split(), key=int) == [str(place) for place in range(25)]
