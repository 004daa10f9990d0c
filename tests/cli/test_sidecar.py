"""``copilot sidecar`` as a pod uses it: markers, signals, what it leaves behind."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from copilot.cli.pods.sidecar import tellable
from copilot.core import idl
from copilot.core.errors import AccessDenied, BadOutput, CopilotError, TaskEvicted, TaskFailed, Unreachable

if TYPE_CHECKING:
    from copilot.cli.pods.kept_secrets import Keeping

EXECUTABLE = Path(sys.executable).with_name("copilot")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("COPILOT_", "AWS_"))}


def interface(**types: int) -> str:
    made = idl.TypedInterface()
    for name, simple in types.items():
        made.outputs.variables.add(key=name).value.type.simple = simple
    return base64.b64encode(made.SerializeToString()).decode()


class Sidecar:
    def __init__(self, home: Path, *more: str, name: str = "copilot", to: str = "", environ: Mapping[str, str] = CLEAN) -> None:
        self.outputs, self.published, self.control = home / "out", home / "published", home / "control"
        self.termination = home / "termination-log"
        self.outputs.mkdir()
        places = ["--from-local-dir", self.outputs, "--to-output-prefix", to or self.published, "--control-dir", self.control]
        flags = ["--interface", interface(n=idl.SimpleType.INTEGER), "--termination-log", self.termination, *more]
        self.process = subprocess.Popen(
            [EXECUTABLE.with_name(name), "sidecar", *map(str, places), *map(str, flags)],
            stderr=subprocess.PIPE,
            text=True,
            env=environ,
        )
        deadline = time.monotonic() + 30
        while not (self.control / "ARMED").exists():
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def end(self) -> tuple[int, str]:
        _, told = self.process.communicate(timeout=60)
        return self.process.returncode, told

    def names(self) -> list[str]:
        return sorted(path.name for path in self.published.iterdir()) if self.published.exists() else []


@pytest.fixture
def started() -> Iterator[list[Sidecar]]:
    sidecars: list[Sidecar] = []
    yield sidecars
    for sidecar in sidecars:
        sidecar.process.kill()
        sidecar.process.communicate()


def test_the_success_marker_ends_the_wait_without_a_signal(tmp_path: Path, started: list[Sidecar]) -> None:
    sidecar = Sidecar(tmp_path)
    started.append(sidecar)
    (sidecar.outputs / "n").write_text("5")
    (sidecar.outputs / "_SUCCESS").touch()
    code, told = sidecar.end()
    assert code == 0, told
    assert sidecar.names() == ["_manifest.json", "_receipt.json", "outputs.pb"]


def test_the_error_marker_is_the_users_own_error(tmp_path: Path, started: list[Sidecar]) -> None:
    sidecar = Sidecar(tmp_path)
    started.append(sidecar)
    (sidecar.outputs / "_ERROR").write_text("the model did not converge")
    code, told = sidecar.end()
    assert code == 23, told
    assert sidecar.names() == ["_receipt.json", "error.pb", "errors.pb", "partial"]
    error = idl.ErrorDocument.FromString((sidecar.published / "error.pb").read_bytes()).error
    assert "the model did not converge" in error.message
    assert "the model did not converge" in sidecar.termination.read_text()


def test_nothing_of_ours_stands_beside_the_outputs_when_it_is_turned_off(tmp_path: Path, started: list[Sidecar]) -> None:
    sidecar = Sidecar(tmp_path, "--no-manifest", "--no-receipt", "--trust-signal")
    started.append(sidecar)
    (sidecar.outputs / "n").write_text("5")
    sidecar.process.send_signal(signal.SIGTERM)
    assert sidecar.end()[0] == 0
    assert sidecar.names() == ["outputs.pb"]


def test_a_missing_output_is_one_sentence_in_every_place(tmp_path: Path, started: list[Sidecar]) -> None:
    sidecar = Sidecar(tmp_path, name="flyte-copilot")
    started.append(sidecar)
    sidecar.process.send_signal(signal.SIGTERM)
    code, told = sidecar.end()
    assert code == 137
    last = json.loads(told.splitlines()[-1])
    assert last["reason"] == "MissingOutput"
    assert sidecar.termination.read_text() == f"MissingOutput: {last['message']}"
    assert idl.ErrorDocument.FromString((sidecar.published / "error.pb").read_bytes()).error.message.startswith(
        "MissingOutput: "
    )


@pytest.mark.parametrize("witness", ["marker", "signal"])
def test_a_store_that_stays_away_is_the_reason_told_before_sigkill_comes(
    tmp_path: Path, started: list[Sidecar], witness: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    environ = {**CLEAN, "COPILOT_GRACE_S": "5", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    flags = ["--endpoint", f"http://127.0.0.1:{port}", "--trust-signal"]
    sidecar = Sidecar(tmp_path, *flags, to="s3://b/out", environ=environ)
    started.append(sidecar)
    (sidecar.outputs / "n").write_text("5")
    if witness == "marker":
        (sidecar.outputs / "_SUCCESS").touch()
        time.sleep(1)
        assert sidecar.process.poll() is None  # nobody told it to end: there is time
    began = time.monotonic()
    sidecar.process.send_signal(signal.SIGTERM)
    code, told = sidecar.end()
    assert time.monotonic() - began < 5
    assert code == Unreachable.exit_code, told
    assert sidecar.termination.read_text().startswith("StoreUnreachable: The store at 127.0.0.1 cannot be reached")


def test_ctrl_c_publishes_nothing_and_ends_with_130(tmp_path: Path, started: list[Sidecar]) -> None:
    sidecar = Sidecar(tmp_path)
    started.append(sidecar)
    (sidecar.outputs / "n").write_text("5")
    sidecar.process.send_signal(signal.SIGINT)
    code, told = sidecar.end()
    assert code == 130, told
    assert "outputs.pb" not in sidecar.names()


@pytest.mark.parametrize("start", ["marker", "process", "wrapper"])
def test_a_sigterm_before_the_start_was_seen_ends_the_wait_as_well(tmp_path: Path, started: list[Sidecar], start: str) -> None:
    watchers = ["--start-watcher-type", start, "--exit-watcher-type", "signal", "--task-process", "nobodys"]
    sidecar = Sidecar(tmp_path, *watchers, "--trust-signal")
    started.append(sidecar)
    (sidecar.outputs / "n").write_text("5")
    sidecar.process.send_signal(signal.SIGTERM)
    code, told = sidecar.end()
    assert code == 0, told
    assert "outputs.pb" in sidecar.names()


def test_a_signal_that_is_not_trusted_proves_nothing(tmp_path: Path, started: list[Sidecar]) -> None:
    sidecar = Sidecar(tmp_path, "--trust-signal=false")
    started.append(sidecar)
    (sidecar.outputs / "n").write_text("5")
    sidecar.process.send_signal(signal.SIGTERM)
    code, told = sidecar.end()
    assert code == 25, told
    assert "outputs.pb" not in sidecar.names()


@pytest.mark.parametrize("flags", [["--upload-mode", "SOMEHOW"], ["--format", "x"], ["--exit-watcher-type", "x"], ["stray"]])
def test_without_outputs_the_references_sidecar_ends_at_once_whatever_else_it_was_told(
    tmp_path: Path, flags: list[str]
) -> None:
    argv = [str(EXECUTABLE.with_name("flyte-copilot")), "sidecar", "--to-output-prefix", str(tmp_path), *flags]
    ended = subprocess.run(argv, capture_output=True, text=True, env=CLEAN, check=False)
    assert ended.returncode == 0, ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "begins"),
    [
        (TaskFailed("hunter2 was refused"), "The task failed; "),
        (BadOutput("output 'n' is 'hunter2'"), "Outputs are not published; "),
        (TaskEvicted("outputs are not published"), "Outputs are not published; "),
        (AccessDenied("the store says no"), "the store says no"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_what_may_quote_a_secret_that_cannot_be_masked_is_withheld(error: CopilotError, begins: str, *, known: bool) -> None:
    keeping = SimpleNamespace(custody=SimpleNamespace(know=lambda: known))  # all of it that counts here
    said = tellable(error, cast("Keeping", keeping))
    assert (said is error) == (known or isinstance(error, AccessDenied))
    assert (said.reason, said.message.startswith(begins)) == (error.reason, True) or known
    assert known or "hunter2" not in said.sentence()


def test_a_control_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = subprocess.run(
        [EXECUTABLE, "sidecar", "--control-dir", str(tmp_path / "file"), "--interface", interface(n=1)],
        capture_output=True, text=True, env=CLEAN, check=False,
    )  # fmt: skip
    assert ended.returncode == 22
    assert "ARMED" in ended.stderr.splitlines()[-1]
