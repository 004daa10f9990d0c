"""The kubelet's rules as a pure machine: each measured row, and what must hold whatever happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copilot.control_plane.executors.processes.container_state import ENDED, RUNNING, Now
from copilot.control_plane.executors.processes.machine import PodMachine, RunProbe, Signal, Start
from copilot.control_plane.executors.processes.spec import PodSpec
from copilot.control_plane.executors.processes.status import phase, pod_status

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = Any
PROBE = {"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 3}


def pod(*names: str, **spec: Json) -> Json:
    """Names: ``s…`` a sidecar, ``p…`` one with a startup probe, ``i…`` init, ``m…`` main."""
    inits: list[Json] = []
    mains: list[Json] = []
    for name in names:
        match name[0]:
            case "s":
                inits.append({"name": name, "image": "x", "restartPolicy": "Always"})
            case "p":
                inits.append({"name": name, "image": "x", "restartPolicy": "Always", "startupProbe": PROBE})
            case "i":
                inits.append({"name": name, "image": "x"})
            case _:
                mains.append({"name": name, "image": "x"})
    return {
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 15,
            "initContainers": inits,
            "containers": mains,
            **spec,
        },
    }


class Run:
    """Drives a machine with a clock of its own; every start succeeds at once."""

    def __init__(self, manifest: Json, **settings: Json) -> None:
        self.manifest, self.at = manifest, 1000.0
        self.machine = PodMachine(PodSpec.of(manifest), self.now, **settings)
        self.done: list[str] = []
        self.probes: list[RunProbe] = []
        self._act(self.machine.begin(self.now))

    @property
    def now(self) -> Now:
        return Now(self.at, 1_795_000_000.0 + self.at)

    def _act(self, actions: list[Any]) -> None:
        for action in actions:
            match action:
                case Start(name):
                    self.done.append(f"start {name}")
                    self._act(self.machine.began(name, self.now))
                case Signal(name, signal):
                    self.done.append(f"{signal} {name}")
                case RunProbe():
                    self.probes.append(action)

    def exit(self, name: str, code: int = 0, *, oom: bool = False) -> None:
        self._act(self.machine.exited(name, code, self.now, oom=oom))

    def probe(self, name: str, *, passed: bool = True) -> None:
        self._act(self.machine.probed(name, "startup", self.now, passed=passed))

    def delete(self, grace_s: float = 15) -> None:
        self._act(self.machine.delete(grace_s, self.now))

    def wait(self, seconds: float) -> None:
        end = self.at + seconds
        while (due := self.machine.wake_at()) is not None and due <= end:
            self.at = max(self.at, due)
            self._act(self.machine.tick(self.now))
        self.at = end

    def news(self) -> list[str]:
        news, self.done = self.done, []
        return news

    @property
    def phase(self) -> str:
        return phase(self.machine)

    @property
    def status(self) -> Json:
        return pod_status(self.machine, self.manifest)


def test_sidecar_init_main_in_this_order() -> None:
    run = Run(pod("s", "i", "m"))
    assert (run.news(), run.phase) == (["start s", "start i"], "Pending")
    run.exit("i")
    assert (run.news(), run.phase) == (["start m"], "Running")


def test_main_exits_0_then_the_sidecar_is_told_and_the_pod_runs_until_it_ends() -> None:
    run = Run(pod("s", "m"), notice_s=0.9)
    run.exit("m")
    assert run.news() == ["start s", "start m"]
    run.wait(1)
    assert (run.news(), run.phase) == (["TERM s"], "Running")
    run.wait(14)
    assert run.news() == []
    run.wait(1)
    assert run.news() == ["KILL s"]
    run.exit("s", 137)
    assert (run.phase, run.machine.finished) == ("Succeeded", True)


def test_a_sidecar_killed_in_mid_upload_leaves_the_phase_succeeded() -> None:
    run = Run(pod("s", "m"))
    run.exit("m")
    run.exit("s", 137)
    assert run.phase == "Succeeded"


@pytest.mark.parametrize(("code", "oom", "reason"), [(3, False, "Error"), (137, True, "OOMKilled"), (128, False, "Error")])
def test_main_that_fails_fails_the_pod(code: int, oom: bool, reason: str) -> None:  # noqa: FBT001  a table's column
    run = Run(pod("s", "m"))
    run.exit("m", code, oom=oom)
    run.exit("s")
    assert run.phase == "Failed"
    assert run.status["containerStatuses"][0]["state"]["terminated"]["reason"] == reason


def test_a_deleted_pod_whose_main_obeys_looks_like_success() -> None:
    run = Run(pod("s", "m"))
    run.news()
    run.delete()
    assert run.news() == ["TERM m"]
    run.exit("m", 0)
    assert run.news() == ["TERM s"]
    run.exit("s")
    assert (run.phase, run.machine.finished) == ("Succeeded", True)


def test_main_that_is_deaf_eats_the_grace_and_the_sidecar_gets_2_s() -> None:
    run = Run(pod("s", "m"))
    run.news()
    run.delete(15)
    run.wait(15)
    assert run.news() == ["TERM m", "KILL m"]
    run.exit("m", 137)
    assert run.news() == ["TERM s"]
    run.wait(1.9)
    assert run.news() == []
    run.wait(0.2)
    assert run.news() == ["KILL s"]
    run.exit("s", 137)
    assert run.phase == "Failed"


def test_an_evicted_pod_has_the_condition() -> None:
    run = Run(pod("s", "m"))
    run._act(run.machine.evict("EvictionByEvictionAPI", "evicting", 15, run.now))
    run.exit("m")
    run.exit("s")
    condition = run.status["conditions"][0]
    assert (condition["type"], condition["reason"], run.phase) == ("DisruptionTarget", "EvictionByEvictionAPI", "Succeeded")


def test_the_deadline_stops_the_pod_and_names_itself() -> None:
    run = Run(pod("s", "m", activeDeadlineSeconds=60))
    run.news()
    run.wait(60)
    assert run.news() == ["TERM m"]
    run.wait(15)
    assert run.news() == ["KILL m"]
    run.exit("m", 137)
    run.exit("s")
    assert (run.phase, run.status["reason"]) == ("Failed", "DeadlineExceeded")


def test_the_deadline_also_ends_an_upload() -> None:
    run = Run(pod("s", "m", activeDeadlineSeconds=60, terminationGracePeriodSeconds=3600))
    run.exit("m")
    run.wait(60)
    run.exit("s")
    assert (run.phase, run.status["reason"]) == ("Failed", "DeadlineExceeded")


def test_init_that_fails_keeps_main_from_starting_and_ends_the_sidecar() -> None:
    run = Run(pod("s", "i", "m"))
    run.news()
    run.exit("i", 7)
    assert run.news() == ["TERM s"]
    run.exit("s")
    assert run.phase == "Failed"
    assert run.status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}


def test_the_next_container_waits_for_the_startup_probe() -> None:
    run = Run(pod("p", "m"))
    assert run.news() == ["start p"]
    run.probe("p", passed=False)
    assert run.news() == []
    run.probe("p")
    assert run.news() == ["start m"]


def test_a_startup_probe_that_fails_too_often_restarts_the_container() -> None:
    run = Run(pod("p", "m"))
    for _ in range(3):
        run.probe("p", passed=False)
    assert run.news() == ["start p", "TERM p"]
    run.exit("p", 143)
    run.wait(0)
    assert run.news() == ["start p"]


def test_a_startup_probe_that_is_run_eagerly_fails_no_oftener_than_its_period_says() -> None:
    run = Run(pod("p", "m"), eager_s=0.05)
    looks = 0
    for _ in range(40):
        run.wait(0.05)
        looks += len(run.probes)
        for _ in range(len(run.probes)):
            run.probes.pop()
            run.probe("p", passed=False)
    assert looks > 30
    assert "TERM p" not in run.news()
    run.wait(1.5)
    run.probe("p")
    assert run.news() == ["start m"]


def test_a_sidecar_is_restarted_at_once_then_after_10_20_40_seconds() -> None:
    run = Run(pod("s", "m"))
    run.news()
    waits = []
    for _ in range(5):
        run.exit("s", 9)
        waited = 0.0
        while not run.news():
            run.wait(1)
            waited += 1
        waits.append(waited)
    assert [max(0.0, each - 1) if each == 1 else each for each in waits] == [0, 10, 20, 40, 80]
    assert run.status["initContainerStatuses"][0]["restartCount"] == 5


def test_a_container_that_waits_to_be_restarted_shows_it() -> None:
    run = Run(pod("s", "m"))
    for _ in range(2):
        run.exit("s", 9)
        run.wait(0)
    shown = run.status["initContainerStatuses"][0]
    assert shown["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert shown["lastState"]["terminated"]["exitCode"] == 9


def test_a_second_deletion_shortens_the_grace_and_never_lengthens_it() -> None:
    run = Run(pod("m"))
    run.delete(100)
    run.delete(5)
    run.delete(50)
    run.wait(5)
    assert run.news() == ["start m", "TERM m", "KILL m"]


def test_sidecars_end_in_reverse_order() -> None:
    run = Run(pod("s1", "s2", "m"))
    run.exit("m")
    assert run.news()[-1] == "TERM s2"
    run.exit("s2")
    assert run.news() == ["TERM s1"]


def test_a_pod_that_restarts_on_failure_does_so() -> None:
    run = Run(pod("m", restartPolicy="OnFailure"))
    run.exit("m", 1)
    run.wait(0)
    assert run.news() == ["start m", "start m"]
    run.exit("m", 0)
    assert run.phase == "Succeeded"


# --- whatever happens ---------------------------------------------------------------------------------------------------

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["exit", "wait", "delete", "probe", "fail-probe"]), st.integers(0, 5), st.sampled_from([0, 1, 137])
    ),
    max_size=40,
)
PODS = st.lists(st.sampled_from("spi"), max_size=4).map(lambda kinds: [f"{kind}{place}" for place, kind in enumerate(kinds)])


def alive(run: Run) -> list[str]:
    return [name for name, state in run.machine.containers.items() if state.life == RUNNING]


@settings(max_examples=200, deadline=None)
@given(PODS, st.integers(1, 2), st.sampled_from(["Never", "OnFailure"]), EVENTS)
def test_the_order_holds_whatever_happens(
    inits: list[str], mains: int, policy: str, events: list[tuple[str, int, int]]
) -> None:
    run = Run(pod(*inits, *(f"m{place}" for place in range(mains)), restartPolicy=policy, activeDeadlineSeconds=300))
    phases = [run.phase]
    for kind, which, code in events:
        living = alive(run)
        match kind:
            case "exit" if living:
                run.exit(living[which % len(living)], code)
            case "wait":
                run.wait(which * 7)
            case "delete":
                run.delete(which)
            case "probe" | "fail-probe" if run.probes:
                asked = run.probes.pop()
                if run.machine.containers[asked.container].life == RUNNING:
                    run.probe(asked.container, passed=kind == "probe")
        check(run)
        phases.append(run.phase)
    order = {"Pending": 0, "Running": 1, "Succeeded": 2, "Failed": 2}
    assert [order[each] for each in phases] == sorted(order[each] for each in phases)
    run.delete(1)
    run.wait(1)
    for _ in range(len(run.machine.containers) + 1):
        for name in alive(run):
            if run.machine.containers[name].told_to_stop:
                run.exit(name, 137)
    assert run.machine.finished
    assert not alive(run)


def check(run: Run) -> None:
    containers = run.machine.containers
    mains = [state for state in containers.values() if state.spec.role == "main"]
    inits = [state for state in containers.values() if state.spec.role == "init"]
    if any(state.life == RUNNING for state in mains):
        assert all(state.ended is not None and state.ended.exit_code == 0 for state in inits)
        told = [state for state in containers.values() if state.spec.role == "sidecar" and state.told_to_stop]
        by_probe = all("startup" in state.spec.probes for state in told)
        assert not told or by_probe or run.machine.stop is not None
    if run.machine.finished:
        assert not alive(run)
        assert run.machine.wake_at() is None
    shown: Mapping[str, Any] = run.status
    for each in [*shown.get("initContainerStatuses", []), *shown["containerStatuses"]]:
        assert len(each["state"]) == 1
        assert ("terminated" in each["state"]) <= (containers[each["name"]].life == ENDED)


@given(st.integers(0, 30))
def test_sidecars_are_told_only_after_every_main_ended(grace: int) -> None:
    run = Run(pod("s", "m1", "m2"))
    run.news()
    run.delete(grace)
    run.exit("m1")
    assert "TERM s" not in run.news()
    run.exit("m2")
    assert run.news() == ["TERM s"]
