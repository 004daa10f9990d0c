"""A real shared process namespace, as ``shareProcessNamespace: true`` makes it: containers that see one another's processes.

The kernel's own namespaces, entered from outside as a container runtime does: the first process is the pause container's, every
container's own first process has no parent inside and mounts of its own. Needs the right to make namespaces: without it,
these tests fail.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.completion.conftest import CLEAN, COPILOT, INTEGER, PATIENCE_S, SmallPod, interface, until


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


@dataclass
class Container:
    """One container.

    Attributes:
        outside: its first process, as this machine numbers it.
        inside: the same, as the pod numbers it.
    """

    process: subprocess.Popen[bytes]
    outside: int

    @property
    def inside(self) -> int:
        line = next(line for line in Path(f"/proc/{self.outside}/status").read_text().splitlines() if line.startswith("NSpid"))
        return int(line.split()[-1])

    def stop(self) -> None:
        os.kill(self.outside, signal.SIGSTOP)

    def go_on(self) -> None:
        for pid in (self.outside, self.process.pid):  # nsenter stops with what it started
            os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        os.kill(self.outside, signal.SIGKILL)
        self.process.wait(PATIENCE_S)


@dataclass
class SharedPod:
    """A pod whose containers share their process numbers."""

    small: SmallPod
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = self.small.home / "log"
        pause = self.small.home / "pause"
        shutil.copy("/bin/sleep", pause)
        # Its own name for the pause container's process: what the kernel calls it is what the real one is called.
        argv = ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child", str(pause), "infinity"]
        holder = subprocess.Popen(argv)
        self.started.append(holder)
        until(lambda: bool(children(holder.pid)) or holder.poll() is not None, "no namespace")
        assert holder.poll() is None, "no process namespace can be made here: run as root, with the right to (CAP_SYS_ADMIN)"
        (self.pause,) = children(holder.pid)
        until(lambda: Path(f"/proc/{self.pause}/comm").read_text() == "pause\n", "pause does not start")

    def container(self, *argv: str, beside: Container | None = None) -> Container:
        """A new container that runs ``argv``; ``beside``: one more process in that container, as a probe is."""
        of, apart = (self.pause, ["unshare", "--mount"]) if beside is None else (beside.outside, [])
        enters = ["nsenter", "--target", str(of), "--pid", "--mount", *apart, *argv]
        process = subprocess.Popen(enters, env={**CLEAN, "OUT": str(self.small.out)})
        self.started.append(process)
        until(lambda: bool(children(process.pid)) or process.poll() is not None, f"{argv[0]} does not start")
        return Container(process, next(iter(children(process.pid)), 0))

    def shell(self, script: str) -> Container:
        return self.container("/bin/sh", "-c", script)

    def sidecar(self, *flags: str) -> Container:
        words = ["--from-local-dir", str(self.small.out), "--to-output-prefix", str(self.small.store)]
        words += ["--interface", interface(n=INTEGER), "--log-file", str(self.log)]
        made = self.container(str(COPILOT), "sidecar", *words, "--control-dir", str(self.small.control), *flags)
        until(lambda: (self.small.control / "ARMED").exists() or made.process.poll() is not None, "the sidecar is not armed")
        return made

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [event for line in lines if (event := json.loads(line))["event"] == name]

    def heard(self, witness: str) -> bool:
        return any(event["witness"] == witness for event in self.events("task.seen"))

    def looks(self) -> None:
        """Until the sidecar has seen the task's processes."""
        until(lambda: bool(self.events("task.processes")), "the sidecar does not see the task")

    def end(self, sidecar: Container) -> int:
        def ended() -> bool:
            with suppress(ProcessLookupError):
                sidecar.process.send_signal(signal.SIGCONT)  # nsenter may stop a moment after what it started
            return sidecar.process.poll() is not None

        until(ended, "the sidecar does not end")
        return int(sidecar.process.returncode)

    def receipt(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.small.store / "_receipt.json").read_text())
        return found

    def close(self) -> None:
        for process in reversed(self.started):
            process.kill()  # with the holder its first process goes, and with that all others
            process.wait()


@pytest.fixture
def shared(pod: SmallPod) -> Iterator[SharedPod]:
    made = SharedPod(pod)
    yield made
    made.close()


WITNESSES = ("--witnesses", "process")


def test_the_tasks_end_is_seen_and_proves_nothing(shared: SharedPod) -> None:
    sidecar = shared.sidecar(*WITNESSES)
    main = shared.shell('printf 5 > "$OUT/n"; exec sleep 60')
    shared.looks()
    assert main.process.poll() is None
    main.kill()
    until(lambda: shared.heard("process"), "nobody saw it end")
    os.kill(sidecar.outside, signal.SIGTERM)
    assert shared.end(sidecar) == 25
    verdict = shared.receipt()["verdict"]
    assert verdict["outcome"] == "unknown"
    assert set(verdict["witnesses"]) == {"process", "signal"}
    assert verdict["evidence"]["process.processes"] == "1"
    assert not (shared.small.store / "outputs.pb").exists()


