"""What a task left is nowhere else: the sidecar waits for a store that is away, although it has never answered."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core import idl
from copilot.testing.fault_proxy import fault_proxy

if TYPE_CHECKING:
    from copilot.testing.servers.s3 import S3Server

LONGER_THAN_A_WRONG_ENDPOINT_IS_BORNE_S = 36.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["copilot", "flyte-copilot"])
def test_a_store_that_refuses_connections_for_longer_than_usual_gets_the_outputs_all_the_same(
    tmp_path: Path, s3_server: S3Server, s3_bucket: str, name: str
) -> None:
    interface = idl.TypedInterface()
    interface.outputs.variables.add(key="n").value.type.simple = idl.SimpleType.INTEGER
    (tmp_path / "n").write_text("5")
    argv = [
        str(Path(sys.executable).with_name(name)), "sidecar", "--from-local-dir", str(tmp_path), "--timeout", "5m",
        "--to-output-prefix", f"s3://{s3_bucket}/{name}", "--to-raw-output", f"s3://{s3_bucket}/{name}/raw",
        "--interface", base64.b64encode(interface.SerializeToString()).decode(),
        "--start-watcher-type", "noop", "--exit-watcher-type", "noop",
    ]  # fmt: skip
    with fault_proxy(s3_server.endpoint) as proxy:
        proxy.refuse()
        environ = {"PATH": os.environ["PATH"], **s3_server.environ, "AWS_ENDPOINT_URL": proxy.endpoint}
        with subprocess.Popen(argv, env=environ, stderr=subprocess.PIPE) as sidecar:
            time.sleep(LONGER_THAN_A_WRONG_ENDPOINT_IS_BORNE_S)
            assert sidecar.poll() is None, "it gave up"
            proxy.accept_again()
            _, told = sidecar.communicate(timeout=90)
    assert sidecar.returncode == 0, told.decode()
    stored = s3_server.peek(s3_bucket, f"{name}/outputs.pb")
    assert stored is not None
    assert idl.LiteralMap.FromString(stored).literals["n"].scalar.primitive.integer == 5
