"""What every ``PodApi`` must do, as tests: subclass ``PodApiContract``, and give the fixtures ``pods`` and ``namespace``.

The rules of ordering, signals, grace and exit codes are those measured on a real Kubernetes 1.32 cluster. Commands are shell
texts, so that any image with a shell serves.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import pytest

from copilot.core.errors import PodExists, PodNotFound, PodRefused
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.testing.small_pods import (
    AWAITS,
    DEAF,
    OBEYS,
    UP,
    Json,
    Pod,
    container,
    ended,
    manifest,
    over,
    phase,
    running,
    sidecar,
    status_of,
)

if TYPE_CHECKING:
    from copilot.core.ports import PodApi

PATIENCE_S: Final = 40.0


class PodApiContract:
    """The suite.

    Attributes:
        image: what every container runs in; anything with a shell.
        patience_s: how long a pod may take to become what is wanted.
    """

    image = "busybox"
    patience_s = PATIENCE_S

    @pytest.fixture(autouse=True)
    def _clean(self, pods: PodApi, namespace: str) -> Iterator[None]:
        self.pods, self.namespace, self.made = pods, namespace, list[str]()
        yield
        for name in self.made:
            pods.delete(namespace, name, grace_s=0)
            pods.release(namespace, name)

    def create(self, pod: Pod, **more: Json) -> str:
        """Creates a pod that is taken away after the test."""
        self.made.append(str(pod["metadata"]["name"]))
        made: Pod = self.pods.create(self.fitted(pod), **more)
        return str(made["metadata"]["name"])

    def fitted(self, pod: Pod) -> Pod:
        """The pod as the place under test takes it; here with the suite's image."""
        spec = {**pod["spec"]}
        for part in ("initContainers", "containers"):
            spec[part] = [{**each, "image": self.image} for each in spec.get(part, ())]
        return {**pod, "spec": spec}

    def get(self, name: str) -> Pod:
        """The pod as it is."""
        found: Pod = self.pods.get(self.namespace, name)
        return found

    def watch(self) -> Iterator[tuple[str, Pod]]:
        """The namespace's pods, for as long as this suite has patience."""
        yield from self.pods.watch(self.namespace, Token(SystemClock(), timeout_s=self.patience_s))

    def until(self, name: str, wanted: Callable[[Pod], object]) -> Pod:
        """Watches the pod until it is as wanted."""
        latest: Pod = {}
        for kind, pod in self.watch():
            if kind != "BOOKMARK" and pod["metadata"]["name"] == name:
                latest = pod
                if kind == "DELETED" or wanted(pod):
                    return pod
        raise AssertionError(f"the pod is not as wanted within {self.patience_s:.0f} s: {latest.get('status')}")

    def until_ready(self, name: str, of: str = "main") -> None:
        """Waits for the word ``ready`` in a container's log: from then on it handles SIGTERM."""
        self.until(name, lambda pod: running(pod, of))
        said = b""
        for chunk in self.pods.logs(
            self.namespace, name, of, follow=True, cancel=Token(SystemClock(), timeout_s=self.patience_s)
        ):
            said += chunk
            if b"ready\n" in said:
                return
        raise AssertionError(f"{of} of {name} never became ready: {said!r}")

    def finish(self, pod: Pod) -> Pod:
        """Creates the pod and waits for its end."""
        return self.until(self.create(pod), over)

    def log(self, name: str, of: str, **more: Json) -> str:
        """The whole log of a container."""
        more.setdefault("follow", False)
        token = Token(SystemClock(), timeout_s=self.patience_s)
        return b"".join(self.pods.logs(self.namespace, name, of, cancel=token, **more)).decode()

    # --- the end of main --------------------------------------------------------------------------------------------

    def test_main_that_exits_0_succeeds(self) -> None:
        pod = self.finish(manifest(self.namespace, container("main", "echo hello")))
        assert phase(pod) == "Succeeded"
        assert (ended(pod, "main")["exitCode"], ended(pod, "main")["reason"]) == (0, "Completed")
        assert self.log(pod["metadata"]["name"], "main") == "hello\n"

    def test_main_that_exits_3_fails_with_its_code(self) -> None:
        pod = self.finish(manifest(self.namespace, container("main", "exit 3")))
        assert (phase(pod), ended(pod, "main")["exitCode"], ended(pod, "main")["reason"]) == ("Failed", 3, "Error")

    def test_a_command_that_does_not_exist_is_a_start_error(self) -> None:
        pod = self.finish(manifest(self.namespace, {"name": "main", "image": "busybox", "command": ["/no/such/command"]}))
        assert (phase(pod), ended(pod, "main")["exitCode"], ended(pod, "main")["reason"]) == ("Failed", 128, "StartError")
        assert "/no/such/command" in ended(pod, "main")["message"]

    def test_the_termination_message_is_what_main_wrote_there(self) -> None:
        pod = self.finish(manifest(self.namespace, container("main", "echo because >/dev/termination-log; exit 1")))
        assert ended(pod, "main")["message"] == "because\n"

    def test_the_log_s_tail_is_the_message_where_asked_and_none_was_written(self) -> None:
        asks = container("main", "echo the reason >&2; exit 1", terminationMessagePolicy="FallbackToLogsOnError")
        assert ended(self.finish(manifest(self.namespace, asks)), "main")["message"].strip() == "the reason"

    # --- order ------------------------------------------------------------------------------------------------------

    def test_the_sidecar_is_up_before_init_runs_and_init_is_over_before_main(self) -> None:
        probe = {"periodSeconds": 1, "exec": {"command": ["/bin/sh", "-c", "test -e /shared/armed"]}}
        pod = self.finish(
            manifest(
                self.namespace,
                container("main", "cat /shared/log; test -e /shared/init-done"),
                inits=(
                    sidecar("side", "sleep 0.3; echo side >>/shared/log; touch /shared/armed; " + OBEYS, startupProbe=probe),
                    container("init", "test -e /shared/armed && echo init >>/shared/log && touch /shared/init-done"),
                ),
            )
        )
        assert phase(pod) == "Succeeded"
        assert self.log(pod["metadata"]["name"], "main") == "side\ninit\n"

    def test_init_that_fails_keeps_main_from_starting(self) -> None:
        pod = self.finish(
            manifest(
                self.namespace,
                container("main", "touch /shared/never"),
                inits=(sidecar("side", OBEYS.replace("echo", UP + "echo")), container("init", AWAITS + "exit 7")),
            )
        )
        assert (phase(pod), ended(pod, "init")["exitCode"], ended(pod, "side")["exitCode"]) == ("Failed", 7, 0)
        assert "waiting" in status_of(pod, "main")["state"]

    def test_main_s_end_is_known_before_the_sidecar_is_told_and_the_pod_runs_until_it_ends(self) -> None:
        works = f"trap 'sleep 1; echo uploaded; exit 0' TERM; {UP}while :; do sleep 0.05; done"
        name = self.create(manifest(self.namespace, container("main", AWAITS), inits=(sidecar("side", works),)))
        between = self.until(name, lambda pod: ended(pod, "main"))
        assert (phase(between), running(between, "side")) == ("Running", True)
        pod = self.until(name, over)
        assert phase(pod) == "Succeeded"
        assert self.log(name, "side") == "uploaded\n"

    def test_a_sidecar_that_is_killed_leaves_the_phase_succeeded(self) -> None:
        deaf = DEAF.replace("echo", UP + "echo")
        pod = self.finish(manifest(self.namespace, container("main", AWAITS), inits=(sidecar("side", deaf),), grace_s=1))
        assert (phase(pod), ended(pod, "main")["exitCode"], ended(pod, "side")["exitCode"]) == ("Succeeded", 0, 137)

    def test_a_sidecar_that_ends_while_main_runs_is_started_again(self) -> None:
        once = "test -e /shared/again && exec sleep 60; touch /shared/again; exit 9"
        waits = "while ! test -e /shared/go; do sleep 0.05; done"
        name = self.create(manifest(self.namespace, container("main", waits), inits=(sidecar("side", once),), grace_s=1))
        pod = self.until(name, lambda pod: status_of(pod, "side").get("restartCount") == 1 and running(pod, "side"))
        assert status_of(pod, "side")["lastState"]["terminated"]["exitCode"] == 9
        assert running(self.until(name, lambda pod: running(pod, "main")), "main")

    # --- being stopped ----------------------------------------------------------------------------------------------

    def test_a_deleted_pod_whose_main_obeys_looks_like_success(self) -> None:
        name = self.create(manifest(self.namespace, container("main", OBEYS), inits=(sidecar("side", OBEYS),)))
        self.until_ready(name)
        self.pods.delete(self.namespace, name, grace_s=5)
        pod = self.until(name, over)
        assert (phase(pod), ended(pod, "main")["exitCode"]) == ("Succeeded", 0)
        assert pod["metadata"]["deletionTimestamp"]

    def test_a_deleted_pod_whose_main_is_deaf_is_killed_after_the_grace_and_its_sidecar_told_only_then(self) -> None:
        stamped = "trap 'date +%s; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
        name = self.create(manifest(self.namespace, container("main", DEAF), inits=(sidecar("side", stamped),), grace_s=30))
        self.until_ready(name, "side")
        self.until_ready(name)
        began = time.time()
        self.pods.delete(self.namespace, name, grace_s=2)
        pod = self.until(name, over)
        assert (phase(pod), ended(pod, "main")["exitCode"]) == ("Failed", 137)
        assert int(self.log(name, "side").split()[-1]) - began >= 1

    def test_a_second_deletion_with_a_longer_grace_changes_nothing_and_one_with_a_shorter_is_taken(self) -> None:
        """That the object says so is all: a real kubelet (1.33) goes on with the grace that it began with."""
        name = self.create(manifest(self.namespace, container("main", DEAF), grace_s=600))
        self.until_ready(name)
        self.pods.delete(self.namespace, name, grace_s=4)
        going = self.until(name, lambda pod: pod["metadata"].get("deletionTimestamp"))
        self.pods.delete(self.namespace, name, grace_s=600)
        assert self.get(name)["metadata"]["deletionGracePeriodSeconds"] == going["metadata"]["deletionGracePeriodSeconds"] == 4
        self.pods.delete(self.namespace, name, grace_s=1)
        assert self.get(name)["metadata"]["deletionGracePeriodSeconds"] == 1
        assert ended(self.until(name, over), "main")["exitCode"] == 137

    def test_the_deadline_ends_a_pod_with_its_reason(self) -> None:
        pod = self.finish(manifest(self.namespace, container("main", OBEYS), activeDeadlineSeconds=1))
        assert (phase(pod), pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")

    def test_a_deletion_of_what_is_not_there_is_no_error(self) -> None:
        self.pods.delete(self.namespace, "no-such-pod", grace_s=1)
        self.pods.release(self.namespace, "no-such-pod")

    # --- the object -------------------------------------------------------------------------------------------------

    def test_a_name_is_taken_once(self) -> None:
        pod = manifest(self.namespace, container("main", "true"))
        self.create(pod)
        with pytest.raises(PodExists):
            self.pods.create(self.fitted(pod))

    def test_a_manifest_without_containers_is_refused(self) -> None:
        pod = manifest(self.namespace, container("main", "true"))
        with pytest.raises(PodRefused):
            self.pods.create({**pod, "spec": {**pod["spec"], "containers": []}})

    def test_a_pod_that_is_not_there_is_not_found(self) -> None:
        with pytest.raises(PodNotFound):
            self.pods.get(self.namespace, "no-such-pod")
        with pytest.raises(PodNotFound):
            self.log("no-such-pod", "main")

    def test_an_ended_pod_can_be_read_until_it_is_released_even_if_somebody_deletes_it(self) -> None:
        name = self.create(manifest(self.namespace, container("main", "exit 3")))
        self.until(name, over)
        self.pods.delete(self.namespace, name, grace_s=0)
        assert ended(self.get(name), "main")["exitCode"] == 3
        self.pods.release(self.namespace, name)
        self.until_gone(name)

    def until_gone(self, name: str) -> None:
        """Waits until the pod cannot be found."""
        deadline = time.monotonic() + self.patience_s
        token = Token(SystemClock(), timeout_s=self.patience_s)
        while time.monotonic() < deadline:
            try:
                self.pods.get(self.namespace, name)
            except PodNotFound:
                return
            token.wait(0.05)
        raise AssertionError(f"{name} is still there after {self.patience_s:.0f} s")

    # --- watching ---------------------------------------------------------------------------------------------------

    def test_a_watch_begins_with_what_is_there_and_then_a_bookmark(self) -> None:
        name = self.create(manifest(self.namespace, container("main", OBEYS)))
        self.until(name, lambda pod: running(pod, "main"))
        first: list[tuple[str, str]] = []
        for kind, pod in self.watch():
            if kind == "BOOKMARK":
                assert pod["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
                break
            first.append((kind, pod["metadata"]["name"]))
        assert ("ADDED", name) in first

    def test_a_watch_tells_of_a_pod_s_whole_life_in_order_and_of_its_going(self) -> None:
        told: list[tuple[str, str]] = []
        pod = manifest(self.namespace, container("main", "true"))
        name = str(pod["metadata"]["name"])
        for kind, seen in self.watch():
            if kind == "BOOKMARK":
                self.create(pod)
            elif seen["metadata"]["name"] == name:
                told.append((kind, phase(seen)))
                if kind == "DELETED":
                    break
                if over(seen):
                    self.pods.release(self.namespace, name)
        kinds = [kind for kind, _ in told]
        assert (kinds[0], kinds[-1], kinds.count("ADDED"), kinds.count("DELETED")) == ("ADDED", "DELETED", 1, 1)
        phases = [each for each, _ in itertools.groupby(phase for _, phase in told)]
        order = ["Pending", "Running", "Succeeded"]
        assert phases == [each for each in order if each in phases]
        assert phases[-1] == "Succeeded"

    # --- logs -------------------------------------------------------------------------------------------------------

    def test_a_followed_log_comes_whole_and_ends_with_the_container(self) -> None:
        counts = "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done; sleep 0.5; echo last"
        name = self.create(manifest(self.namespace, container("main", counts)))
        self.until(name, lambda pod: running(pod, "main") or over(pod))
        assert self.log(name, "main", follow=True).splitlines() == [*(f"line {i}" for i in range(1000)), "last"]

    def test_a_log_can_be_followed_while_its_container_writes(self) -> None:
        name = self.create(manifest(self.namespace, container("main", "echo first; sleep 1; " + OBEYS)))
        self.until(name, lambda pod: running(pod, "main"))
        chunks = self.pods.logs(
            self.namespace, name, "main", follow=True, cancel=Token(SystemClock(), timeout_s=self.patience_s)
        )
        assert next(chunks) == b"first\n"
        assert running(self.get(name), "main")

    def test_timestamps_stand_before_each_line(self) -> None:
        pod = self.finish(manifest(self.namespace, container("main", "echo one; echo two")))
        lines = self.log(pod["metadata"]["name"], "main", timestamps=True).splitlines()
        assert [line.split(" ", 1)[1] for line in lines] == ["one", "two"]
        assert all(line.split(" ")[0].endswith("Z") and line[4] == "-" for line in lines)

    # --- secrets ----------------------------------------------------------------------------------------------------

    def test_secrets_that_come_with_the_pod_are_variables_and_files(self) -> None:
        secret: dict[str, Json] = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"with-{uuid.uuid4().hex[:8]}", "namespace": self.namespace},
            "data": {"token": "aHVzaA=="},
        }
        name = secret["metadata"]["name"]
        reads = container(
            "main",
            'test "$TOKEN" = hush && test "$(cat /secret/token)" = hush',
            env=[{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": name, "key": "token"}}}],
            volumeMounts=[{"name": "secret", "mountPath": "/secret", "readOnly": True}],
        )
        pod = manifest(
            self.namespace,
            reads,
            volumes=[{"name": "shared", "emptyDir": {}}, {"name": "secret", "secret": {"secretName": name}}],
        )
        assert phase(self.until(self.create(pod, secrets=[secret]), over)) == "Succeeded"
