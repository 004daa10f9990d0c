"""The dashboard and the alerts, asked of a real Prometheus that reads a real server on which tasks have run."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from copilot.control_plane.client import ControlPlaneClient, container_task
from copilot.core.idl import LiteralMap, LiteralType, SimpleType
from copilot.testing.server_process import ServerProcess
from copilot.testing.servers.process import find_executable
from copilot.testing.servers.prometheus import PrometheusServer, prometheus

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "copilot"
RULES = CHART / "rules" / "copilot.yaml"
DASHBOARD = json.loads((CHART / "dashboards" / "copilot.json").read_text())
PATIENCE_S = 60.0
pytestmark = pytest.mark.slow
# What others measure: these can be parsed here, and have data where those run.
ELSEWHERE = {"kube_": "kube-state-metrics", "container_": "cAdvisor"}
# A rule about nothing at all being there has no data while something is.
ABSENT = "absent("


@dataclass
class Watched:
    """A server that has run tasks, and the Prometheus that looks at it."""

    exposition: str
    prometheus: PrometheusServer


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    data = tmp_path_factory.mktemp("server")
    server = ServerProcess(data, f"sqlite:///{data / 'copilot.db'}", flags=("--metrics-port", "0"))
    server.start()
    try:
        found = re.search(r"metrics at http://(\S+)/metrics", (data / "server.log").read_text())
        assert found is not None, (data / "server.log").read_text()
        target = found.group(1)
        with prometheus(target, rules=RULES, labels={"namespace": "copilot", "pod": "server-0"}) as watching:
            until_asked(watching, "copilot_runs_created_total == 0")
            run(server, "echo 4 >/var/outputs/m", "SUCCEEDED")
            run(server, "exit 3", "FAILED")
            until_asked(watching, "copilot_runs_created_total == 2")
            exposition = urllib3.request("GET", f"http://{target}/metrics").data.decode()
            yield Watched(exposition, watching)
    finally:
        server.stop()


def run(server: ServerProcess, script: str, phase: str) -> None:
    client = ControlPlaneClient(server.url, project="flytesnacks", domain="development")
    number = {"m": LiteralType(simple=SimpleType.INTEGER)}
    spec = container_task("t", "busybox", ["sh", "-c", script], inputs={}, outputs=number)
    ended = client.wait(client.submit(spec, LiteralMap()))
    assert ended["phase"] == phase, ended


def until_asked(server: PrometheusServer, expression: str) -> list[Any]:
    """Polls, as a scrape comes by itself; what the expression is once it is something."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = [each for each in server.query(expression) if not isnan(each[1])]
        if found:
            return found
        assert time.monotonic() < deadline, expression
        time.sleep(0.1)


def expressions() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield f"{panel['title']}, {target['legendFormat']}", target["expr"].replace("$namespace", "copilot")


@functools.cache
def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def elsewhere(expression: str) -> bool:
    return any(re.search(rf"\b{prefix}", expression) for prefix in ELSEWHERE)


def test_every_query_of_the_dashboard_has_an_answer(watched: Watched) -> None:
    asked = [(what, each) for what, each in expressions() if not elsewhere(each)]
    assert len(asked) > 30
    for _, each in asked:
        until_asked(watched.prometheus, each)


def test_queries_about_what_others_measure_can_be_parsed_and_say_who_that_is(watched: Watched) -> None:
    asked = [each for _, each in expressions() if elsewhere(each)]
    assert len(asked) == 5
    for each in asked:
        assert watched.prometheus.query(each) == []
    for panel in DASHBOARD["panels"]:
        for prefix, source in ELSEWHERE.items():
            if any(re.search(rf"\b{prefix}", target["expr"]) for target in panel["targets"]):
                assert source in panel["description"], panel["title"]


def test_every_rule_is_loaded_and_its_measure_has_an_answer_below_the_alarm(watched: Watched) -> None:
    (group,) = watched.prometheus.api("rules")["groups"]
    assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in rules()]
    for rule in rules():
        if rule["expr"].startswith(ABSENT):
            assert watched.prometheus.query(rule["expr"]) == []
            continue
        measure, comparison, limit = re.fullmatch(r"(.+) ([<>]) ([\d.]+)", rule["expr"]).groups()  # type: ignore[union-attr]
        ((labels, value), *_) = until_asked(watched.prometheus, measure)
        assert labels["namespace"] == "copilot", rule
        assert not (value < float(limit) if comparison == "<" else value > float(limit)), (rule, value)
    evaluated = {
        rule["name"]: (rule["health"], rule["state"]) for rule in watched.prometheus.api("rules")["groups"][0]["rules"]
    }
    assert set(evaluated.values()) <= {("ok", "inactive")}, evaluated


def promtool(*arguments: str, text: str = "") -> str:
    command = [find_executable("promtool"), *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_prometheus_own_linter_has_no_word_against_the_metrics(watched: Watched) -> None:
    assert promtool("check", "metrics", text=watched.exposition) == ""


def test_prometheus_own_tool_takes_the_rules_and_each_fires_when_it_should(tmp_path: Path) -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", str(RULES))
    cases = yaml.safe_load((Path(__file__).parent / "alerts.yaml").read_text())
    cases["rule_files"] = [str(RULES)]
    written = tmp_path / "alerts.yaml"
    written.write_text(yaml.safe_dump(cases))
    assert "SUCCESS" in promtool("test", "rules", str(written))
    fired = {each["alertname"] for case in cases["tests"] for each in case["alert_rule_test"] if each.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in rules()}
