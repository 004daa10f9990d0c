"""The executor beside others' pods, full quotas, nodes that die, and what answers in place of an API server."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any, cast

import pytest

from copilot.control_plane.executors.cluster import Cluster
from copilot.control_plane.executors.kubernetes import KubernetesExecutor
from copilot.control_plane.executors.pod_watch import PodWatch
from copilot.core.errors import PodApiUnavailable, PodExists, PodNotFound, PodQuotaExceeded, PodRefused
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.testing.recording import RecordingLog
from copilot.testing.small_pods import OBEYS, container, manifest, over, phase, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from copilot.control_plane.executors.api_client import ApiClient
    from copilot.testing.kubernetes import KubernetesDouble

Json = Any
PATIENCE_S = 30.0
QUOTA = 'pods "p" is forbidden: exceeded quota: team, requested: pods=1, used: pods=4, limited: pods=4'


def token(timeout_s: float = PATIENCE_S) -> Token:
    return Token(SystemClock(), timeout_s=timeout_s)


def until(executor: KubernetesExecutor, name: str, wanted: Any) -> Json:  # noqa: ANN401 - a question about a pod
    patience = token()
    while not wanted(pod := executor.get("n", name)):
        assert not patience.wait(0.02), pod
    return pod


def labelled(attempt: str) -> Json:
    pod = manifest("n", container("main", "true"))
    pod["metadata"]["labels"] = {"copilot.dev/run": "r", "copilot.dev/attempt": attempt, "team": "a"}
    return pod


# --- a name that is taken -------------------------------------------------------------------------------------------


def test_a_pod_of_that_name_is_ours_if_its_labels_say_so(executor: KubernetesExecutor, double: KubernetesDouble) -> None:
    pod = labelled("1")
    executor.create(pod)
    with pytest.raises(PodExists):
        executor.create({**pod, "metadata": {**pod["metadata"], "labels": {**pod["metadata"]["labels"], "team": "b"}}})
    theirs = {**pod, "metadata": {**pod["metadata"], "labels": {**pod["metadata"]["labels"], "copilot.dev/attempt": "2"}}}
    secret = {"kind": "Secret", "metadata": {"name": "own"}, "data": {}}
    with pytest.raises(PodRefused, match="somebody else's"):
        executor.create(theirs, secrets=[secret])
    assert not double.storage.list("secrets", "n")[0]


# --- no room in the quota -------------------------------------------------------------------------------------------


def test_a_full_quota_is_told_at_once_as_something_that_passes(executor: KubernetesExecutor, double: KubernetesDouble) -> None:
    double.faults.refuse(1, code=403, retry_after_s=None, message=QUOTA)
    pod = labelled("1")
    with pytest.raises(PodQuotaExceeded, match="exceeded quota: team") as told:
        executor.create(pod)
    assert told.value.transient
    assert double.faults.calls["create pods"] == 1
    executor.create(pod)


# --- a node that dies -----------------------------------------------------------------------------------------------


def test_a_pod_on_a_node_that_died_stays_as_it_was_and_goes_when_somebody_takes_it_away(
    executor: KubernetesExecutor, double: KubernetesDouble
) -> None:
    pod = manifest("n", container("main", OBEYS))
    name = pod["metadata"]["name"]
    executor.create(pod)
    until(executor, name, lambda pod: running(pod, "main"))
    double.node.die()
    executor.delete("n", name, grace_s=1)
    found = executor.get("n", name)
    assert "deletionTimestamp" in found["metadata"]
    assert running(found, "main")
    executor.release("n", name)
    assert running(executor.get("n", name), "main"), "nobody has confirmed its end"
    double.storage.delete("pods", "n", name, grace_s=0)  # as the garbage collector does once the node is gone
    with pytest.raises(PodNotFound):
        executor.get("n", name)


# --- logs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("follow", [True, False], ids=["followed", "read"])
def test_a_log_that_is_cut_is_taken_up_where_it_was(
    executor: KubernetesExecutor, double: KubernetesDouble, *, follow: bool
) -> None:
    pod = manifest("n", container("main", "for i in 1 2 3 4; do echo $i; sleep 0.1; done"))
    name = pod["metadata"]["name"]
    executor.create(pod)
    until(executor, name, over if not follow else lambda pod: running(pod, "main") or over(pod))
    double.faults.break_logs(2)
    assert b"".join(executor.logs("n", name, "main", follow=follow, cancel=token())) == b"1\n2\n3\n4\n"
    assert double.faults.calls["get pods/log"] >= 3


def test_a_log_that_cannot_be_had_is_an_error_and_no_empty_log(double: KubernetesDouble) -> None:
    executor = KubernetesExecutor(Cluster(url=double.url), clock=SystemClock(), log=RecordingLog(), patience_s=0.5)
    pod = manifest("n", container("main", "echo 1"))
    name = pod["metadata"]["name"]
    executor.create(pod)
    until(executor, name, over)
    double.faults.break_logs(1_000_000)
    with pytest.raises(PodApiUnavailable, match="connection to the Kubernetes API broke"):
        list(executor.logs("n", name, "main", follow=False, cancel=token()))


# --- watches --------------------------------------------------------------------------------------------------------


class Ended:
    """A stream of these lines that ends by itself."""

    def __init__(self, *events: Json) -> None:
        self._lines = [json.dumps(each).encode() + b"\n" for each in events]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._lines)

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass


class Scripted:
    """Answers lists and watches from a script; the last of each again and again."""

    def __init__(self, lists: list[Json], watches: list[Ended]) -> None:
        self.lists, self.watches, self.asked = lists, watches, 0

    def call(self, method: str, path: str, *, query: Json) -> Json:
        assert (method, path, "watch" in query) == ("GET", "/pods", False)
        return self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]

    def stream(self, path: str, query: Json) -> Ended:
        assert (path, query["watch"]) == ("/pods", "true")
        self.asked += 1
        return self.watches.pop(0) if len(self.watches) > 1 else self.watches[0]


def seen(version: int) -> Json:
    return {"metadata": {"uid": "u", "name": "p", "resourceVersion": str(version)}, "status": {"seen": version}}


def listed(version: int, *pods: Json) -> Json:
    return {"metadata": {"resourceVersion": str(version)}, "items": list(pods)}


def watching(script: Scripted) -> PodWatch:
    return PodWatch(cast("ApiClient", script), "/pods", "", clock=SystemClock(), log=RecordingLog())


def test_watches_that_end_at_once_are_not_asked_for_as_fast_as_they_do() -> None:
    script = Scripted([listed(1)], [Ended()])
    list(watching(script).events(token(1.0)))
    assert 1 <= script.asked <= 6


def test_lists_that_expire_at_once_are_not_asked_for_as_fast_as_they_do() -> None:
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
    script = Scripted([listed(1)], [Ended(gone)])
    list(watching(script).events(token(1.0)))
    assert 1 <= script.asked <= 6


def test_a_list_that_is_older_than_what_was_told_takes_nothing_back() -> None:
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
    change = {"type": "MODIFIED", "object": seen(5)}
    script = Scripted(
        [listed(2, seen(2)), listed(3, seen(3))], [Ended(change, gone), Ended({**change, "object": seen(7)}), Ended()]
    )
    told = []
    for kind, pod in watching(script).events(token()):
        if kind != "BOOKMARK":
            told.append((kind, pod["status"]["seen"]))
        if told[-1:] == [("MODIFIED", 7)]:
            break
    assert told == [("ADDED", 2), ("MODIFIED", 5), ("MODIFIED", 7)]


def test_a_server_that_lags_behind_takes_nothing_back(
    executor: KubernetesExecutor, double: KubernetesDouble, tmp_path: Path
) -> None:
    pod = manifest("n", container("main", f"while ! test -e {tmp_path}/go; do sleep 0.02; done"))
    executor.create(pod)
    double.storage.lag()  # a list knows the pod as it was made, and no more
    told, stale = [], False
    for kind, seen in executor.watch("n", token()):
        if kind == "BOOKMARK" and stale:
            double.storage.catch_up()
            (tmp_path / "go").touch()
        elif kind != "BOOKMARK":
            told.append((kind, phase(seen)))
            if running(seen, "main") and not stale:
                stale = True
                double.faults.drop_watches()
                double.storage.create("configmaps", "n", {"metadata": {"name": "another-change"}})
                double.storage.forget()
            if over(seen):
                break
    kinds, phases = [kind for kind, _ in told], [each for _, each in told]
    assert (kinds[0], set(kinds[1:])) == ("ADDED", {"MODIFIED"})
    assert phases == sorted(phases, key=["Pending", "Running", "Succeeded"].index)
    assert double.faults.calls["list pods"] >= 3


# --- what is no API server ------------------------------------------------------------------------------------------


class _Proxy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<html>log in first</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(timeout=10)


def test_a_page_in_place_of_an_answer_is_told_as_such(proxy: str) -> None:
    executor = KubernetesExecutor(Cluster(url=proxy), clock=SystemClock(), log=RecordingLog(), patience_s=0.2)
    began = time.monotonic()
    with pytest.raises(PodApiUnavailable, match="sends no JSON"):
        executor.get("n", "p")
    assert time.monotonic() - began < PATIENCE_S
