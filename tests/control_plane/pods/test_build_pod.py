"""A task, as the official SDK sends it, becomes a pod: compared whole, and valid for old and new Kubernetes."""

from __future__ import annotations

import base64
import itertools
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from google.protobuf import json_format

from copilot.control_plane.lifecycle.work import AttemptWork, BuiltPod
from copilot.control_plane.pods import PodSettings, build_pod, load_templates
from copilot.core.errors import BadInputs, PodRefused
from copilot.core.flyte_secrets import FlyteSecrets
from copilot.core.idl_security import Secret as SecretMessage
from copilot.core.idl_security import SecurityContext

GOLDENS = Path(__file__).parent / "goldens"
CASES = ("full", "tmpl", "secret", "noout", "noio", "noin", "py_main", "timeout", "add")
VERSIONS = ("1.29", "1.37")

MakeWork = Callable[..., AttemptWork]
Json = Any


def build(work: MakeWork, settings: PodSettings, case: str, **changes: Json) -> BuiltPod:
    return build_pod(work(case, **changes), settings)


def named(pod: Json, name: str) -> Json:
    spec = pod["spec"]
    return next(each for each in [*spec.get("initContainers", []), *spec["containers"]] if each["name"] == name)


def variables(container: Json) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container.get("env", [])}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["cluster", "restricted", "process", "wrapped"])
def test_the_pod_is_as_written_down(work: MakeWork, settings: PodSettings, case: str, kind: str) -> None:
    if kind == "process":
        settings = settings.for_processes()
    if kind == "wrapped":
        settings = replace(settings, wrap="always")
    if kind == "restricted":
        settings = PodSettings(image=settings.image, templates={"default": load_templates()["restricted"]})
    built = build(work, settings, case)
    text = json.dumps({"pod": built.manifest, "secrets": built.secrets, "warnings": built.warnings}, indent=1) + "\n"
    golden = GOLDENS / f"{case}-{kind}.json"
    if os.environ.get("COPILOT_WRITE_GOLDENS"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert json.loads(text) == json.loads(golden.read_text())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid_for_old_and_new_kubernetes(
    work: MakeWork, settings: PodSettings, case: str, version: str
) -> None:
    for manifest in (settings, settings.for_processes(), replace(settings, wrap="always")):
        built = build(work, manifest, case)
        for each in (built.manifest, *built.secrets):
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("case", ["full", "tmpl", "noout", "noio", "add", "py_main"])
def test_main_gets_the_arguments_and_variables_that_flyte_gives_it(
    work: MakeWork, settings: PodSettings, recorded_pod: Callable[[str], Any], case: str
) -> None:
    theirs = recorded_pod(case)
    ours = build(
        work,
        settings,
        case,
        run=theirs["metadata"]["labels"]["flyte.org/run"],
        run_output_base=f"s3://flyte-data/flytesnacks/development/{theirs['metadata']['labels']['flyte.org/run']}/",
    ).manifest
    reference, main = theirs["spec"]["containers"][0], named(ours, "main")
    want, have = variables(reference), variables(main)
    store = {name for name in want if name.startswith("FLYTE_AWS_")}
    assert {name: have.get(name) for name in want.keys() - store - {"_F_PN", "_U_EP_OVERRIDE"}} == {
        name: value for name, value in want.items() if name not in store | {"_F_PN", "_U_EP_OVERRIDE"}
    }
    assert len(main["args"]) == len(reference["args"])
    mounts = {each["mountPath"] for each in reference["volumeMounts"] if "serviceaccount" not in each["mountPath"]}
    assert {each["mountPath"] for each in main.get("volumeMounts", [])} == mounts


def test_fault_24_run_action_and_attempt_are_rendered(work: MakeWork, settings: PodSettings) -> None:
    text = named(build(work, settings, "tmpl", attempt=3).manifest, "main")["args"][-1]
    assert "retry=2 run=r4jhp4qbtssczx8tkldc act=a0" in text
    assert "{{" not in text


def test_fault_24_a_value_that_a_shell_reads_is_warned_of(work: MakeWork, settings: PodSettings) -> None:
    (warning,) = build(work, settings, "tmpl").warnings
    assert "{{.inputs.s | quote}}" in warning


def test_fault_25_no_manifest_holds_a_store_key_and_no_raw_container_gets_one(work: MakeWork, settings: PodSettings) -> None:
    for case in CASES:
        built = build(work, settings, case)
        assert "store-key-of-ours" not in json.dumps(built.manifest)
        assert "attempt-token" not in json.dumps(built.manifest)
    main = named(build(work, settings, "full").manifest, "main")
    assert "envFrom" not in main
    assert not any("valueFrom" in each and "secretKeyRef" in each["valueFrom"] for each in main["env"])


def test_fault_15_our_containers_ask_for_a_tenth_of_a_core_together(work: MakeWork, settings: PodSettings) -> None:
    pod = build(work, settings, "full").manifest
    asked = [each["resources"]["requests"] for each in pod["spec"]["initContainers"]]
    assert asked == [{"cpu": "50m", "memory": "64Mi"}] * 2


def test_fault_3_a_task_without_outputs_gets_no_sidecar(work: MakeWork, settings: PodSettings) -> None:
    assert [each["name"] for each in build(work, settings, "noout").manifest["spec"]["initContainers"]] == ["copilot-init"]
    assert "initContainers" not in build(work, settings, "noio").manifest["spec"]
    assert [each["name"] for each in build(work, settings, "noin").manifest["spec"]["initContainers"]] == ["copilot-sidecar"]


def test_fault_10_a_timeout_reaches_the_pod(work: MakeWork, settings: PodSettings) -> None:
    assert build(work, settings, "timeout").manifest["spec"]["activeDeadlineSeconds"] == 15 + 600
    assert "activeDeadlineSeconds" not in build(work, settings, "full").manifest["spec"]


def test_fault_9_the_grace_period_is_what_the_outputs_may_need(work: MakeWork, settings: PodSettings) -> None:
    assert build(work, settings, "add").manifest["spec"]["terminationGracePeriodSeconds"] == 120
    assert build(work, settings, "full").manifest["spec"]["terminationGracePeriodSeconds"] == 3600
    assert build(work, settings, "noio").manifest["spec"]["terminationGracePeriodSeconds"] == 30


def test_the_sidecar_comes_first_and_has_a_startup_probe(work: MakeWork, settings: PodSettings) -> None:
    first, second = build(work, settings, "full").manifest["spec"]["initContainers"]
    assert (first["name"], first["restartPolicy"], "startupProbe" in first) == ("copilot-sidecar", "Always", True)
    assert (second["name"], second.get("restartPolicy")) == ("copilot-init", None)


def test_a_wrapped_main_runs_its_command_under_exec_and_the_sidecar_wants_that_proof(
    work: MakeWork, settings: PodSettings
) -> None:
    plain = named(build(work, settings, "add").manifest, "main")
    pod = build(work, replace(settings, wrap="always"), "add").manifest
    main = named(pod, "main")
    place = main["command"].index("--")
    assert main["command"][place + 1 :] == plain["args"]
    assert (main["command"][0].endswith("ld.so"), "args" in main) == (True, False)
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["copilot-sidecar", "copilot-install", "copilot-init"]
    assert "--trust-signal=false" in named(pod, "copilot-sidecar")["args"]


def test_a_team_s_template_that_speaks_of_neither_leaves_no_token_and_our_containers_what_they_need(
    work: MakeWork, settings: PodSettings
) -> None:
    teams = replace(settings, templates={"default": {"imagePullSecrets": [{"name": "pull"}]}})
    spec = build(work, teams, "full").manifest["spec"]
    assert (spec["imagePullSecrets"], spec["automountServiceAccountToken"]) == ([{"name": "pull"}], False)
    ours = named({"spec": spec}, "copilot-init")["resources"]
    assert ours == named(build(work, settings, "full").manifest, "copilot-init")["resources"]
    told = replace(settings, templates={"default": {"automountServiceAccountToken": True}})
    assert build(work, told, "full").manifest["spec"]["automountServiceAccountToken"] is True


def test_a_plain_sidecar_stands_beside_a_main_that_tells_it_of_its_end(work: MakeWork, settings: PodSettings) -> None:
    beside = replace(settings, wrap="always", sidecar="plain")
    spec = build(work, beside, "add").manifest["spec"]
    assert [each["name"] for each in spec["initContainers"]] == ["copilot-install", "copilot-init"]
    assert [each["name"] for each in spec["containers"]][-1] == "copilot-sidecar"
    sidecar = named({"spec": spec}, "copilot-sidecar")
    assert not {"restartPolicy", "startupProbe"} & sidecar.keys()
    assert {"name": "COPILOT_GRACE_S", "value": str(spec["terminationGracePeriodSeconds"])} in sidecar["env"]
    with pytest.raises(PodRefused, match="nothing else tells a plain sidecar"):
        build(work, replace(beside, wrap="command"), "add")
    assert build(work, replace(beside, wrap="command"), "noio").manifest == build(work, settings, "noio").manifest


def test_arguments_of_an_entrypoint_that_is_not_known_are_not_wrapped(work: MakeWork, settings: PodSettings) -> None:
    careful = replace(settings, wrap="command")
    assert build(work, careful, "add").manifest == build(work, settings, "add").manifest
    attempt = work("add")
    attempt.spec.task_template.container.command.append("/bin/tool")
    assert "exec" in named(build_pod(attempt, careful).manifest, "main")["command"]


def test_our_containers_fit_the_restricted_profile(work: MakeWork, settings: PodSettings) -> None:
    for each in build(work, settings, "full").manifest["spec"]["initContainers"]:
        context = each["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def asked_of(container: Json, flag: str) -> list[str]:
    return [word for before, word in itertools.pairwise(container["args"]) if before == flag]


def test_a_secret_is_fetched_by_the_pod_and_is_in_no_object(work: MakeWork, settings: PodSettings) -> None:
    built = build(work, settings, "secret")
    init, main = named(built.manifest, "copilot-init"), named(built.manifest, "main")
    (encoded,) = asked_of(init, "--secrets-flyte")
    assert [secret.key for secret in SecurityContext.FromString(base64.b64decode(encoded)).secrets] == ["MY_SECRET"]
    assert asked_of(init, "--secrets-platform") == ["embedded-in=copilot", "domain=development", "project=flytesnacks"]
    assert "MY_SECRET" not in variables(main)
    assert "exec" in main["command"]
    assert [each["metadata"]["name"].rpartition("-")[2] for each in built.secrets] == ["copilot"]


def test_a_manager_is_asked_with_the_pods_own_identity(work: MakeWork, settings: PodSettings) -> None:
    kept = replace(settings, secrets=FlyteSecrets(embedded_in="gcp", gcp_project="platform"))
    init = named(build(work, kept, "secret").manifest, "copilot-init")
    assert {"embedded-in=gcp", "gcp-project=platform"} <= set(asked_of(init, "--secrets-platform"))


def test_a_secret_file_is_on_a_memory_volume_that_main_only_reads(work: MakeWork, settings: PodSettings) -> None:
    attempt = work("secret")
    (secret,) = attempt.spec.task_template.security_context.secrets
    secret.mount_requirement = SecretMessage.FILE
    spec = build_pod(attempt, settings).manifest["spec"]
    volume = next(each for each in spec["volumes"] if each["name"] == "flyte-secrets")
    assert volume["emptyDir"]["medium"] == "Memory"
    main = next(each for each in spec["containers"] if each["name"] == "main")
    assert {"name": "flyte-secrets", "mountPath": "/etc/flyte/secrets", "readOnly": True} in main["volumeMounts"]
    # Said although it is the default: where there are no mounts, paths on the command line are made others.
    init = next(each for each in spec["initContainers"] if each["name"] == "copilot-init")
    assert "directory=/etc/flyte/secrets" in asked_of(init, "--secrets-platform")
    # A file needs no wrapper: the task's own entrypoint is run.
    assert "command" not in main
    assert variables(main)["FLYTE_SECRETS_DEFAULT_DIR"] == "/etc/flyte/secrets"


def test_a_secret_as_a_variable_needs_a_command_and_says_what_becomes_of_an_entrypoint(
    work: MakeWork, settings: PodSettings
) -> None:
    (warning,) = build(work, settings, "secret").warnings
    assert "the variable MY_SECRET" in warning
    assert "entrypoint" in warning
    attempt = work("secret")
    del attempt.spec.task_template.container.args[:]
    with pytest.raises(PodRefused, match="names no command"):
        build_pod(attempt, settings)


def test_a_python_task_gets_secrets_without_any_data_being_moved(work: MakeWork, settings: PodSettings) -> None:
    attempt = work("py_main")
    attempt.spec.task_template.security_context.secrets.add(key="k", env_var="K", mount_requirement=SecretMessage.ENV_VAR)
    built = build_pod(attempt, settings)
    assert [each["name"] for each in built.manifest["spec"]["initContainers"]] == ["copilot-install", "copilot-init"]
    assert "--secrets-once" in named(built.manifest, "copilot-init")["args"]
    assert named(built.manifest, "main")["command"][-1] != "--"
    assert not built.warnings


def test_an_input_that_is_not_there_is_said_with_its_name(work: MakeWork, settings: PodSettings) -> None:
    attempt = work("tmpl")
    del attempt.inputs.literals["s"]  # type: ignore[union-attr]  # there are inputs
    with pytest.raises(BadInputs, match=r"inputs\.s"):
        build_pod(attempt, settings)


def test_a_python_task_shows_its_attempts_token_where_the_server_asks_for_one(work: MakeWork, settings: PodSettings) -> None:
    asking = replace(settings, auth=True)
    built = build(work, asking, "py_main")
    main = named(built.manifest, "main")
    (token,) = (each for each in main["env"] if each["name"] == "COPILOT_TASK_TOKEN")
    reference = token["valueFrom"]["secretKeyRef"]
    (secret,) = (each for each in built.secrets if each["metadata"]["name"] == reference["name"])
    assert base64.b64decode(secret["data"][reference["key"]]) == b"attempt-token"
    have = variables(main)
    assert have["_U_EP_OVERRIDE"] == "http://10.244.0.1:8090"
    assert "_U_INSECURE" not in have
    told = subprocess.run(
        json.loads(have["FLYTE_AUTH_COMMAND"]),
        env={"COPILOT_TASK_TOKEN": "t", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "t"
    on_loopback = build(work, asking, "py_main", report_url="http://localhost:8090/report").manifest
    assert variables(named(on_loopback, "main"))["_U_EP_OVERRIDE"] == "http://127.0.0.1:8090"


def test_a_raw_container_never_gets_a_token(work: MakeWork, settings: PodSettings) -> None:
    main = named(build(work, replace(settings, auth=True), "full").manifest, "main")
    assert not [each for each in main["env"] if "TOKEN" in each["name"] or "AUTH" in each["name"]]


def pod_work(work: MakeWork, pod_spec: Json, primary: str = "primary") -> AttemptWork:
    attempt = work("full")
    template = attempt.spec.task_template
    template.ClearField("container")
    json_format.ParseDict(pod_spec, template.k8s_pod.pod_spec)
    template.k8s_pod.primary_container_name = primary
    return attempt


def test_a_task_s_own_pod_template_is_merged(work: MakeWork, settings: PodSettings) -> None:
    spec = {
        "containers": [
            {"name": "primary", "image": "i", "args": ["run", "{{.runName}}"], "ports": [{"containerPort": 8080}]},
            {"name": "helper", "image": "h"},
        ],
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    }
    pod = build_pod(pod_work(work, spec), settings).manifest
    for version in VERSIONS:
        kubernetes_validate.validate(pod, version, strict=True)
    assert [each["name"] for each in pod["spec"]["containers"]] == ["primary", "helper"]
    main = named(pod, "primary")
    assert main["args"] == ["run", "r4jhp4qbtssczx8tkldc"]
    assert (main["ports"][0]["containerPort"], variables(main)["ACTION_NAME"]) == (8080, "a0")
    assert pod["spec"]["nodeSelector"] == {"disk": "fast"}
    assert pod["metadata"]["annotations"]["copilot.dev/main-container"] == "primary"


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"containers": [{"name": "primary", "imagePulPolicy": "Always"}]}, "imagePulPolicy is no field"),
        ({"containers": [{"name": "primary"}], "nodeSelectr": {}}, "nodeSelectr is no field"),
        ({"containers": [{"name": "primary", "args": "run"}]}, "must be a list"),
        ({"containers": [{"name": "other"}]}, "no container called 'primary'"),
        ({"containers": [{"name": "primary"}, {"name": "copilot-sidecar"}]}, "a name that Copilot keeps"),
        (
            {"containers": [{"name": "primary"}], "volumes": [{"name": "flyte-inputs", "emptyDir": {}}]},
            "a name that Copilot keeps",
        ),
        ({"containers": [{"name": "primary"}], "restartPolicy": "Always"}, "restartPolicy"),
    ],
)
def test_a_pod_template_that_cannot_be_is_refused(work: MakeWork, settings: PodSettings, spec: Json, sentence: str) -> None:
    with pytest.raises(PodRefused, match=sentence):
        build_pod(pod_work(work, spec), settings)


