"""How a cluster's address and credentials are read: what is missing, broken or away is told, and no key is left on the disk."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from copilot.control_plane.executors import cluster as cluster_module
from copilot.control_plane.executors.cluster import from_kubeconfig, in_cluster
from copilot.control_plane.executors.kubernetes import KubernetesExecutor
from copilot.core.errors import BadConfig, PodApiUnavailable, PodNotFound, PodUnauthenticated
from copilot.engine.clock import SystemClock
from copilot.testing.recording import RecordingLog

if TYPE_CHECKING:
    from copilot.testing.kubernetes import KubernetesDouble

Json = Any


def kubeconfig(directory: Path, *, user: Json = None, **cluster: Json) -> Path:
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://example:6443", **cluster}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    path = directory / "config"
    path.write_text(json.dumps(config))
    return path


def plugin(directory: Path, script: str) -> Json:
    path = directory / "plugin"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": str(path)}}


def token_of(path: Path) -> str:
    token = from_kubeconfig(path).token
    assert token is not None
    return token()


def test_keys_in_a_kubeconfig_are_files_for_as_long_as_we_run_and_on_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    given = {f"client-{part}-data": base64.b64encode(part.encode()).decode() for part in ("certificate", "key")}
    found = from_kubeconfig(kubeconfig(tmp_path, user=given)).client_certificate
    assert found is not None
    assert [Path(each).read_text() for each in found] == ["certificate", "key"]
    assert [each.name for each in tmp_path.iterdir()] == ["config"]


def test_content_that_is_no_base64_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="kubeconfig"):
        from_kubeconfig(kubeconfig(tmp_path, **{"certificate-authority-data": "a"}))


def test_a_named_file_that_is_not_there_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="certificate-authority is not there") as told:
        from_kubeconfig(kubeconfig(tmp_path, **{"certificate-authority": "gone.pem"}))
    assert told.value.subject == str(tmp_path / "gone.pem")


def test_a_plugin_is_told_what_it_is_asked_for_and_hears_nothing_on_standard_input(tmp_path: Path) -> None:
    script = """cat >/dev/null; printf '{"status": {"token": "%s"}}' "$(echo "$KUBERNETES_EXEC_INFO" | base64 -w0)" """
    asked = json.loads(base64.b64decode(token_of(kubeconfig(tmp_path, user=plugin(tmp_path, script)))))
    assert asked == {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }


@pytest.mark.parametrize(
    "script",
    ["exit 1", "echo no", "echo '[]'", """echo '{"status": {"token": "t", "expirationTimestamp": "soon"}}'"""],
    ids=["fails", "text", "list", "time"],
)
def test_a_plugin_that_gives_nothing_may_give_it_later(tmp_path: Path, script: str) -> None:
    with pytest.raises(PodApiUnavailable, match="gave no token"):
        token_of(kubeconfig(tmp_path, user=plugin(tmp_path, script)))


def test_a_token_file_that_goes_away_for_a_moment_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "_REREAD_S", 0.0)
    (tmp_path / "token").write_text("one\n")
    token = in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path).token
    assert token is not None
    assert token() == "one"
    (tmp_path / "token").unlink()
    assert token() == "one"
    (tmp_path / "token").write_text("two\n")
    assert token() == "two"


def test_a_token_that_is_refused_is_asked_for_anew(double: KubernetesDouble, tmp_path: Path) -> None:
    double.token = "second"
    script = f"test -e {tmp_path}/asked && token=second || token=first; touch {tmp_path}/asked; "
    script += """printf '{"status": {"token": "%s"}}' $token"""
    config = kubeconfig(tmp_path, user=plugin(tmp_path, script), server=double.url)
    executor = KubernetesExecutor(from_kubeconfig(config), clock=SystemClock(), log=RecordingLog())
    with pytest.raises(PodUnauthenticated):
        executor.get("n", "p")
    with pytest.raises(PodNotFound):
        executor.get("n", "p")


def test_a_token_file_that_never_was_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(PodApiUnavailable, match="token for the cluster cannot be read"):
        token_of(kubeconfig(tmp_path, user={"tokenFile": "gone"}))
