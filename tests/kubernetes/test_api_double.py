"""The API double on the wire: what a client of a real API server relies on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import urllib3

from copilot.testing.kubernetes import KubernetesDouble
from copilot.testing.small_pods import DEAF, OBEYS, container, ended, manifest, over, phase, running, sidecar

if TYPE_CHECKING:
    from pathlib import Path

Ask = Callable[..., tuple[int, Any]]
Json = Any
PODS = "/api/v1/namespaces/n/pods"
PATIENCE_S = 30.0


def secret(name: str, **more: Json) -> Json:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, **more}, "data": {"k": "dg=="}}


def until(ask: Ask, path: str, wanted: Callable[[Json], object]) -> Json:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        code, found = ask("GET", path)
        if code == 200 and wanted(found):
            return found
        time.sleep(0.02)  # a poll with a deadline, not a wait for luck
    raise AssertionError(found)


def watch(double: KubernetesDouble, path: str) -> Iterator[Json]:
    with urllib3.PoolManager() as pool:
        response = pool.request(
            "GET", double.url + path, preload_content=False, timeout=urllib3.Timeout(read=20), retries=False
        )
        rest = b""
        for block in response.stream():
            *lines, rest = (rest + block).split(b"\n")
            yield from (json.loads(line) for line in lines)
        response.release_conn()


def start(ask: Ask, *containers: Json, inits: Json = (), **more: Json) -> str:
    pod = manifest("n", *containers, inits=inits, **more)
    pod["metadata"]["finalizers"] = []
    code, made = ask("POST", PODS, pod)
    assert code == 201, made
    return str(made["metadata"]["name"])


# --- objects ------------------------------------------------------------------------------------------------------------


def test_a_created_object_has_an_identity_and_a_version(ask: Ask) -> None:
    code, made = ask("POST", "/api/v1/namespaces/n/secrets", secret("a"))
    assert (code, made["metadata"]["namespace"], bool(made["metadata"]["uid"])) == (201, "n", True)
    assert int(made["metadata"]["resourceVersion"]) > 0


def test_the_same_name_again_is_a_conflict_with_its_reason(ask: Ask) -> None:
    ask("POST", "/api/v1/namespaces/n/secrets", secret("a"))
    code, status = ask("POST", "/api/v1/namespaces/n/secrets", secret("a"))
    assert (code, status["kind"], status["reason"]) == (409, "Status", "AlreadyExists")


@pytest.mark.parametrize(
    ("request_of", "code", "reason"),
    [
        ((f"{PODS}/none", "GET", None), 404, "NotFound"),
        (("/api/v1/namespaces/n/widgets", "GET", None), 404, "NotFound"),
        (("/apis/apps/v1/namespaces/n/deployments", "GET", None), 404, "NotFound"),
        ((PODS, "POST", {"kind": "Pod", "metadata": {"name": "p"}, "spec": {}}), 422, "Invalid"),
        ((PODS, "POST", {"kind": "Pod", "metadata": {"name": "Bad_Name"}, "spec": {"containers": [{}]}}), 422, "Invalid"),
        ((PODS, "POST", {"kind": "Secret", "metadata": {"name": "p"}}), 400, "BadRequest"),
        ((PODS, "POST", {"kind": "Pod", "metadata": {"name": "p", "namespace": "other"}}), 400, "BadRequest"),
        ((PODS, "PUT", {}), 405, "MethodNotAllowed"),
        ((f"{PODS}?fieldSelector=spec.x%3D1", "GET", None), 400, "BadRequest"),
        ((f"{PODS}?continue=nonsense", "GET", None), 400, "BadRequest"),
    ],
)
def test_what_cannot_be_is_refused_with_code_and_reason(
    ask: Ask, request_of: tuple[str, str, Json], code: int, reason: str
) -> None:
    path, method, body = request_of
    found, status = ask(method, path, body)
    assert (found, status["reason"], status["code"]) == (code, reason, code)


def test_a_stale_update_is_a_conflict_and_a_fresh_one_is_not(ask: Ask) -> None:
    _, made = ask("POST", "/api/v1/namespaces/n/secrets", secret("a"))
    code, changed = ask("PUT", "/api/v1/namespaces/n/secrets/a", {**made, "data": {"k": "eA=="}})
    assert (code, changed["data"]) == (200, {"k": "eA=="})
    code, status = ask("PUT", "/api/v1/namespaces/n/secrets/a", {**made, "data": {}})
    assert (code, status["reason"]) == (409, "Conflict")


@pytest.mark.parametrize(
    ("patch", "content_type", "wanted"),
    [
        ({"metadata": {"labels": {"b": "2", "a": None}}}, "application/merge-patch+json", {"b": "2"}),
        ({"metadata": {"labels": {"b": "2"}}}, "application/strategic-merge-patch+json", {"a": "1", "b": "2"}),
        ([{"op": "replace", "path": "/metadata/labels/a", "value": "3"}], "application/json-patch+json", {"a": "3"}),
    ],
)
def test_the_three_kinds_of_patch(ask: Ask, patch: Json, content_type: str, wanted: Json) -> None:
    ask("POST", "/api/v1/namespaces/n/secrets", secret("a", labels={"a": "1"}))
    code, changed = ask("PATCH", "/api/v1/namespaces/n/secrets/a", patch, content_type)
    assert (code, changed["metadata"]["labels"]) == (200, wanted)


def test_a_patch_of_an_unknown_kind_or_that_cannot_be_applied_is_refused(ask: Ask) -> None:
    ask("POST", "/api/v1/namespaces/n/secrets", secret("a"))
    assert ask("PATCH", "/api/v1/namespaces/n/secrets/a", {}, "application/json")[0] == 415
    gone = [{"op": "remove", "path": "/metadata/labels/none"}]
    assert ask("PATCH", "/api/v1/namespaces/n/secrets/a", gone, "application/json-patch+json")[0] == 422


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("labelSelector=a%3D1", ["s1"]),
        ("labelSelector=a!%3D1", ["s2", "s3"]),
        ("labelSelector=a", ["s1", "s2"]),
        ("labelSelector=!a", ["s3"]),
        ("labelSelector=a+in+(1,2),b+notin+(x)", ["s1", "s2"]),
        ("fieldSelector=metadata.name%3Ds2", ["s2"]),
        ("", ["s1", "s2", "s3"]),
    ],
)
def test_selectors(ask: Ask, query: str, names: list[str]) -> None:
    for name, labels in (("s1", {"a": "1"}), ("s2", {"a": "2"}), ("s3", {})):
        ask("POST", "/api/v1/namespaces/n/secrets", secret(name, labels=labels))
    _, found = ask("GET", f"/api/v1/namespaces/n/secrets?{query}")
    assert [each["metadata"]["name"] for each in found["items"]] == names


def test_a_long_list_comes_in_pieces_and_a_piece_of_a_forgotten_list_is_410(ask: Ask, double: KubernetesDouble) -> None:
    for place in range(5):
        ask("POST", "/api/v1/namespaces/n/secrets", secret(f"s{place}"))
    _, first = ask("GET", "/api/v1/namespaces/n/secrets?limit=2")
    assert (len(first["items"]), first["metadata"]["remainingItemCount"]) == (2, 3)
    token = first["metadata"]["continue"]
    _, second = ask("GET", f"/api/v1/namespaces/n/secrets?limit=9&continue={token}")
    assert [each["metadata"]["name"] for each in second["items"]] == ["s2", "s3", "s4"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    ask("POST", "/api/v1/namespaces/n/secrets", secret("another"))
    double.storage.forget()
    assert ask("GET", f"/api/v1/namespaces/n/secrets?limit=2&continue={token}")[0] == 410


def test_leases_events_and_config_maps_are_served(ask: Ask) -> None:
    lease = {"kind": "Lease", "metadata": {"name": "leader"}, "spec": {"holderIdentity": "a"}}
    assert ask("POST", "/apis/coordination.k8s.io/v1/namespaces/n/leases", lease)[0] == 201
    assert ask("GET", "/apis/coordination.k8s.io/v1/namespaces/n/leases/leader")[1]["apiVersion"] == "coordination.k8s.io/v1"
    event = {
        "kind": "Event",
        "metadata": {"generateName": "x-"},
        "involvedObject": {"kind": "Pod", "namespace": "n", "name": "p"},
    }
    assert ask("POST", "/api/v1/namespaces/n/events", event)[0] == 201
    for plural, kind in (("configmaps", "ConfigMap"), ("serviceaccounts", "ServiceAccount")):
        assert ask("POST", f"/api/v1/namespaces/n/{plural}", {"kind": kind, "metadata": {"generateName": "x-"}})[0] == 201


def test_discovery(ask: Ask) -> None:
    assert ask("GET", "/version")[1]["minor"] == "32"
    assert ask("GET", "/api")[1]["versions"] == ["v1"]
    names = [each["name"] for each in ask("GET", "/api/v1")[1]["resources"]]
    assert {"pods", "pods/log", "pods/eviction", "secrets"} <= set(names)
    assert ask("GET", "/apis")[1]["groups"][0]["name"] == "coordination.k8s.io"
    assert ask("GET", "/readyz") == (200, "ok")


def test_without_the_token_nothing_is_answered(tmp_path: Path) -> None:
    with KubernetesDouble(tmp_path / "node", token="good") as double, urllib3.PoolManager() as pool:
        assert pool.request("GET", f"{double.url}{PODS}").status == 401
        assert pool.request("GET", f"{double.url}{PODS}", headers={"Authorization": "Bearer good"}).status == 200


# --- watches ----------------------------------------------------------------------------------------------------------------


def test_a_watch_goes_on_from_a_version(ask: Ask, double: KubernetesDouble) -> None:
    _, first = ask("POST", "/api/v1/namespaces/n/secrets", secret("a"))
    ask("POST", "/api/v1/namespaces/n/secrets", secret("b"))
    ask("DELETE", "/api/v1/namespaces/n/secrets/a")
    version = first["metadata"]["resourceVersion"]
    events = watch(double, f"/api/v1/namespaces/n/secrets?watch=1&resourceVersion={version}")
    assert [(each["type"], each["object"]["metadata"]["name"]) for each in (next(events), next(events))] == [
        ("ADDED", "b"),
        ("DELETED", "a"),
    ]


def test_an_object_that_leaves_the_selector_is_deleted_for_the_watcher(ask: Ask, double: KubernetesDouble) -> None:
    ask("POST", "/api/v1/namespaces/n/secrets", secret("a", labels={"x": "1"}))
    events = watch(double, "/api/v1/namespaces/n/secrets?watch=1&labelSelector=x%3D1")
    assert next(events)["type"] == "ADDED"
    for value, kind in (("2", "DELETED"), ("1", "ADDED")):
        patch = {"metadata": {"labels": {"x": value}}}
        ask("PATCH", "/api/v1/namespaces/n/secrets/a", patch, "application/merge-patch+json")
        assert next(events)["type"] == kind


def test_bookmarks_tell_the_version_while_nothing_happens(double: KubernetesDouble) -> None:
    events = watch(double, "/api/v1/namespaces/n/secrets?watch=1&allowWatchBookmarks=true")
    first = next(events)
    assert (first["type"], int(first["object"]["metadata"]["resourceVersion"]) > 0) == ("BOOKMARK", True)


def test_a_watch_is_not_asked_for_its_beginning(ask: Ask) -> None:
    code, status = ask("GET", "/api/v1/namespaces/n/secrets?watch=1&sendInitialEvents=true&timeoutSeconds=1")
    assert (code, status["reason"]) == (422, "Invalid")


def test_a_watch_from_a_forgotten_version_is_410_in_the_stream(ask: Ask, double: KubernetesDouble) -> None:
    _, made = ask("POST", "/api/v1/namespaces/n/secrets", secret("a"))
    ask("POST", "/api/v1/namespaces/n/secrets", secret("b"))
    double.storage.forget()
    version = made["metadata"]["resourceVersion"]
    (event,) = watch(double, f"/api/v1/namespaces/n/secrets?watch=1&resourceVersion={version}")
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


def test_a_watch_ends_when_its_time_is_over(double: KubernetesDouble) -> None:
    assert list(watch(double, "/api/v1/namespaces/n/secrets?watch=1&timeoutSeconds=1")) == []


def test_told_faults_are_answered_so(ask: Ask, double: KubernetesDouble) -> None:
    double.faults.refuse(1, code=429, retry_after_s=3)
    code, status = ask("GET", PODS)
    assert (code, status["details"]["retryAfterSeconds"]) == (429, 3)
    assert ask("GET", PODS)[0] == 200
    assert double.faults.calls["list pods"] == 2


# --- pods ---------------------------------------------------------------------------------------------------------------------


def test_a_pod_runs_to_its_end_and_every_state_of_it_is_a_valid_pod(ask: Ask, double: KubernetesDouble) -> None:
    name = start(ask, container("main", "sleep 0.2; exit 3"), inits=(sidecar("side", OBEYS),))
    for event in watch(double, f"{PODS}?watch=1&fieldSelector=metadata.name%3D{name}"):
        kubernetes_validate.validate(event["object"], "1.32", strict=True)
        if over(event["object"]):
            break
    assert (phase(event["object"]), ended(event["object"], "main")["exitCode"]) == ("Failed", 3)


def test_a_deleted_pod_s_object_goes_when_its_last_container_has_ended(ask: Ask) -> None:
    name = start(ask, container("main", DEAF))
    until(ask, f"{PODS}/{name}", lambda pod: running(pod, "main"))
    code, going = ask("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": 1})
    assert (code, going["metadata"]["deletionGracePeriodSeconds"]) == (200, 1)
    assert ask("GET", f"{PODS}/{name}")[0] == 200
    until(ask, PODS, lambda listed: not listed["items"])


def test_a_finalizer_keeps_a_deleted_pod_readable_until_it_is_off(ask: Ask) -> None:
    pod = manifest("n", container("main", "exit 4"))
    name = ask("POST", PODS, pod)[1]["metadata"]["name"]
    until(ask, f"{PODS}/{name}", over)
    ask("DELETE", f"{PODS}/{name}")
    kept = ask("GET", f"{PODS}/{name}")[1]
    assert (ended(kept, "main")["exitCode"], "deletionTimestamp" in kept["metadata"]) == (4, True)
    ask("PATCH", f"{PODS}/{name}", {"metadata": {"finalizers": None}}, "application/merge-patch+json")
    assert ask("GET", f"{PODS}/{name}")[0] == 404


def test_an_eviction_leaves_its_condition_and_looks_like_success(ask: Ask) -> None:
    pod = manifest("n", container("main", OBEYS))
    name = ask("POST", PODS, pod)[1]["metadata"]["name"]
    until(ask, f"{PODS}/{name}", lambda pod: running(pod, "main"))
    until(ask, f"{PODS}/{name}/log", lambda text: "ready" in text)
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    assert ask("POST", f"{PODS}/{name}/eviction", body)[0] == 201
    done = until(ask, f"{PODS}/{name}", over)
    conditions = {each["type"]: each.get("reason") for each in done["status"]["conditions"]}
    assert (phase(done), conditions["DisruptionTarget"]) == ("Succeeded", "EvictionByEvictionAPI")


def test_a_deletion_with_another_s_uid_is_a_conflict(ask: Ask) -> None:
    name = start(ask, container("main", OBEYS))
    assert ask("DELETE", f"{PODS}/{name}", {"preconditions": {"uid": "another"}})[0] == 409


def test_a_pod_that_fits_nowhere_waits_with_its_reason(ask: Ask, double: KubernetesDouble) -> None:
    double.node.unschedulable = "0/1 nodes are available: 1 Insufficient cpu."
    name = start(ask, container("main", "true"))
    waiting = until(ask, f"{PODS}/{name}", lambda pod: pod["status"].get("conditions"))
    assert waiting["status"]["conditions"][0]["reason"] == "Unschedulable"
    double.node.schedule_waiting()
    assert phase(until(ask, f"{PODS}/{name}", over)) == "Succeeded"


def test_an_image_that_is_not_there_keeps_the_pod_pending_with_its_reason(ask: Ask, double: KubernetesDouble) -> None:
    double.node.missing_images.add("busybox")
    name = start(ask, container("main", "true"))
    seen = until(ask, f"{PODS}/{name}", lambda pod: pod["status"].get("containerStatuses"))
    assert seen["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff"
    ask("DELETE", f"{PODS}/{name}")
    until(ask, PODS, lambda listed: not listed["items"])


def test_a_pod_waits_for_the_secret_of_its_volume(ask: Ask) -> None:
    mount = [{"name": "v", "mountPath": "/secret"}]
    volumes = [{"name": "shared", "emptyDir": {}}, {"name": "v", "secret": {"secretName": "later"}}]
    name = start(ask, container("main", "cat /secret/k", volumeMounts=mount), volumes=volumes)
    seen = until(ask, f"{PODS}/{name}", lambda pod: pod["status"].get("containerStatuses"))
    assert seen["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerCreating"
    ask("POST", "/api/v1/namespaces/n/secrets", secret("later"))
    assert phase(until(ask, f"{PODS}/{name}", over)) == "Succeeded"


def test_a_sidecar_that_is_killed_is_restarted(ask: Ask, double: KubernetesDouble) -> None:
    name = start(ask, container("main", OBEYS), inits=(sidecar("side", OBEYS),))
    until(ask, f"{PODS}/{name}", lambda pod: running(pod, "main"))
    double.node.kill_container("n", name, "side")
    seen = until(ask, f"{PODS}/{name}", lambda pod: pod["status"]["initContainerStatuses"][0]["restartCount"] == 1)
    assert seen["status"]["initContainerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137
    assert running(seen, "main")


def test_the_log_of_what_has_not_begun_is_an_error_of_the_asker(ask: Ask, double: KubernetesDouble) -> None:
    double.node.unschedulable = "no room"
    name = start(ask, container("main", "true"), container("other", "true"))
    assert ask("GET", f"{PODS}/{name}/log")[0] == 400
    assert ask("GET", f"{PODS}/{name}/log?container=none")[0] == 400
    # There is no node to ask yet: no content, and no error.
    assert ask("GET", f"{PODS}/{name}/log?container=main") == (204, "")


def test_the_last_lines_of_a_log(ask: Ask) -> None:
    name = start(ask, container("main", "for i in 1 2 3 4; do echo $i; done"))
    until(ask, f"{PODS}/{name}", over)
    assert ask("GET", f"{PODS}/{name}/log?tailLines=2")[1] == "3\n4\n"


def test_a_pod_waits_for_the_secret_of_a_variable_and_runs_once(ask: Ask, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    source = [{"secretRef": {"name": "later"}}]
    name = start(ask, container("main", f"echo $k >>{ledger}", envFrom=source))
    until(ask, f"{PODS}/{name}", lambda pod: pod["status"].get("containerStatuses"))
    ask("POST", "/api/v1/namespaces/n/secrets", secret("later"))
    assert phase(until(ask, f"{PODS}/{name}", over)) == "Succeeded"
    assert ledger.read_text() == "v\n"