def test_a_named_template_that_is_not_there_is_refused_with_those_that_are(work: MakeWork, settings: PodSettings) -> None:
    attempt = work("full")
    attempt.spec.task_template.metadata.pod_template_name = "gpu"
    with pytest.raises(PodRefused) as refused:
        build_pod(attempt, settings)
    assert "default" in refused.value.hint


def test_a_named_template_s_defaults_reach_every_container(work: MakeWork) -> None:
    template = {
        "priorityClassName": "high",
        "containers": [
            {"name": "default", "imagePullPolicy": "Always"},
            {"name": "primary", "workingDir": "/work"},
            {"name": "copilot", "resources": {"requests": {"cpu": "10m"}}},
        ],
    }
    attempt = work("full")
    attempt.spec.task_template.metadata.pod_template_name = "team"
    pod = build_pod(attempt, PodSettings(templates={"team": template})).manifest
    assert pod["spec"]["priorityClassName"] == "high"
    assert (named(pod, "main")["imagePullPolicy"], named(pod, "main")["workingDir"]) == ("Always", "/work")
    assert named(pod, "copilot-sidecar")["resources"] == {"requests": {"cpu": "10m"}}


def test_labels_that_kubernetes_does_not_take_are_left_out_with_a_warning(work: MakeWork, settings: PodSettings) -> None:
    attempt = work("full")
    attempt.run_spec.labels.values["good"] = "yes"
    attempt.run_spec.labels.values["bad"] = "a b"
    attempt.run_spec.labels.values["copilot.dev/run"] = "another"
    built = build_pod(attempt, settings)
    labels = built.manifest["metadata"]["labels"]
    assert (labels["good"], "bad" in labels, labels["copilot.dev/run"]) == ("yes", False, "r4jhp4qbtssczx8tkldc")
    assert any("bad" in each for each in built.warnings)


def test_the_same_attempt_is_the_same_pod(work: MakeWork, settings: PodSettings) -> None:
    assert build_pod(work("full"), settings) == build_pod(work("full"), settings)
