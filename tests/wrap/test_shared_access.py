"""What main and our containers can read of each other, and who holds a token for the API server."""

from __future__ import annotations

from typing import Any

import pytest

from copilot.control_plane.pods.manifests import wrap_documents
from copilot.control_plane.pods.wrapping import WrapRequest

Json = Any
MAIN = {"name": "main", "image": "i", "command": ["true"]}
TOKEN_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"


def wrapped(spec: Json, **asked: Json) -> Json:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"restartPolicy": "Never", "containers": [MAIN]},
    }
    pod["spec"] |= spec
    (made,) = wrap_documents([pod], WrapRequest(**asked)).documents
    return made["spec"]


def asked_for(spec: Json) -> list[str]:
    (init,) = [each for each in spec["initContainers"] if each["name"] == "copilot-init"]
    return [init["args"][place + 1] for place, word in enumerate(init["args"]) if word == "--secret"]


def test_a_secret_file_is_for_main_s_group_where_main_s_user_is_not_known() -> None:
    secrets = ("/run/app/key=k8s://a#b", "/run/app/own:0400=k8s://a#b", "A=k8s://a#b")
    made = wrapped({}, secrets=secrets)
    assert asked_for(made) == ["/run/app/key:0440=k8s://a#b", *secrets[1:]]
    assert made["securityContext"] == {"fsGroup": 65532}
    assert asked_for(wrapped({"securityContext": {"runAsUser": 1000}}, secrets=secrets)) == list(secrets)


@pytest.mark.parametrize(
    "volume",
    [{"persistentVolumeClaim": {"claimName": "c"}}, {"ephemeral": {}}, {"csi": {"driver": "d"}}],
    ids=["claim", "ephemeral", "csi"],
)
def test_data_of_others_gets_no_other_owner(volume: Json) -> None:
    made = wrapped({"volumes": [{"name": "v", **volume}], "securityContext": {"supplementalGroups": [7]}}, inputs=("n=1",))
    assert made["securityContext"] == {"supplementalGroups": [7, 65532]}


def test_data_of_a_stateful_set_gets_no_other_owner() -> None:
    spec = {"template": {"spec": {"containers": [MAIN]}}, "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}
    document = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"}, "spec": spec}
    (made,) = wrap_documents([document], WrapRequest(secrets=("A=k8s://a#b",))).documents
    assert made["spec"]["template"]["spec"]["securityContext"] == {"supplementalGroups": [65532]}


def test_a_group_that_the_pod_names_is_the_one_they_share() -> None:
    claim = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}], "securityContext": {"fsGroup": 5}}
    assert wrapped(claim, inputs=("n=1",))["securityContext"] == {"fsGroup": 5}


def holders(spec: Json) -> set[str]:
    every = [*spec["initContainers"], *spec["containers"]]
    mounted = {each["name"] for each in every if TOKEN_DIR in [mount["mountPath"] for mount in each["volumeMounts"]]}
    assert bool(mounted) == ("copilot-token" in [each["name"] for each in spec["volumes"]])
    return mounted


def test_a_token_is_in_the_containers_that_ask_the_api_server_and_in_no_other() -> None:
    assert holders(wrapped({}, outputs_prefix="s3://b", inputs=("n=1",))) == set()
    assert holders(wrapped({}, outputs_prefix="s3://b", inputs=("n=1",), proof="pod")) == {"copilot-sidecar"}
    assert holders(wrapped({}, inputs=("n=1",), secrets=("A=k8s://a#b",))) == {"copilot-init"}
    assert holders(wrapped({}, inputs=("n=1",), secrets=("A=vault://a#b",))) == set()
    assert holders(wrapped({}, secrets=("/run/a/b=k8s://a#b",), proof="pod")) == {"copilot-init", "copilot-sidecar"}


def test_what_the_pod_says_of_its_own_token_stays() -> None:
    made = wrapped({"automountServiceAccountToken": False, "serviceAccountName": "reads"}, outputs_prefix="s3://b", proof="pod")
    assert (made["automountServiceAccountToken"], made["serviceAccountName"]) == (False, "reads")
