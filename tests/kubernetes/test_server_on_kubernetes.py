"""``copilot server --executor kubernetes`` in processes of its own, on the API double over HTTPS, with a real S3 store."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from copilot.control_plane.client import ControlPlaneClient, container_task
from copilot.core.idl import LiteralMap, LiteralType, SimpleType
from copilot.testing.kubernetes import KubernetesDouble
from copilot.testing.secret_servers.certificates import Authority
from copilot.testing.server_process import PROGRAMS, ServerProcess, until
from copilot.testing.servers.postgresql import postgres_server

if TYPE_CHECKING:
    from copilot.testing.servers.s3 import S3Server

PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
NUMBER = {"m": LiteralType(simple=SimpleType.INTEGER)}
TOLD_WITHIN_S = 0.3


def client(server: ServerProcess) -> ControlPlaneClient:
    return ControlPlaneClient(server.url, project="flytesnacks", domain="development")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KubernetesDouble]:
    authority = Authority(tmp_path)
    # Our containers have a /tmp of their own, so the node's directories cannot be below this machine's.
    with (
        tempfile.TemporaryDirectory(prefix="copilot-node-", dir="/var/tmp") as node,
        KubernetesDouble(
            Path(node),
            token="a-token",
            certificate=tmp_path / "server.pem",
            authority=authority.ca_file,
            notice_s=0.9,
            path=PATH,
        ) as double,
    ):
        yield double


Start = Callable[..., ServerProcess]


@pytest.fixture
def start(cluster: KubernetesDouble, tmp_path: Path, s3_server: S3Server, s3_bucket: str) -> Iterator[Start]:
    started: list[ServerProcess] = []
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig", namespace="team")

    def start(name: str, database: str = "", *more: str) -> ServerProcess:
        data = tmp_path / name
        data.mkdir()
        flags = ["--executor", "kubernetes", "--kubeconfig", str(kubeconfig), "--store", f"s3://{s3_bucket}/{tmp_path.name}"]
        server = ServerProcess(
            data,
            database or f"sqlite:///{data / 'copilot.db'}",
            flags=(*flags, "--wrap", "always", *more),
            environ=s3_server.environ,
        )
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        if not server.process_ended():
            server.stop()


def pods(cluster: KubernetesDouble) -> list[dict[str, Any]]:
    return list(cluster.storage.each("pods"))


def test_a_task_runs_in_the_cluster_and_leaves_nothing_there(cluster: KubernetesDouble, start: Start) -> None:
    server = start("one")
    spec = container_task("adds", "busybox", ["sh", "-c", "echo 42 >/var/outputs/m"], inputs={}, outputs=NUMBER)
    name = client(server).submit(spec, LiteralMap())
    ended = client(server).wait(name)
    assert ended["phase"] == "SUCCEEDED", ended
    assert client(server).outputs(name).literals["m"].scalar.primitive.integer == 42
    events = " ".join(each for attempt in ended["history"] for each in attempt["events"])
    assert "objects" in events, events
    # Its last state was read, so it was released and goes, with the Secret that it owned.
    until(lambda: not pods(cluster), "the pod goes")
    assert cluster.faults.calls["create pods"] == 1


def test_a_task_waits_for_room_in_the_quota_and_is_told_so(cluster: KubernetesDouble, start: Start) -> None:
    said = 'pods "x" is forbidden: exceeded quota: team, requested: pods=1, used: pods=4, limited: pods=4'
    cluster.faults.refuse(6, code=403, retry_after_s=None, verb="create", message=said)
    server = start("one")
    spec = container_task("adds", "busybox", ["sh", "-c", "echo 42 >/var/outputs/m"], inputs={}, outputs=NUMBER)
    ended = client(server).wait(client(server).submit(spec, LiteralMap()))
    assert (ended["phase"], ended["attempts"]) == ("SUCCEEDED", 1), ended
    assert "exceeded quota: team" in str(ended["history"])


def test_a_plain_sidecar_serves_as_well_where_there_are_no_native_ones(cluster: KubernetesDouble, start: Start) -> None:
    server = start("one", "", "--sidecar", "plain")

    def run(script: str) -> tuple[str, dict[str, Any]]:
        spec = container_task("adds", "busybox", ["sh", "-c", script], inputs={}, outputs=NUMBER)
        name = client(server).submit(spec, LiteralMap())
        return name, client(server).wait(name)

    name, ended = run("echo 42 >/var/outputs/m")
    assert ended["phase"] == "SUCCEEDED", ended
    assert client(server).outputs(name).literals["m"].scalar.primitive.integer == 42
    name, ended = run("exit 3")
    assert (ended["phase"], "exit code 3" in str(ended)) == ("FAILED", True), ended
    until(lambda: not pods(cluster), "the pods go")


def test_a_client_knows_soon_after_main_s_exit_however_slow_the_kubelet(start: Start, tmp_path: Path) -> None:
    """The kubelet tells the sidecar 0.9 s after main's end; the wrapper's proof and the report are there long before."""
    server = start("one")
    # A pod's status has whole seconds: main notes its end itself.
    end = tmp_path / "end"
    script = f"echo 42 >/var/outputs/m; date +%s.%N >{end}"
    spec = container_task("adds", "busybox", ["sh", "-c", script], inputs={}, outputs=NUMBER)
    late = []
    for _ in range(5):
        ended = client(server).wait(client(server).submit(spec, LiteralMap()))
        late.append(time.time() - float(end.read_text()))
        assert ended["phase"] == "SUCCEEDED", ended
    assert statistics.median(late) < TOLD_WITHIN_S, late


def leader(cluster: KubernetesDouble, servers: list[ServerProcess]) -> ServerProcess | None:
    """The server whose process the Lease names."""
    for lease in cluster.storage.each("leases"):
        holder = str(lease["spec"]["holderIdentity"])
        for server in servers:
            if server.process is not None and f"-{server.process.pid}-" in holder:
                return server
    return None


@pytest.mark.slow
def test_of_two_servers_one_leads_and_when_it_is_killed_the_other_goes_on(
    cluster: KubernetesDouble, start: Start, tmp_path: Path
) -> None:
    with postgres_server() as postgresql:
        database = postgresql.create_database()
        servers = [start(name, database, "--replicas") for name in ("one", "two")]
        until(lambda: leader(cluster, servers) is not None, "somebody leads")
        first = leader(cluster, servers)
        assert first is not None
        other = next(each for each in servers if each is not first)
        ran = tmp_path / "ran"

        def run(number: int) -> str:
            script = f"echo r{number} >>{ran}; sleep 1; echo {number} >/var/outputs/m"
            spec = container_task("counts", "busybox", ["sh", "-c", script], inputs={}, outputs=NUMBER)
            # Requests are answered by both, whoever leads.
            return client(other).submit(spec, LiteralMap(), f"r{number}")

        names = [run(number) for number in range(4)]
        until(lambda: ran.exists() and len(ran.read_text().split()) >= 2, "some of them run")
        first.kill()
        names += [run(number) for number in range(4, 8)]
        with ThreadPoolExecutor(8) as threads:
            ended = list(threads.map(client(other).wait, names))
        assert [(each["phase"], each["attempts"]) for each in ended] == [("SUCCEEDED", 1)] * 8
        assert sorted(ran.read_text().split()) == names
        assert leader(cluster, servers) is other
        other.stop()


def test_plain_sidecars_want_tasks_that_are_wrapped(tmp_path: Path) -> None:
    command = [str(PROGRAMS / "copilot"), "server", "--data", str(tmp_path / "data"), "--sidecar", "plain"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "nothing but copilot exec tells a plain sidecar of its task's end" in ended.stderr
    assert not (tmp_path / "data").exists()


def test_several_servers_want_a_database_that_they_can_share(tmp_path: Path, cluster: KubernetesDouble) -> None:
    given = ["--executor", "kubernetes", "--kubeconfig", str(cluster.kubeconfig(tmp_path / "k")), "--replicas"]
    command = [str(PROGRAMS / "copilot"), "server", "--data", str(tmp_path / "data"), *given]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "SQLite is for one server" in ended.stderr
    assert not (tmp_path / "data").exists()
