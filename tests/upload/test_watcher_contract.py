"""Every watcher keeps the contract that third-party ones are held to."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core.completion import Saw, Witness
from copilot.core.errors import PodNotFound, PodRefused
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.signals import Latch
from copilot.testing.clock import HastyClock
from copilot.testing.kubernetes import KubernetesDouble
from copilot.testing.kubernetes.kubelet import Kubelet
from copilot.testing.recording import RecordingLog
from copilot.testing.watcher_contract import WatcherContract
from copilot.upload.watchers.context import PodSource, WatcherContext
from copilot.upload.watchers.pod import REFUSED_S, PodWatcher
from copilot.upload.watchers.process import ProcessWatcher
from copilot.upload.watchers.registry import open_watcher

if TYPE_CHECKING:
    from copilot.core.ports import CompletionWatcher

CLOCK = SystemClock()


class TestSignal(WatcherContract):
    witness, saw = Witness.SIGNAL, Saw.SIGTERM

    def setup_method(self) -> None:
        self.latch = Latch()

    def watcher(self, place: Path) -> CompletionWatcher:
        return open_watcher("signal", WatcherContext(place, CLOCK, RecordingLog(), self.latch))

    def provoke(self, place: Path) -> None:
        del place
        self.latch.set(15)


class TestSuccessMarker(WatcherContract):
    witness, saw = Witness.MARKER, Saw.SUCCESS_MARKER
    marker = "_SUCCESS"

    def watcher(self, place: Path) -> CompletionWatcher:
        return open_watcher("marker", WatcherContext(place, CLOCK, RecordingLog()))

    def provoke(self, place: Path) -> None:
        (place / self.marker).write_text("done")


class TestErrorMarker(TestSuccessMarker):
    saw, marker = Saw.ERROR_MARKER, "_ERROR"


class TestNoop(WatcherContract):
    witness, saw, waits = Witness.NOOP, Saw.TOLD, False

    def watcher(self, place: Path) -> CompletionWatcher:
        return open_watcher("noop", WatcherContext(place, CLOCK, RecordingLog()))

    def provoke(self, place: Path) -> None:
        del place


class TestWrapper(WatcherContract):
    witness, saw = Witness.WRAPPER, Saw.EXITED

    def watcher(self, place: Path) -> CompletionWatcher:
        return open_watcher("wrapper", WatcherContext(place, CLOCK, RecordingLog(), control_dir=place))

    def provoke(self, place: Path) -> None:
        argv = [sys.executable, "-m", "copilot", "exec", "--control-dir", str(place), "--", "/bin/true"]
        subprocess.run(argv, check=True)


class TestProcess(WatcherContract):
    """A process that has gone before anybody looked was never seen: the first test of the contract is not for this witness."""

    witness, saw = Witness.PROCESS, Saw.GONE

    def watcher(self, place: Path) -> CompletionWatcher:
        self.task = place / f"task-{uuid.uuid4().hex[:8]}"
        if not hasattr(self, "running"):
            shutil.copy("/bin/sleep", self.task)
            self.running = subprocess.Popen([self.task, "60"])
            self.name = self.task.name
        made = ProcessWatcher(CLOCK, name=self.name, own=-1)  # else it would be ours: we started it
        deadline_s = CLOCK.monotonic_s() + 30
        while not made.scan():  # between fork and exec it still has our name
            assert CLOCK.monotonic_s() < deadline_s
        made.remember()
        return made

    def provoke(self, place: Path) -> None:
        del place
        self.running.kill()
        self.running.wait()

    def teardown_method(self) -> None:
        if hasattr(self, "running"):
            self.running.kill()
            self.running.wait()


class TestPod(WatcherContract):
    """On the wire: an API server of our own, whose pod's status is what the test writes."""

    witness, saw = Witness.POD, Saw.EXITED

    @pytest.fixture(autouse=True)
    def cluster(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        root = tmp_path_factory.mktemp("node")
        with KubernetesDouble(root, token="a-token") as double:
            assert isinstance(double.kubelet, Kubelet)
            double.kubelet.unschedulable = "the test writes the status"
            containers = [{"name": "main", "image": "task"}]
            spec = {"containers": containers}
            pod = {"kind": "Pod", "metadata": {"name": "p"}, "spec": spec, "status": {"phase": "Pending"}}
            double.storage.create("pods", "ns", pod)
            (root / "token").write_text("a-token\n")
            (root / "namespace").write_text("ns")
            self.double = double
            self.source = PodSource(
                double.url,
                "p",
                token_file=str(root / "token"),
                namespace_file=str(root / "namespace"),
                every_s=0.2,
            )
            yield

    def watcher(self, place: Path) -> CompletionWatcher:
        return open_watcher("pod", WatcherContext(place, CLOCK, RecordingLog(), pod=self.source))

    def provoke(self, place: Path) -> None:
        del place
        terminated = {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-01-01T00:00:00Z"}
        status = {"phase": "Running", "containerStatuses": [{"name": "main", "state": {"terminated": terminated}}]}
        self.double.storage.change("pods", "ns", "p", lambda pod: {**pod, "status": status})

    def test_an_api_server_that_is_away_for_a_while_is_asked_again(self, tmp_path: Path) -> None:
        log = RecordingLog()
        self.double.faults.refuse(2, code=504)
        self.provoke(tmp_path)
        said = open_watcher("pod", WatcherContext(tmp_path, CLOCK, log, pod=self.source)).wait(Token(CLOCK, timeout_s=30))
        assert said is not None
        assert len(log.named("watch.retry")) == 2

    @pytest.mark.parametrize("code", [401, 403])
    def test_a_refusal_is_an_error_that_names_the_right(self, tmp_path: Path, code: int) -> None:
        self.double.faults.refuse(1, code=code)
        watcher = self.watcher(tmp_path)
        assert isinstance(watcher, PodWatcher)
        watcher.hurry()
        with pytest.raises(PodRefused, match="does not let us read our own pod") as caught:
            watcher.wait(Token(CLOCK, timeout_s=30))
        assert "get on pods in ns" in caught.value.hint

    @pytest.mark.parametrize("code", [401, 403])
    def test_a_right_that_comes_a_little_after_the_pod_is_waited_for(self, tmp_path: Path, code: int) -> None:
        self.double.faults.refuse(2, code=code)
        self.provoke(tmp_path)
        assert self.watcher(tmp_path).wait(Token(CLOCK, timeout_s=30)) is not None

    def test_a_right_that_does_not_come_is_not_waited_for_for_ever(self, tmp_path: Path) -> None:
        clock, log = HastyClock(), RecordingLog()
        began_s = clock.monotonic_s()
        self.double.faults.refuse(1000, code=403)
        with pytest.raises(PodRefused):
            open_watcher("pod", WatcherContext(tmp_path, clock, log, pod=self.source)).wait(Token(CLOCK, timeout_s=30))
        assert clock.monotonic_s() - began_s >= REFUSED_S
        assert log.named("watch.retry")

    def test_a_pod_that_is_not_there_is_an_error(self, tmp_path: Path) -> None:
        self.source = replace(self.source, name="q")
        with pytest.raises(PodNotFound):
            self.watcher(tmp_path).wait(Token(CLOCK, timeout_s=30))

    @pytest.mark.parametrize("again", [False, True], ids=["gone", "another of its name"])
    def test_a_pod_that_was_deleted_by_force_is_told_as_such(self, tmp_path: Path, *, again: bool) -> None:
        """Its object goes at once, while its containers still get their SIGTERM."""
        watcher, said = self.watcher(tmp_path), []
        thread = threading.Thread(target=lambda: said.append(watcher.wait(Token(CLOCK, timeout_s=30))))
        thread.start()
        deadline_s = CLOCK.monotonic_s() + 30
        while self.double.faults.calls["get pods"] < 2:  # the first was answered
            assert CLOCK.monotonic_s() < deadline_s
        pod = self.double.storage.get("pods", "ns", "p")
        self.double.storage.delete("pods", "ns", "p", grace_s=0)
        if again:
            fresh = {"kind": "Pod", "metadata": {"name": "p"}, "spec": pod["spec"], "status": {"phase": "Pending"}}
            self.double.storage.create("pods", "ns", fresh)
        thread.join(30)
        assert [(one.witness, one.reason) for one in said if one] == [(Witness.POD, Saw.DELETED)]

    def test_only_get_pods_is_ever_asked_for(self, tmp_path: Path) -> None:
        self.provoke(tmp_path)
        self.watcher(tmp_path).wait(Token(CLOCK, timeout_s=30))
        assert set(self.double.faults.calls) == {"get pods"}
