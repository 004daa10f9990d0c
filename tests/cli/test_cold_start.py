"""A pod's first request goes out early: few modules, no asyncio, no SDK; the signals are handled before anything is loaded."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

EXECUTABLE = Path(sys.executable).with_name("copilot")
MOST_MODULES = 250
FORBIDDEN = {
    "asyncio", "boto3", "botocore", "click", "fsspec", "s3fs", "azure", "grpc", "hvac", "jinja2", "rich", "ssl", "sqlalchemy",
    "subprocess", "tenacity", "uvicorn", "yaml",
}  # fmt: skip
SEARCHED_IN_VAIN = {"nt", "_winapi", "org", "org.python", "org.python.core"}  # the standard library asks, Linux has none
OF_THE_ENVIRONMENT = {"_distutils_hack", "sitecustomize", "apport_python_hook"}  # Debian's Python looks for the last


def environ(home: Path) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "PATH": os.environ["PATH"], "HOME": str(home)}


def test_init_makes_its_first_request_with_few_modules_and_no_sdk(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        flags = ["--inputs", "s3://bucket/inputs.pb", "--to", str(tmp_path / "in"), "--endpoint", endpoint]
        process = subprocess.Popen(
            [sys.executable, "-X", "importtime", str(EXECUTABLE), "init", *flags],
            stderr=subprocess.PIPE,
            text=True,
            env=environ(tmp_path),
        )
        connection, _ = server.accept()
        with connection:
            assert connection.recv(4) == b"GET "
            process.kill()
        _, told = process.communicate()
    modules = [line.split("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")]
    loaded = set(modules) - SEARCHED_IN_VAIN - OF_THE_ENVIRONMENT - {"imported package"}
    assert len(loaded) > 50
    assert not {name for name in loaded if name.partition(".")[0] in FORBIDDEN}
    assert len(loaded) <= MOST_MODULES, sorted(loaded)


def test_help_loads_no_command(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", str(EXECUTABLE), "--help"],
        capture_output=True,
        text=True,
        env=environ(tmp_path),
        check=True,
    )
    loaded = {line.split("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")}
    assert "copilot.cli.people" in loaded
    assert not [
        name
        for name in loaded
        if name.startswith(("copilot.cli.staging.run", "copilot.cli.staging.show", "flyteidl2", "obstore"))
    ]


def test_the_sidecar_is_armed_before_anything_else_is_imported(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-c", PROBE, "sidecar"],
        stderr=subprocess.PIPE,
        text=True,
        env={**environ(tmp_path), "COPILOT_CONTROL_DIR": str(tmp_path / "control")},
    )
    _, told = process.communicate()
    assert process.returncode == 0, told
    loaded = [line.split("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")]
    ours = [name for name in loaded if name.startswith("copilot")]
    assert ours == ["copilot", "copilot.__main__", "copilot.signals"]
    assert (tmp_path / "control" / "ARMED").exists()


PROBE = """
import os, signal, sys
from copilot import __main__ as main
from copilot import signals
latch = signals.arm(sys.argv, os.environ)
os.kill(os.getpid(), signal.SIGTERM)
sys.exit(0 if latch.wait(5) and latch.received == signal.SIGTERM else 1)
"""


def test_a_signal_that_comes_at_once_is_not_lost(tmp_path: Path) -> None:
    control, outputs = tmp_path / "control", tmp_path / "out"
    outputs.mkdir()
    (outputs / "n").write_text("5")
    process = subprocess.Popen(
        [
            str(EXECUTABLE), "sidecar", "--from-local-dir", str(outputs), "--to-output-prefix", str(tmp_path / "published"),
            "--interface", "CgsKCQoBYRIECgIIARILCgkKAW4SBAoCCAE=", "--control-dir", str(control), "--trust-signal",
        ],
        env=environ(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not (control / "ARMED").exists():
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 0, told
    assert (tmp_path / "published" / "outputs.pb").exists()
