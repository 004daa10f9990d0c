"""The executor's watch and calls under an API server's faults: everything is told once, in order, and nothing is missed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from copilot.control_plane.executors.cluster import Cluster, from_kubeconfig, in_cluster
from copilot.control_plane.executors.kubernetes import KubernetesExecutor
from copilot.core.errors import BadConfig, PodApiUnavailable, PodNotFound, PodRefused
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.testing.kubernetes import KubernetesDouble
from copilot.testing.recording import RecordingLog
from copilot.testing.small_pods import OBEYS, container, ended, manifest, over, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Json = Any
PATIENCE_S = 30.0


class Watcher:
    """Collects what a watch tells, in a thread."""

    def __init__(self, executor: KubernetesExecutor) -> None:
        self.told: list[tuple[str, Json]] = []
        self.token = Token(SystemClock(), timeout_s=PATIENCE_S)
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, args=(executor,), daemon=True)
        self._thread.start()
        self.until(lambda told: any(kind == "BOOKMARK" for kind, _ in told))

    def _run(self, executor: KubernetesExecutor) -> None:
        for event in executor.watch("n", self.token):
            with self._news:
                self.told.append(event)
                self._news.notify_all()

    def until(self, wanted: Callable[[list[tuple[str, Json]]], object]) -> None:
        with self._news:
            assert self._news.wait_for(lambda: bool(wanted(self.told)), PATIENCE_S), self.told

    def of(self, name: str) -> list[tuple[str, Json]]:
        return [(kind, pod) for kind, pod in self.told if kind != "BOOKMARK" and pod["metadata"]["name"] == name]

    def bookmarks(self) -> int:
        return sum(kind == "BOOKMARK" for kind, _ in self.told)

    def stop(self) -> None:
        self.token.cancel()
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()


@pytest.fixture
def watcher(executor: KubernetesExecutor) -> Iterator[Watcher]:
    watcher = Watcher(executor)
    yield watcher
    watcher.stop()


def create(executor: KubernetesExecutor, script: str = "true") -> str:
    pod = manifest("n", container("main", script))
    executor.create(pod)
    return str(pod["metadata"]["name"])


def test_a_dropped_watch_goes_on_where_it_was(executor: KubernetesExecutor, double: KubernetesDouble, watcher: Watcher) -> None:
    name = create(executor, "sleep 0.5")
    for _ in range(4):
        double.faults.drop_watches()
        time.sleep(0.1)  # spread over the pod's life; nothing depends on it
    watcher.until(lambda _: any(over(pod) for _, pod in watcher.of(name)))
    versions = [int(pod["metadata"]["resourceVersion"]) for _, pod in watcher.of(name)]
    assert versions == sorted(set(versions))
    assert [kind for kind, _ in watcher.of(name)].count("ADDED") == 1


def test_duplicate_events_are_told_once(executor: KubernetesExecutor, double: KubernetesDouble, watcher: Watcher) -> None:
    double.faults.duplicate_events = True
    name = create(executor)
    watcher.until(lambda _: any(over(pod) for _, pod in watcher.of(name)))
    executor.release("n", name)
    watcher.until(lambda _: any(kind == "DELETED" for kind, _ in watcher.of(name)))
    versions = [pod["metadata"]["resourceVersion"] for _, pod in watcher.of(name)]
    assert len(versions) == len(set(versions))


def test_after_410_the_differences_are_told(executor: KubernetesExecutor, double: KubernetesDouble, watcher: Watcher) -> None:
    stays, goes = create(executor, OBEYS), create(executor, "true")
    watcher.until(
        lambda _: any(over(pod) for _, pod in watcher.of(goes)) and any(running(pod, "main") for _, pod in watcher.of(stays))
    )
    seen = watcher.bookmarks()
    double.faults.refuse(3, code=503, retry_after_s=None, verb="watch")
    double.faults.drop_watches()
    executor.release("n", goes)
    new = create(executor, "true")
    double.storage.forget()
    watcher.until(lambda _: watcher.bookmarks() > seen)
    watcher.until(lambda _: any(over(pod) for _, pod in watcher.of(new)))
    assert [kind for kind, _ in watcher.of(goes)][-1] == "DELETED"
    assert over(watcher.of(goes)[-1][1])
    assert [kind for kind, _ in watcher.of(stays)].count("ADDED") == 1


def test_calls_are_tried_again_while_the_api_throttles(executor: KubernetesExecutor, double: KubernetesDouble) -> None:
    double.faults.refuse(2, code=429, retry_after_s=0)
    name = create(executor)
    double.faults.refuse(1, code=500, retry_after_s=None)
    assert executor.get("n", name)["metadata"]["name"] == name


def test_an_api_that_stays_away_is_unavailable(double: KubernetesDouble) -> None:
    cluster = Cluster(url=double.url)
    executor = KubernetesExecutor(cluster, clock=SystemClock(), log=RecordingLog(), patience_s=0.5)
    double.faults.refuse(100, code=503, retry_after_s=None)
    with pytest.raises(PodApiUnavailable):
        executor.get("n", "p")


def test_what_is_forbidden_is_refused_at_once(executor: KubernetesExecutor, double: KubernetesDouble) -> None:
    double.faults.refuse(1, code=403, retry_after_s=None)
    with pytest.raises(PodRefused) as refused:
        create(executor)
    assert "service account" in refused.value.hint
    assert double.faults.calls["create pods"] == 1


def test_a_pod_deleted_by_hand_is_still_read_before_it_goes(
    executor: KubernetesExecutor, double: KubernetesDouble, watcher: Watcher
) -> None:
    name = create(executor, OBEYS)
    watcher.until(lambda _: any(running(pod, "main") for _, pod in watcher.of(name)))
    double.storage.delete("pods", "n", name, grace_s=1)
    watcher.until(lambda _: any(over(pod) for _, pod in watcher.of(name)))
    assert ended(executor.get("n", name), "main")["exitCode"] in {0, 137}
    executor.release("n", name)
    watcher.until(lambda _: watcher.of(name)[-1][0] == "DELETED")


def test_a_finalizer_that_is_left_behind_is_taken_off_later(executor: KubernetesExecutor) -> None:
    name = create(executor)
    token = Token(SystemClock(), timeout_s=PATIENCE_S)
    while not over(executor.get("n", name)):
        assert not token.cancelled
    executor.delete("n", name, grace_s=1)
    assert over(executor.get("n", name))
    executor.release("n", name)
    executor.release("n", name)
    with pytest.raises(PodNotFound):
        executor.get("n", name)


def test_secrets_belong_to_their_pod_and_are_made_even_after_a_crash_between(
    executor: KubernetesExecutor, double: KubernetesDouble
) -> None:
    pod = manifest("n", container("main", "true"))
    secret = {"kind": "Secret", "metadata": {"name": "own"}, "data": {}}
    made = executor.create(pod)
    with pytest.raises(Exception, match="already exists"):
        executor.create(pod, secrets=[secret])
    owner = double.storage.get("secrets", "n", "own")["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"]) == ("Pod", made["metadata"]["uid"])


def test_a_watch_that_is_cancelled_ends_while_nothing_happens(executor: KubernetesExecutor) -> None:
    watcher = Watcher(executor)
    began = time.monotonic()
    watcher.stop()
    assert time.monotonic() - began < 5


def test_a_server_clock_that_is_ahead_changes_nothing(tmp_path: Path) -> None:
    with KubernetesDouble(tmp_path / "node", clock_skew_s=3600) as double:
        executor = KubernetesExecutor(Cluster(url=double.url), clock=SystemClock(), log=RecordingLog())
        name = create(executor, OBEYS)
        executor.delete("n", name, grace_s=1)
        token = Token(SystemClock(), timeout_s=PATIENCE_S)
        while not over(executor.get("n", name)):
            assert not token.cancelled
        executor.release("n", name)


# --- reaching a cluster ---------------------------------------------------------------------------------------------


def test_a_pod_reaches_its_own_cluster(tmp_path: Path) -> None:
    for name, text in (("token", "t\n"), ("namespace", "team"), ("ca.crt", "")):
        (tmp_path / name).write_text(text)
    cluster = in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}, tmp_path)
    assert (cluster.url, cluster.namespace) == ("https://10.0.0.1:6443", "team")
    assert cluster.token is not None
    assert cluster.token() == "t"
    with pytest.raises(BadConfig, match="no service account"):
        in_cluster({}, tmp_path)


@pytest.mark.parametrize("text", ["", "a: [", "clusters: []\ncurrent-context: x\n", "[]"])
def test_a_kubeconfig_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(BadConfig, match="kubeconfig"):
        from_kubeconfig(path)


def test_a_credential_plugin_gives_the_token(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text('#!/bin/sh\necho "{\\"status\\": {\\"token\\": \\"$WHO-$1\\"}}"\n')
    plugin.chmod(0o755)
    user = f"{{exec: {{command: {plugin}, args: [x], env: [{{name: WHO, value: me}}]}}}}"
    text = f"""
current-context: c
contexts: [{{name: c, context: {{cluster: k, user: u}}}}]
clusters: [{{name: k, cluster: {{server: 'https://example:6443'}}}}]
users: [{{name: u, user: {user}}}]
"""
    path = tmp_path / "config"
    path.write_text(text)
    token = from_kubeconfig(path).token
    assert token is not None
    assert token() == "me-x"
