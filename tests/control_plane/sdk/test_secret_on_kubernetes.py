"""A task's secret on a cluster (the API double): main has it, and no object of the API ever holds it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from copilot.testing.kubernetes import KubernetesDouble
from copilot.testing.server_process import PROGRAMS, ServerProcess

VALUE = "v-correct-horse-battery-staple"
PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))


@pytest.mark.slow
def test_no_object_of_the_cluster_holds_a_tasks_secret(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    # Our containers have a /tmp of their own, so what they share with this machine cannot be below it.
    with (
        tempfile.TemporaryDirectory(prefix="copilot-node-", dir="/var/tmp") as node,
        tempfile.TemporaryDirectory(prefix="copilot-store-", dir="/var/tmp") as store,
        KubernetesDouble(Path(node), token="a-token", path=PATH) as double,
    ):
        kubeconfig = double.kubeconfig(tmp_path / "kubeconfig", namespace="team")
        flags = ("--executor", "kubernetes", "--kubeconfig", str(kubeconfig), "--store", f"file://{store}")
        server = ServerProcess(data, "", flags=flags)
        server.start()
        try:
            env = {**os.environ, "COPILOT_SERVER": server.url}
            put = [str(PROGRAMS / "copilot"), "secrets", "set", "key"]
            subprocess.run(put, env=env, input=VALUE, text=True, check=True, timeout=60)
            task = (
                'test "$KEY" = "$(cat /etc/flyte/secrets/key)" && printf %s "$KEY" | sha256sum | cut -d" " -f1 >/var/outputs/d'
            )
            asked = ["--secret", "KEY=key", "--secret", "key", "--output", "d:str", "--run-name", "told", "--wait"]
            ended = server.copilot("submit", "--image", "busybox", *asked, "--", "sh", "-c", task, timeout_s=120)
            assert ended.returncode == 0, ended.stdout + ended.stderr
            digest = json.loads(server.copilot("outputs", "told", "--json").stdout)["d"]
            assert digest == hashlib.sha256(VALUE.encode()).hexdigest()
        finally:
            server.stop()
        # The history has every version of every object, the pod and the Secrets beside it included.
        kept = repr(vars(double.storage))
        assert "told-a0" in kept
        assert "COPILOT_REPORT_TOKEN" in kept
        for form in (VALUE, base64.b64encode(VALUE.encode()).decode()[:-4], VALUE.encode().hex()):
            assert form not in kept
