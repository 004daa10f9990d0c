"""What installs the server: rendered by Helm's own engine and by kustomize, then held to schemas, profile and code."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from copilot.cli.platform.server import command
from copilot.control_plane.api.metrics_endpoint import PATH
from copilot.control_plane.pods import load_templates
from copilot.control_plane.pods.labels import MANAGED

Json = Any
ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "copilot"
GOLDENS = Path(__file__).parent / "goldens"
VERSIONS = ("1.29", "1.37")

RENDER = """
import json, sys
from helm_python.chart import Chart, lint
from helm_python.errors import HelmError
chart = Chart.load(sys.argv[1])
values = json.loads(sys.argv[2])
try:
    chart.validate_schema(values)
    files = chart.render(values, name="copilot", namespace="flows", is_install=True)
    done = {"files": files, "lint": lint(sys.argv[1], values)}
except HelmError as error:
    done = {"error": str(error)}
print(json.dumps(done))
"""
VALUES: dict[str, Json] = {
    "default": {},
    "production": {
        "replicas": 3,
        "image": {"server": "r/server:1", "dataPlane": "r/copilot:1", "pullSecrets": ["pull"]},
        "store": {"uri": "gs://runs/all", "secret": "store"},
        "database": {"secret": "db", "key": "uri"},
        "keys": {"secret": "keys"},
        "publicUrl": "https://copilot.example",
        "dashboard": True,
        "wrap": "command",
        "podTemplates": {"default": {"imagePullSecrets": [{"name": "pull"}], "enableServiceLinks": False}},
        "extraArgs": ["--max-runs-per-project=4"],
        "service": {"type": "LoadBalancer", "port": 80},
        "serviceAccount": {"annotations": {"iam.gke.io/gcp-service-account": "a@b"}},
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
    },
    "bare": {"auth": False, "networkPolicy": False, "podDisruptionBudget": False, "metrics": {"enabled": False}},
    "keys": {"store": {"uri": "s3://b/x", "keys": {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s3/cret+=="}}},
    "monitored": {
        "dashboard": True,
        "metrics": {
            "serviceMonitor": True,
            "rules": True,
            "interval": "15s",
            "from": ["observability", "monitoring"],
            "labels": {"release": "kube-prometheus-stack"},
        },
    },
}
CASES = [*(f"helm-{name}" for name in VALUES), "kustomize-dev", "kustomize-prod", "kustomize-monitored"]
# The Prometheus operator's kinds: no schema of Kubernetes has them; what they hold is tested below, and by Prometheus itself.
OPERATOR = "monitoring.coreos.com/v1"


def chart(tools: Path, values: Json) -> Json:
    done = subprocess.run(
        [str(tools / "python"), "-c", RENDER, str(CHART), json.dumps(values)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def rendered(tools: Path) -> Callable[[str], list[Json]]:
    @functools.cache
    def rendered(case: str) -> list[Json]:
        kind, _, name = case.partition("-")
        if kind == "helm":
            made = chart(tools, VALUES[name])
            assert "error" not in made, made
            assert made["lint"]["errors"] == []
            texts = [text for file, text in sorted(made["files"].items()) if file.endswith(".yaml")]
        else:
            place = str(ROOT / "deploy" / "kustomize" / "overlays" / name)
            texts = [
                subprocess.run([str(tools / "kubectl"), "kustomize", place], capture_output=True, text=True, check=True).stdout
            ]
        return [each for text in texts for each in yaml.safe_load_all(text) if each]

    return rendered


def only(documents: list[Json], kind: str) -> Json:
    (found,) = [each for each in documents if each["kind"] == kind]
    return found


@pytest.mark.parametrize("case", CASES)
def test_what_is_installed_is_as_written_down(rendered: Callable[[str], list[Json]], case: str) -> None:
    text = yaml.safe_dump_all(rendered(case), sort_keys=True, width=120)
    golden = GOLDENS / f"{case}.yaml"
    if os.environ.get("COPILOT_WRITE_GOLDENS"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_valid_for_old_and_new_kubernetes(rendered: Callable[[str], list[Json]], case: str, version: str) -> None:
    documents = rendered(case)
    ours = [each for each in documents if each["apiVersion"] != OPERATOR]
    assert {each["kind"] for each in documents if each not in ours} <= {"ServiceMonitor", "PrometheusRule"}
    for each in ours:
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("case", CASES)
def test_the_server_fits_the_restricted_profile(rendered: Callable[[str], list[Json]], case: str) -> None:
    spec = only(rendered(case), "Deployment")["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert all({"emptyDir", "persistentVolumeClaim", "configMap"} & volume.keys() for volume in spec["volumes"])
    for container in spec["containers"]:
        context = container["securityContext"]
        assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
        assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_allowed_beyond_the_namespace_or_the_need(rendered: Callable[[str], list[Json]], case: str) -> None:
    documents = rendered(case)
    assert not any(each["kind"].startswith("Cluster") for each in documents)
    allowed = {
        f"{resource}: {','.join(rule['verbs'])}" for rule in only(documents, "Role")["rules"] for resource in rule["resources"]
    }
    assert allowed == {
        "pods: create,get,list,watch,patch,delete",
        "pods/log: get",
        "secrets: create",
        "leases: get,create,update",
    }
    (subject,) = only(documents, "RoleBinding")["subjects"]
    assert subject["name"] == only(documents, "ServiceAccount")["metadata"]["name"]
    assert only(documents, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == subject["name"]


@pytest.mark.parametrize("case", CASES)
def test_the_server_knows_every_flag_that_it_is_given(rendered: Callable[[str], list[Json]], case: str) -> None:
    (container,) = only(rendered(case), "Deployment")["spec"]["template"]["spec"]["containers"]
    first, *given = container["args"]
    assert first == "server"
    words = [word.replace("$(", "").replace(")", "") for word in given]
    # click keeps a command's help option as it is first made: with the names that the whole program gives it.
    with command.make_context("server", words, help_option_names=["-h", "--help"]) as context:
        assert context.params["executor"] == "kubernetes"
        assert context.params["auth"] or context.params["insecure_no_auth"]
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        assert ports.get("metrics") == context.params["metrics_port"]


@pytest.mark.parametrize("case", [case for case in CASES if case != "helm-bare"])
def test_policies_select_what_is_there(rendered: Callable[[str], list[Json]], case: str) -> None:
    documents = rendered(case)
    labels = only(documents, "Deployment")["spec"]["template"]["metadata"]["labels"]
    policies = [each["spec"] for each in documents if each["kind"] == "NetworkPolicy"]
    tasks = [each for each in policies if "ingress" not in each]
    assert tasks == [{"podSelector": {"matchLabels": {MANAGED: "true"}}, "policyTypes": ["Ingress"]}]
    selectors = [each["podSelector"]["matchLabels"] for each in policies if each not in tasks]
    selectors += [each["spec"]["selector"] for each in documents if each["kind"] == "Service"]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in documents if each["kind"] == "PodDisruptionBudget"]
    assert all(selector.items() <= labels.items() for selector in selectors)


def rules_of(documents: list[Json]) -> list[Json]:
    return [rule for each in documents if each["kind"] == "NetworkPolicy" for rule in each["spec"].get("ingress", ())]


@pytest.mark.parametrize("case", CASES)
def test_the_port_of_the_metrics_is_open_to_named_namespaces_alone(rendered: Callable[[str], list[Json]], case: str) -> None:
    documents = rendered(case)
    to_metrics = [rule for rule in rules_of(documents) if {"port": "metrics"} in rule["ports"]]
    assert all(rule["ports"] == [{"port": "metrics"}] and rule["from"] for rule in to_metrics)
    names = {
        each["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for rule in to_metrics for each in rule["from"]
    }
    default = set() if case in {"helm-bare", "kustomize-dev", "kustomize-prod"} else {"monitoring"}
    assert names == ({"observability", "monitoring"} if case == "helm-monitored" else default)
    # What clients reach, perhaps through a load balancer, does not show it.
    for service in (each["spec"] for each in documents if each["kind"] == "Service"):
        ports = [port["name"] for port in service["ports"]]
        assert ports == (["metrics"] if service.get("clusterIP") == "None" else ["http"])


@pytest.mark.parametrize("case", ["helm-monitored", "kustomize-monitored"])
def test_the_service_monitor_finds_the_port_and_the_rules_are_those_that_prometheus_has_seen(
    rendered: Callable[[str], list[Json]], case: str
) -> None:
    documents = rendered(case)
    monitor, rules = only(documents, "ServiceMonitor"), only(documents, "PrometheusRule")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = [each for each in documents if each["kind"] == "Service" and wanted <= each["metadata"]["labels"].items()]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["path"], [endpoint["port"]]) == (PATH, [port["name"] for port in service["spec"]["ports"]])
    assert rules["spec"] == yaml.safe_load((CHART / "rules" / "copilot.yaml").read_text())
    assert {each["metadata"]["namespace"] for each in (monitor, rules, service)} == {service["metadata"]["namespace"]}
    assert "grafana_dashboard" in only(documents, "ConfigMap")["metadata"]["labels"]
    if case.startswith("helm"):
        assert all(each["metadata"]["labels"]["release"] == "kube-prometheus-stack" for each in (monitor, rules))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"replicas": 2}, "set database.secret"),
        ({"replicas": 2, "database": {"secret": "db"}}, "set keys.secret"),
        ({"stroe": {"uri": "s3://b"}}, "stroe"),
        ({"store": {"uri": "s3://b", "secret": "a", "keys": {"A": "b"}}}, "either secret or keys"),
        ({"store": {"uri": "bucket"}}, "/store/uri"),
        ({"wrap": "sometimes"}, "/wrap"),
        ({"podTemplates": {"default": "pull"}}, "/podTemplates/default"),
        ({"metrics": {"enabled": False, "serviceMonitor": True}}, "need metrics.enabled"),
        ({"metrics": {"interval": "soon"}}, "/metrics/interval"),
    ],
)
def test_values_that_cannot_work_are_refused_with_their_name(tools: Path, values: Json, sentence: str) -> None:
    assert sentence in chart(tools, values)["error"]


def test_the_chart_s_pod_templates_are_those_that_the_server_reads(
    rendered: Callable[[str], list[Json]], tmp_path: Path
) -> None:
    documents = rendered("helm-production")
    spec = only(documents, "Deployment")["spec"]["template"]["spec"]
    (volume,) = [each for each in spec["volumes"] if each["name"] == "pod-templates"]
    (found,) = [each for each in documents if each["metadata"]["name"] == volume["configMap"]["name"]]
    (mount,) = [each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "pod-templates"]
    assert f"--pod-templates={mount['mountPath']}" in spec["containers"][0]["args"]
    for name, text in found["data"].items():
        (tmp_path / name).write_text(text)
    assert load_templates(tmp_path)["default"] == VALUES["production"]["podTemplates"]["default"]


def test_the_chart_s_own_secret_is_the_one_that_the_server_reads(rendered: Callable[[str], list[Json]]) -> None:
    documents = rendered("helm-keys")
    (container,) = only(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": only(documents, "Secret")["metadata"]["name"]}}]


def test_the_page_s_overlay_says_whose_images_and_which_store(tools: Path, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    (text,) = re.findall(r"```yaml\n(# mine/kustomization.yaml\n.*?)```", page, re.DOTALL)
    mine = ROOT / "deploy" / "kustomize" / f".{tmp_path.name}" / "mine"
    mine.mkdir(parents=True)
    try:
        (mine / "kustomization.yaml").write_text(text.replace("PATH/TO/", f"{os.path.relpath(ROOT, mine)}/"))
        done = subprocess.run([str(tools / "kubectl"), "kustomize", str(mine)], capture_output=True, text=True, check=False)
    finally:
        shutil.rmtree(mine.parent)
    assert done.returncode == 0, done.stderr
    documents = [each for each in yaml.safe_load_all(done.stdout) if each]
    (container,) = only(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    values = {each["name"]: each.get("value") for each in container["env"]}
    assert container["image"] == "REGISTRY/server:0.1.0"
    assert (values["COPILOT_STORE"], values["COPILOT_IMAGE"]) == ("s3://my-bucket/copilot", "REGISTRY/copilot:0.1.0")
    for each in documents:
        kubernetes_validate.validate(each, "1.37", strict=True)


@pytest.mark.parametrize("script", ["chart_values.py", "metrics_table.py"])
def test_the_tables_of_the_page_are_made_from_the_schema_and_from_the_metrics(script: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_both_ways_bring_the_same_dashboard_and_it_asks_only_for_its_namespace() -> None:
    text = (CHART / "dashboards" / "copilot.json").read_text()
    assert text == (ROOT / "deploy" / "kustomize" / "components" / "monitoring" / "copilot.json").read_text()
    for panel in json.loads(text)["panels"]:
        assert all('namespace="$namespace"' in target["expr"] for target in panel["targets"])
