"""What the API double refuses and completes, as a real API server does: each line was held against Kubernetes 1.33."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from copilot.testing.small_pods import DEAF, container, ended, manifest, over

if TYPE_CHECKING:
    from copilot.control_plane.executors.kubernetes import KubernetesExecutor

Ask = Callable[..., tuple[int, Any]]
Json = Any
PODS = "/api/v1/namespaces/n/pods"
SECRETS = "/api/v1/namespaces/n/secrets"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/n/leases"
PATIENCE_S = 30.0
MERGE = "application/merge-patch+json"
TWO = [{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}]
PROBE = {"exec": {"command": ["true"]}}


def pod(main: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | None = None, **spec: Json) -> Json:
    each = {"name": "main", "image": "here:1", "command": ["true"], **(main or {})}
    return {"kind": "Pod", "metadata": {"name": "p", **(metadata or {})}, "spec": {"containers": [each], **spec}}


def secret(**more: Json) -> Json:
    return {"kind": "Secret", "metadata": {"name": "s"}, **more}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (pod({"name": "Main"}), 422),
        (pod({"image": ""}), 422),
        (pod(restartPolicy="Sometimes"), 422),
        (pod(activeDeadlineSeconds=0), 422),
        (pod({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}), 422),
        (pod({"resources": {"requests": {"cpu": "many"}}}), 400),
        (pod({"env": [{"name": "a=b", "value": "1"}]}), 422),
        (pod({"env": [{"name": "a", "value": 1}]}), 400),
        (pod({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}), 422),
        (pod({"volumeMounts": [{"name": each, "mountPath": "/v"} for each in "vw"]}, volumes=TWO), 422),
        (pod(volumes=[TWO[0], TWO[0]]), 422),
        (pod(volumes=[{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}]), 422),
        (pod(initContainers=[{"name": "i", "image": "x", "restartPolicy": "Never"}]), 422),
        (pod(initContainers=[{"name": "i", "image": "x", "startupProbe": PROBE}]), 422),
        (pod(initContainers=[{"name": "i", "image": "x", "lifecycle": {"preStop": PROBE}}]), 422),
        (pod({"startupProbe": {**PROBE, "successThreshold": 2}}), 422),
        (pod({"startupProbe": {**PROBE, "tcpSocket": {"port": 1}}}), 422),
        (pod(metadata={"finalizers": ["nonsense"]}), 422),
        (pod(metadata={"labels": {"a b": "v"}}), 422),
        (pod(metadata={"annotations": {"a": 1}}), 400),
        (pod(metadata={"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]}), 422),
        (pod(metadata={"resourceVersion": "5"}), 500),
        (pod(initContainers=[{"name": "i", "image": "x", "restartPolicy": "Always", "startupProbe": PROBE}]), 201),
        (pod({"resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "1", "memory": "1Gi"}}}), 201),
    ],
)
def test_a_pod_that_a_real_server_refuses_is_refused(ask: Ask, given: Json, code: int) -> None:
    assert ask("POST", PODS, given)[0] == code


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (secret(data={"k": "###"}), 400),
        (secret(data={"a b": "dg=="}), 422),
        (secret(data={"k": base64.b64encode(bytes(1024 * 1024 + 1)).decode()}), 422),
        (secret(data={"k": "dg=="}), 201),
    ],
)
def test_a_secret_that_a_real_server_refuses_is_refused(ask: Ask, given: Json, code: int) -> None:
    assert ask("POST", SECRETS, given)[0] == code


def test_texts_of_a_secret_are_kept_as_data(ask: Ask) -> None:
    kept = ask("POST", SECRETS, secret(stringData={"k": "v"}))[1]
    assert (kept["data"], kept["type"], "stringData" in kept) == ({"k": "dg=="}, "Opaque", False)


@pytest.mark.parametrize(
    ("image", "policy"),
    [("busybox", "Always"), ("host:5000/busybox", "Always"), ("b:latest", "Always"), ("b:1", "IfNotPresent")],
)
def test_an_image_that_moves_is_pulled_each_time(ask: Ask, image: str, policy: str) -> None:
    assert ask("POST", PODS, pod({"image": image}))[1]["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_a_limit_is_a_request(ask: Ask) -> None:
    made = ask("POST", PODS, pod({"resources": {"limits": {"cpu": "1"}}}))[1]
    assert made["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1"}


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ({"spec": {"terminationGracePeriodSeconds": 9}}, 422),
        ({"spec": {"activeDeadlineSeconds": 9}}, 200),
        ({"spec": {"activeDeadlineSeconds": 99}}, 422),
        ({"metadata": {"labels": {"a": "b"}}}, 200),
    ],
)
def test_of_a_spec_little_can_be_changed(ask: Ask, patch: Json, code: int) -> None:
    ask("POST", PODS, pod(activeDeadlineSeconds=50))
    assert ask("PATCH", f"{PODS}/p", patch, MERGE)[0] == code


def test_what_is_being_deleted_gets_no_new_finalizer(ask: Ask) -> None:
    ask("POST", PODS, pod({"command": ["sleep", "60"]}, metadata={"finalizers": ["copilot.dev/a"]}))
    ask("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 1})
    assert ask("PATCH", f"{PODS}/p", {"metadata": {"finalizers": ["copilot.dev/a", "copilot.dev/b"]}}, MERGE)[0] == 422
    assert ask("PATCH", f"{PODS}/p", {"metadata": {"finalizers": None}}, MERGE)[0] == 200


def test_a_deletion_that_knows_another_version_is_a_conflict(ask: Ask) -> None:
    ask("POST", SECRETS, secret(data={}))
    assert ask("DELETE", f"{SECRETS}/s", {"preconditions": {"resourceVersion": "1"}})[0] == 409
    code, answer = ask("DELETE", f"{SECRETS}/s")
    assert (code, answer["kind"], answer["status"], answer["details"]["name"]) == (200, "Status", "Success", "s")


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"renewTime": "yesterday"}, 400),
        ({"renewTime": "2026-01-01T00:00:00Z"}, 400),
        ({"leaseDurationSeconds": 0}, 422),
        ({"renewTime": "2026-01-01T00:00:00.000001Z", "leaseDurationSeconds": 15}, 201),
    ],
)
def test_a_lease_s_times_have_six_digits_of_a_second(ask: Ask, spec: Json, code: int) -> None:
    assert ask("POST", LEASES, {"metadata": {"name": "l"}, "spec": spec})[0] == code


def test_a_lease_is_replaced_only_by_who_says_which_version(ask: Ask) -> None:
    made = ask("POST", LEASES, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}})[1]
    assert ask("PUT", f"{LEASES}/l", {"metadata": {"name": "l"}, "spec": {"holderIdentity": "b"}})[0] == 422
    assert ask("PUT", f"{LEASES}/l", {**made, "spec": {"holderIdentity": "b"}})[0] == 200


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{SECRETS}?limit=x", 400),
        (f"{SECRETS}?resourceVersion=abc", 400),
        (f"{SECRETS}?resourceVersion=99999999", 504),
        (f"{SECRETS}?watch=1&resourceVersion=abc", 500),
    ],
)
def test_a_question_that_a_real_server_refuses_is_refused(ask: Ask, path: str, code: int) -> None:
    assert ask("GET", path)[0] == code


def test_an_eviction_or_an_update_of_another_s_name_is_refused(ask: Ask) -> None:
    made = ask("POST", PODS, pod())[1]
    assert ask("POST", f"{PODS}/p/eviction", {"kind": "Eviction", "metadata": {"name": "other"}})[0] == 400
    assert ask("PUT", f"{PODS}/p", {**made, "metadata": {**made["metadata"], "name": "other"}})[0] == 400


def until(ask: Ask, path: str, wanted: Callable[[Json], object]) -> Json:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        code, found = ask("GET", path)
        if code == 200 and wanted(found):
            return found
        time.sleep(0.02)  # a poll with a deadline, not a wait for luck
    raise AssertionError(found)


def test_the_kubelet_goes_on_with_the_grace_that_it_began_with(executor: KubernetesExecutor, ask: Ask) -> None:
    name = executor.create(manifest("n", container("main", DEAF), grace_s=60))["metadata"]["name"]
    until(ask, f"{PODS}/{name}/log", lambda text: "ready" in text)
    executor.delete("n", name, grace_s=4)
    executor.delete("n", name, grace_s=1)
    going = ask("GET", f"{PODS}/{name}")[1]["metadata"]
    assert going["deletionGracePeriodSeconds"] == 1
    killed = ended(until(ask, f"{PODS}/{name}", over), "main")["finishedAt"]
    late = datetime.fromisoformat(killed) - datetime.fromisoformat(going["deletionTimestamp"])
    assert late.total_seconds() >= 2
    executor.release("n", name)
