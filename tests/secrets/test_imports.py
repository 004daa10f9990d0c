"""A manager's client is imported when a secret of it is asked for, and not before."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
import copilot.secrets.inject, copilot.secrets.render, copilot.secrets.rotate, copilot.secrets.handover
import copilot.secrets.leak_guard, copilot.secrets.notify, copilot.secrets.resolver, copilot.secrets.settings
import copilot.secrets.providers.env, copilot.secrets.providers.file, copilot.secrets.providers.kubernetes
import copilot.secrets.providers.aws, copilot.secrets.providers.azure, copilot.secrets.providers.vault
heavy = {"boto3", "botocore", "azure", "google.cloud", "grpc", "hvac", "requests", "urllib3", "jinja2", "asyncio", "ctypes"}
print(sorted(heavy & set(sys.modules)), len(sys.modules))
"""


def test_no_client_is_imported_before_it_is_used() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    found, _, count = ended.stdout.rpartition(" ")
    assert found == "[]"
    assert int(count) < 250