def test_every_process_of_the_task_is_waited_for(shared: SharedPod) -> None:
    sidecar = shared.sidecar(*WITNESSES, "--trust-signal")
    # One that is left behind by its parent, one beside it, and a second container of the task's.
    main = shared.shell('(setsid sleep 61 &) ; sleep 62 & printf 5 > "$OUT/n"; exec sleep 63')
    other = shared.shell("exec sleep 64")
    shared.looks()
    until(lambda: len(tasks(shared, "sleep")) == 4, "the task has not begun")
    for pid in tasks(shared, "sleep")[:3]:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(subprocess.TimeoutExpired):
        sidecar.process.wait(1)
    assert not shared.heard("process")
    for pid in tasks(shared, "sleep"):
        os.kill(pid, signal.SIGKILL)
    until(lambda: shared.heard("process"), "nobody saw it end")
    os.kill(sidecar.outside, signal.SIGTERM)
    assert shared.end(sidecar) == 0
    assert shared.receipt()["verdict"]["row"] == "trusted-signal"
    assert main.process.wait(PATIENCE_S) is not None
    assert other.process.wait(PATIENCE_S) is not None


def test_neither_probes_nor_copilots_own_init_are_the_task(shared: SharedPod) -> None:
    sidecar = shared.sidecar(*WITNESSES)
    sidecar.stop()  # it does not see them as what starts them
    init = shared.container(sys.executable, "-c", "import time; time.sleep(60)", "/bin/copilot", "init")
    probe = shared.container("/bin/sleep", "60", beside=sidecar)
    until(lambda: len(tasks(shared, "sleep")) == 1, "the probe does not run")
    until(lambda: b"/bin/copilot" in Path(f"/proc/{init.outside}/cmdline").read_bytes(), "init does not run")
    sidecar.go_on()
    looked(sidecar)
    init.kill()
    probe.kill()
    looked(sidecar)
    assert (shared.events("task.processes"), shared.heard("process")) == ([], False)
    main = shared.shell("exec sleep 60")
    shared.looks()
    main.kill()
    until(lambda: shared.heard("process"), "nobody saw it end")


@pytest.mark.parametrize("flags", [WITNESSES, ("--exit-watcher-type", "process")], ids=["asked besides", "asked alone"])
def test_a_task_that_was_gone_before_anybody_looked_is_told_by_the_signal(shared: SharedPod, flags: tuple[str, ...]) -> None:
    main = shared.shell('printf 5 > "$OUT/n"')
    main.process.wait(PATIENCE_S)
    sidecar = shared.sidecar(*flags)
    looked(sidecar)
    os.kill(sidecar.outside, signal.SIGTERM)
    assert shared.end(sidecar) == 25
    verdict = shared.receipt()["verdict"]
    assert (verdict["row"], verdict["witnesses"]) == ("signal-alone", ["signal"])


def test_the_number_of_the_task_may_be_anothers_by_now(shared: SharedPod) -> None:
    task = shared.small.home / "the-task"
    shutil.copy("/bin/sleep", task)
    sidecar = shared.sidecar(*WITNESSES, "--task-process", "the-task")
    main = shared.container(str(task), "60")
    shared.looks()
    number = main.inside
    sidecar.stop()  # it sees neither the end nor the beginning
    main.kill()
    again = shared.shell(
        f'until [ "$!" = {number} ]; do [ -n "$!" ] && kill $!; echo {number - 1} > /proc/sys/kernel/ns_last_pid; '
        f"sleep 60 & done; touch {shared.small.home}/taken; wait"
    )
    until((shared.small.home / "taken").exists, "the number is not given again")
    sidecar.go_on()
    until(lambda: shared.heard("process"), "nobody saw it end")
    assert again.process.poll() is None
    os.kill(sidecar.outside, signal.SIGTERM)
    assert shared.end(sidecar) == 25


def test_a_task_of_the_same_name_that_begins_anew_has_not_ended(shared: SharedPod) -> None:
    task = shared.small.home / "the-task"
    shutil.copy("/bin/sleep", task)
    sidecar = shared.sidecar(*WITNESSES, "--task-process", "the-task")
    first = shared.container(str(task), "60")
    shared.looks()
    second = shared.container(str(task), "60")
    until(lambda: len(tasks(shared, "the-task")) == 2, "the second does not run")
    first.kill()
    looked(sidecar)
    assert not shared.heard("process")
    second.kill()
    until(lambda: shared.heard("process"), "nobody saw it end")


def tasks(shared: SharedPod, name: str) -> list[int]:
    """Processes of that name in the pod, by the machine's own numbers, in the order in which they began."""
    namespace = (Path(f"/proc/{shared.pause}/ns/pid")).readlink()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if (entry / "comm").read_text().strip() == name and (entry / "ns" / "pid").readlink() == namespace:
                    found.append(int(entry.name))
    return sorted(found)


def looked(sidecar: Container) -> None:
    """Until the sidecar has gone through /proc some more times: nothing else in it reads files while it waits."""

    def reads() -> int:
        text = Path(f"/proc/{sidecar.outside}/io").read_text()
        return int(text.partition("syscr:")[2].split()[0])

    before = reads()
    until(lambda: reads() >= before + 60, "the sidecar does not look")
