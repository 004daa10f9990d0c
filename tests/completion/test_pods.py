"""Pods on an API server and kubelet of our own: the sidecar asks what became of its pod over the real wire protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.completion.cluster_pod import TOKEN, ClusterPod, container

from copilot.testing.kubernetes import KubernetesDouble

OBEYS = 'printf 5 > "$OUT/n"; trap "exit 0" TERM; echo begun; while :; do sleep 0.02; done'
IGNORES = OBEYS.replace("exit 0", "")


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesDouble]:
    with KubernetesDouble(tmp_path_factory.mktemp("node"), token=TOKEN) as double:
        yield double


@pytest.fixture
def pod(double: KubernetesDouble, tmp_path: Path) -> ClusterPod:
    return ClusterPod(double, tmp_path)


def test_the_container_status_proves_success_where_the_image_cannot_be_wrapped(pod: ClusterPod) -> None:
    pod.create('printf 5 > "$OUT/n"')
    assert pod.receipt()["verdict"]["row"] == "container-exited-0"
    assert pod.names() == {"outputs.pb", "_manifest.json", "_receipt.json"}


def test_the_container_status_tells_of_a_failure(pod: ClusterPod) -> None:
    pod.create('printf 5 > "$OUT/n"; exit 3')
    receipt = pod.receipt()
    assert (receipt["verdict"]["row"], receipt["verdict"]["exit_code"]) == ("container-failed", 3)
    assert pod.error().startswith("TaskFailed: the task ended with exit code 3")
    assert "outputs.pb" not in pod.names()


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("how", "row", "reason"), [("evict", "pod-evicted", "TaskEvicted"), ("delete", "pod-deleted", "TaskDeleted")]
)
def test_a_pod_that_was_to_go_has_not_succeeded_although_its_task_obeyed(
    pod: ClusterPod, how: str, row: str, reason: str, *, wrapped: bool
) -> None:
    # Trusted, so that only the pod's word stands between the signal and a publication.
    pod.create(OBEYS, "--trust-signal", witnesses="pod,wrapper", wrapped=wrapped)
    pod.until_begun()
    if how == "evict":
        pod.evict()
    else:
        pod.request("DELETE", f"/pods/{pod.name}")
    receipt = pod.receipt()
    assert (receipt["verdict"]["row"], receipt["verdict"]["exit_code"]) == (row, 0)
    assert pod.error().startswith(f"{reason}: ")
    pod.until_named({"_receipt.json", "error.pb", "errors.pb", "partial/_receipt.json", "partial/n"})


def test_what_was_done_before_the_deletion_is_done(pod: ClusterPod) -> None:
    pod.create('printf 5 > "$OUT/n"', wrapped=True, witnesses="pod,wrapper")
    assert pod.receipt()["verdict"]["row"] in {"exited-0-before-the-pod-ended", "container-exited-0"}
    assert "outputs.pb" in pod.names()


def test_without_the_right_to_read_pods_the_other_witnesses_decide(pod: ClusterPod) -> None:
    pod.token = "another-token"
    pod.create('printf 5 > "$OUT/n"', wrapped=True, witnesses="pod,wrapper")
    assert pod.receipt()["published"] is True


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(("script", "code"), [(OBEYS, 0), (IGNORES, 137)], ids=["obeys", "ignores SIGTERM"])
def test_a_task_that_outlives_its_pods_deadline_has_not_succeeded(
    pod: ClusterPod, script: str, code: int, *, wrapped: bool
) -> None:
    # Trusted, so that only the pod's word stands between the signal and a publication.
    grace_s = 15 if code == 0 else 1
    pod.create(script, "--trust-signal", witnesses="pod,wrapper", wrapped=wrapped, terminationGracePeriodSeconds=grace_s)
    pod.until_begun()
    pod.deadline(1)
    receipt = pod.receipt()
    assert (receipt["verdict"]["row"], receipt["verdict"]["outcome"]) == ("pod-deadline", "deadline")
    assert receipt["verdict"]["exit_code"] == code
    assert receipt["verdict"]["evidence"]["pod.active_deadline_s"] == "1"
    assert pod.error().startswith("TaskDeadlineExceeded: ")
    assert "activeDeadlineSeconds" in pod.error()
    pod.until_named({"_receipt.json", "error.pb", "errors.pb", "partial/_receipt.json", "partial/n"})
    # Only now, with the sidecar's own end, does the pod say why.
    over = pod.ended()["status"]
    assert (over["phase"], over["reason"]) == ("Failed", "DeadlineExceeded")
    assert container(over, "main")["state"]["terminated"]["exitCode"] == code
    assert container(over, "copilot-sidecar")["state"]["terminated"]["exitCode"] == 23


def test_without_the_right_to_read_pods_a_deadline_is_an_end_that_nobody_can_explain(pod: ClusterPod) -> None:
    pod.create(OBEYS, wrapped=True, witnesses="wrapper")
    pod.until_begun()
    pod.deadline(1)
    assert pod.receipt()["verdict"]["row"] == "stopped-with-0"
    assert pod.error().startswith("CompletionUnproven: ")
    assert "outputs.pb" not in pod.names()
