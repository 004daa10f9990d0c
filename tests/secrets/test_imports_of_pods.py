"""A pod without secrets loads nothing of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from copilot.testing.secret_servers.whole_task import PLAIN


def test_a_sidecar_and_an_init_without_secrets_load_no_resolver_and_no_client(tmp_path: Path) -> None:
    (tmp_path / "inputs.pb").touch()
    commands = {
        "init": ["--inputs", str(tmp_path / "inputs.pb"), "--to", str(tmp_path / "in")],
        "sidecar": ["--outputs", str(tmp_path), "--to", str(tmp_path / "out")],
    }
    for command, flags in commands.items():
        argv = [sys.executable, "-X", "importtime", "-m", "copilot", command, *flags, "--control-dir", str(tmp_path / "c")]
        told = subprocess.run(argv, env=PLAIN, capture_output=True, text=True, check=True).stderr
        loaded = {line.split("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}
        ours = {name for name in loaded if name.startswith("copilot.secrets")}
        assert ours <= {"copilot.secrets", "copilot.secrets.custody"}
        assert not loaded & {"hvac", "boto3", "azure.identity", "google.cloud.secretmanager_v1", "jinja2", "urllib3"}
