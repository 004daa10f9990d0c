"""A real Prometheus, with rules, on whatever targets a test has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import urllib3

from copilot.testing.servers.process import (
    LOOPBACK,
    Launch,
    ServerNotReady,
    find_executable,
    free_ports,
    running,
    scratch_directory,
)

_SETTINGS = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}
rule_files: [{rules}]
scrape_configs:
  - job_name: copilot
    static_configs:
      - targets: [{target}]
        labels: {labels}
"""


@dataclass(frozen=True, slots=True)
class PrometheusServer:
    """A running Prometheus.

    Attributes:
        url: its HTTP API's.
    """

    url: str

    def api(self, path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
        """One call of https://prometheus.io/docs/prometheus/latest/querying/api/: what it answers under ``data``.

        Raises:
            AssertionError: it refuses, as it does a query that cannot be parsed.
        """
        answer = urllib3.request("GET", f"{self.url}/api/v1/{path}", fields=query, retries=False, timeout=30)
        assert answer.status == HTTPStatus.OK, (query, answer.data.decode())
        return answer.json()["data"]

    def query(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        """What the expression is just now: labels and value of every series."""
        return [(each["metric"], float(each["value"][1])) for each in self.api("query", query=expression)["result"]]


@contextmanager
def prometheus(target: str, *, rules: Path, labels: Mapping[str, str]) -> Iterator[PrometheusServer]:
    """Reads ``target`` (``host:port``) five times a second, adds ``labels`` to what it finds, and evaluates ``rules``."""
    with scratch_directory("prometheus") as directory:
        settings = directory / "prometheus.yml"
        settings.write_text(_SETTINGS.format(rules=rules, target=target, labels=json.dumps(dict(labels))))
        urls = [""]

        def plan() -> Launch:
            (port,) = free_ports(1)
            urls[0] = f"http://{LOOPBACK}:{port}"
            where = [f"--web.listen-address={LOOPBACK}:{port}", f"--storage.tsdb.path={directory / 'data'}"]
            return Launch([find_executable("prometheus"), f"--config.file={settings}", *where, "--log.level=warn"], ready)

        def ready() -> bool:
            try:
                return urllib3.request("GET", f"{urls[0]}/-/ready", retries=False, timeout=5).status == HTTPStatus.OK
            except urllib3.exceptions.HTTPError as error:
                raise ServerNotReady from error

        with running("prometheus", directory, plan):
            yield PrometheusServer(urls[0])
