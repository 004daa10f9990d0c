"""Anybody's manifest, wrapped: compared whole, valid for old and new Kubernetes, and within the restricted profile."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from copilot.control_plane.pods.manifests import wrap_documents
from copilot.control_plane.pods.wrapping import WrapRequest
from copilot.core.errors import PodRefused

Json = Any
HERE = Path(__file__).parent
CASES = sorted(path.stem for path in (HERE / "manifests").glob("*.yaml"))
COPILOT = Path(sys.executable).with_name("copilot")
COMMAND = {"name": "main", "image": "i", "command": ["true"]}


def manifests(case: str) -> list[Json]:
    return list(yaml.safe_load_all((HERE / "manifests" / f"{case}.yaml").read_text()))


def flat(documents: Json) -> list[Json]:
    return [each for document in documents for each in (document["items"] if document["kind"] == "List" else [document])]


def pod_specs(documents: Json) -> list[Json]:
    found = []
    for each in flat(documents):
        spec = each.get("spec", {})
        for step in ("jobTemplate", "spec", "template", "spec"):
            spec = spec.get(step, spec)
        if "containers" in spec:
            found.append(spec)
    return found


def pod(*, annotations: dict[str, str] | None = None, **spec: Json) -> Json:
    metadata = {"name": "p", "annotations": {f"copilot.dev/{key}": value for key, value in (annotations or {}).items()}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"restartPolicy": "Never", "containers": [COMMAND], **spec},
    }


def wrapped(document: Json, **asked: Json) -> Json:
    (made,) = wrap_documents([document], WrapRequest(**asked)).documents
    return made


def container(spec: Json, name: str) -> Json:
    return next(each for each in [*spec["initContainers"], *spec["containers"]] if each["name"] == name)


def cli(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(COPILOT), "wrap", *arguments], input=text, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("case", CASES)
def test_what_comes_out_is_as_written_down(case: str) -> None:
    done = cli("-f", str(HERE / "manifests" / f"{case}.yaml"))
    assert done.returncode == 0, done.stderr
    golden = HERE / "goldens" / f"{case}.yaml"
    if os.environ.get("COPILOT_WRITE_GOLDENS"):
        golden.write_text(done.stdout)
    assert done.stdout == golden.read_text()
    again = cli("-f", "-", text=done.stdout)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert "wrapped already" in again.stderr


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_it_is_valid_for_old_and_new_kubernetes(case: str, version: str) -> None:
    for each in flat(wrap_documents(manifests(case), WrapRequest()).documents):
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("case", CASES)
def test_a_restricted_pod_stays_one(case: str) -> None:
    for spec in pod_specs(wrap_documents(manifests(case), WrapRequest()).documents):
        of_pod = spec["securityContext"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all({"emptyDir", "configMap", "secret", "projected"} & volume.keys() for volume in spec["volumes"])
        for each in [*spec["initContainers"], *spec["containers"]]:
            context = {**of_pod, **each["securityContext"]}
            assert context["runAsNonRoot"] is True
            assert context.get("runAsUser", 1) != 0
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_the_given_documents_are_not_changed() -> None:
    documents = manifests("job")
    before = copy.deepcopy(documents)
    wrap_documents(documents, WrapRequest())
    assert documents == before


def test_what_nothing_is_asked_for_passes_through() -> None:
    documents = [pod(), {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}, None]
    done = wrap_documents(documents, WrapRequest())
    assert (list(done.documents), done.changed) == (documents[:2], 0)
    assert "document 1 (Pod/p) asks for nothing" in done.notes[0]


def test_flags_hold_where_annotations_are_silent_and_annotations_win() -> None:
    made = wrapped(pod(annotations={"outputs": "s3://theirs"}), outputs_prefix="s3://ours", inputs=("n=1",), env_from=("keys",))
    init, sidecar = (container(made["spec"], name) for name in ("copilot-init", "copilot-sidecar"))
    assert "n=1" in init["args"]
    assert sidecar["args"][sidecar["args"].index("--to-output-prefix") + 1] == "s3://theirs"
    assert sidecar["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert "envFrom" not in container(made["spec"], "main")


def test_our_containers_come_before_the_pod_s_own_and_the_sidecar_first() -> None:
    made = wrapped(pod(initContainers=[{"name": "own", "image": "i"}]), inputs=("n=1",), outputs_prefix="s3://b")
    names = [each["name"] for each in made["spec"]["initContainers"]]
    assert names == ["copilot-sidecar", "copilot-install", "copilot-init", "own"]


def test_a_plain_sidecar_is_a_container_as_old_clusters_know_it() -> None:
    made = wrapped(pod(annotations={"sidecar": "plain"}), inputs=("n=1",), outputs_prefix="s3://b")
    assert [each["name"] for each in made["spec"]["initContainers"]] == ["copilot-install", "copilot-init"]
    main, sidecar = made["spec"]["containers"]
    assert (main["name"], sidecar["name"]) == ("main", "copilot-sidecar")
    assert not {"restartPolicy", "startupProbe"} & sidecar.keys()
    for version in ("1.25", "1.28", "1.37"):
        kubernetes_validate.validate(made, version, strict=True)


def test_where_nobody_tells_it_of_the_end_there_is_no_sidecar_for_secrets_alone() -> None:
    secrets = ("/run/a/b=vault://a#b",)
    job = wrapped(pod(), secrets=secrets, sidecar="plain")["spec"]
    assert [each["name"] for each in job["containers"]] == ["main"]
    assert "--secrets-once" in container(job, "copilot-init")["args"]
    web = wrapped(pod(restartPolicy="Always"), secrets=secrets, sidecar="plain")["spec"]
    assert [each["name"] for each in web["containers"]] == ["main", "copilot-sidecar"]


def test_inputs_alone_need_no_wrapper_and_leave_the_command_as_it_is() -> None:
    made = wrapped(pod(), inputs=("n=1",))
    assert [each["name"] for each in made["spec"]["initContainers"]] == ["copilot-init"]
    assert container(made["spec"], "main")["command"] == ["true"]
    assert "terminationGracePeriodSeconds" not in made["spec"]


def test_ours_runs_as_the_user_that_main_runs_as() -> None:
    main = {**COMMAND, "securityContext": {"runAsUser": 1234}}
    made = wrapped(pod(containers=[main]), outputs_prefix="s3://b")
    assert container(made["spec"], "copilot-sidecar")["securityContext"]["runAsUser"] == 1234
    assert made["spec"]["securityContext"] == {"fsGroup": 1234}
    main = {**COMMAND, "securityContext": {"runAsUser": 0}}
    context = container(wrapped(pod(containers=[main]), outputs_prefix="s3://b")["spec"], "copilot-sidecar")["securityContext"]
    assert (context["runAsUser"], context["runAsNonRoot"]) == (0, False)


@pytest.mark.parametrize(
    ("document", "asked", "sentence"),
    [
        (pod(restartPolicy="Always"), {"outputs_prefix": "s3://b"}, "document 1 (Pod/p): spec.restartPolicy is not Never"),
        (pod(restartPolicy="OnFailure"), {"outputs_prefix": "s3://b"}, "restartPolicy is not Never"),
        (pod(containers=[COMMAND, {**COMMAND, "name": "b"}]), {"inputs": ("n=1",)}, "spec.containers has 2 containers"),
        (pod(), {"inputs": ("n=1",), "container": "x"}, "has no container called x"),
        (
            pod(containers=[{"name": "main", "image": "i"}]),
            {"outputs_prefix": "s3://b"},
            "containers[main].command is not there",
        ),
        (pod(annotations={"inptus": "s3://b"}), {}, "metadata.annotations has copilot.dev/inptus"),
        (pod(annotations={"inputs": "a: 1\nb=2"}), {}, "has a line 2 that is no `name: value`"),
        (pod(annotations={"outputs": "s3://b", "proof": "hope"}), {}, "the proof 'hope'"),
        (pod(annotations={"outputs": "s3://b", "sidecar": "old"}), {}, "the sidecar 'old'"),
        (pod(), {"outputs_prefix": "s3://b", "sidecar": "plain", "proof": "signal"}, "a plain sidecar and the proof signal"),
        (pod(), {"outputs_prefix": "s3://b", "sidecar": "plain", "proof": "marker"}, "a plain sidecar and the proof marker"),
        (pod(), {"outputs_prefix": "s3://b", "env_from": ("secret/s3",)}, "'secret/s3', which is no name of a Secret"),
        (pod(annotations={"secrets": "/etc/key: vault://a#b"}), {}, "is /etc, where a volume would hide"),
        (pod(annotations={"secrets": "/tmp/key: vault://a#b"}), {}, "is /tmp, where a volume would hide"),
        (pod(annotations={"secrets": "/run/key: vault://a#b"}), {}, "is /run, where a volume would hide"),
        (pod(), {"inputs": ("n=1",), "input_dir": "/a/../tmp/"}, "the input directory is /tmp"),
        (pod(), {"inputs": ("n=1",), "input_dir": "in"}, "the input directory is in, which is no absolute path"),
        (pod(), {"outputs_prefix": "s3://b", "output_dir": "/a:b"}, "Kubernetes takes no colon"),
        (
            pod(),
            {"outputs_prefix": "s3://b", "inputs": ("n=1",), "input_dir": "/var/flyte/outputs/"},
            "/var/flyte/outputs is for the inputs and for the outputs too",
        ),
        (
            pod(annotations={"secrets": "/var/flyte/outputs/keys/k: vault://a#b"}),
            {"outputs_prefix": "s3://b"},
            "/var/flyte/outputs for the outputs and /var/flyte/outputs/keys for secrets lie one in the other",
        ),
        (
            pod(annotations={"secrets": "/var/run/copilot/k: vault://a#b"}),
            {},
            "/var/run/copilot is for secrets and",
        ),
        (pod(), {"outputs_prefix": "results/today"}, "the outputs' prefix is results/today, a path"),
        (pod(), {"inputs_uri": "/data/inputs.pb"}, "the inputs.pb is /data/inputs.pb, a path"),
        (
            pod(
                containers=[{**COMMAND, "volumeMounts": [{"name": "v", "mountPath": "/var/flyte/outputs/big"}]}],
                volumes=[{"name": "v", "emptyDir": {}}],
            ),
            {"outputs_prefix": "s3://b"},
            "has /var/flyte/outputs/big, a volume of its own below the outputs",
        ),
        (
            pod(containers=[{**COMMAND, "restartPolicy": "Always"}]),
            {"outputs_prefix": "s3://b"},
            "restartPolicy starts it again",
        ),
        (pod(terminationGracePeriodSeconds=0), {"outputs_prefix": "s3://b"}, "terminationGracePeriodSeconds is 0"),
        (pod(volumes=[{"name": "copilot-token", "emptyDir": {}}]), {"inputs": ("n=1",)}, "a name that Copilot keeps"),
        (
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": "j", "annotations": {"copilot.dev/outputs": "s3://b"}},
                "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [COMMAND]}}},
            },
            {},
            "document 1 (Job/j) has copilot.dev/outputs in metadata.annotations, where it says nothing of the pods",
        ),
        (
            {
                "apiVersion": "apps/v1",
                "kind": "StatefulSet",
                "metadata": {"name": "s"},
                "spec": {
                    "template": {"spec": {"containers": [COMMAND]}},
                    "volumeClaimTemplates": [{"metadata": {"name": "flyte-inputs"}}],
                },
            },
            {"inputs": ("n=1",)},
            "has a volume called flyte-inputs, a name that Copilot keeps",
        ),
        (pod(annotations={"secrets": "A-B: vault://a#b"}), {}, "'A-B', which is no name of a variable"),
        (pod(annotations={"secrets": "A: hunter2"}), {}, "this is not a reference to a secret"),
        (pod(nodeSelectr={}), {"inputs": ("n=1",)}, "nodeSelectr is no field"),
        (pod(volumes=[{"name": "flyte-inputs", "emptyDir": {}}]), {"inputs": ("n=1",)}, "a name that Copilot keeps"),
        (
            pod(
                containers=[{**COMMAND, "volumeMounts": [{"name": "v", "mountPath": "/var/flyte/inputs/"}]}],
                volumes=[{"name": "v", "emptyDir": {}}],
            ),
            {"inputs": ("n=1",)},
            "has /var/flyte/inputs, where Copilot puts a volume",
        ),
        ({"kind": "Pod"}, {}, "document 1 has no apiVersion or no kind"),
        ({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}}, {}, "document 1 (Job/j) has no spec"),
    ],
)
def test_what_cannot_be_wrapped_is_told_with_its_document_and_field(document: Json, asked: Json, sentence: str) -> None:
    with pytest.raises(PodRefused) as told:
        wrapped(document, **asked)
    assert sentence in told.value.message
    assert "document 1" in told.value.message
    assert "hunter2" not in f"{told.value.message} {told.value.hint}"


def test_what_hinders_is_told_once() -> None:
    done = cli("-f", "-", "-o", "s3://b", text=yaml.safe_dump(pod(restartPolicy="Always")))
    assert done.stderr.count("restartPolicy is not Never") == 1


@pytest.mark.parametrize(
    ("asked", "way"), [({"outputs_prefix": "s3://b"}, "another proof"), ({"secrets": ("A=k8s://a#b",)}, "files")]
)
def test_a_command_that_is_not_there_is_told_with_the_way_that_needs_none(asked: Json, way: str) -> None:
    with pytest.raises(PodRefused) as told:
        wrapped(pod(containers=[{"name": "main", "image": "i"}]), **asked)
    assert way in told.value.hint


def test_a_kind_of_another_group_passes_through_and_that_is_told() -> None:
    job = {"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "metadata": {"name": "j"}}
    done = wrap_documents([job], WrapRequest(outputs_prefix="s3://b"))
    assert (list(done.documents), done.changed) == ([job], 0)
    assert "is of batch.volcano.sh/v1alpha1 and stays as it is" in done.notes[0]


def test_one_document_that_cannot_be_wrapped_prints_nothing_of_the_others() -> None:
    text = yaml.safe_dump_all([pod(), pod(restartPolicy="Always")])
    done = cli("-f", "-", "-o", "s3://b", text=text)
    assert (done.returncode != 0, done.stdout) == (True, "")
    assert "document 2 (Pod/p)" in done.stderr


def test_a_file_that_is_not_there_could_not_be_read() -> None:
    assert "/nowhere/pod.yaml could not be read" in cli("-f", "/nowhere/pod.yaml").stderr


def test_what_is_no_yaml_is_told_with_its_line() -> None:
    done = cli("-f", "-", text="a: 1\nb: [\n")
    assert (done.returncode != 0, done.stdout) == (True, "")
    assert "standard input is no YAML, line 3" in done.stderr


@given(
    kind=st.sampled_from(["Pod", "Job", "Deployment", "ConfigMap"]),
    inputs=st.lists(st.from_regex(r"[a-z]{1,5}=s3://b/[a-z]{1,5}", fullmatch=True), max_size=3),
    outputs=st.booleans(),
    sidecars=st.integers(0, 2),
)
def test_wrapping_twice_is_wrapping_once(kind: str, inputs: list[str], outputs: bool, sidecars: int) -> None:  # noqa: FBT001 - hypothesis gives it
    document: Json = pod(containers=[COMMAND, *({"name": f"c{n}", "image": "i"} for n in range(sidecars))])
    if kind == "ConfigMap":
        document = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "c"}}
    elif kind != "Pod":
        template = {"metadata": document["metadata"], "spec": document["spec"]}
        version = "batch/v1" if kind == "Job" else "apps/v1"
        document = {"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": {"template": template}}
    request = WrapRequest(
        inputs=tuple(inputs), outputs_prefix="s3://b/out" if outputs and kind != "Deployment" else "", container="main"
    )
    once = wrap_documents([document], request)
    twice = wrap_documents(once.documents, request)
    assert (twice.documents, twice.changed) == (once.documents, 0)
