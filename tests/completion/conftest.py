"""A pod in the small: sidecar and wrapped task as real processes, their volumes as directories, a directory as store."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from copilot.core import idl

COPILOT = Path(sys.executable).with_name("copilot")
PATIENCE_S = 60.0
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("COPILOT_", "AWS_", "KUBERNETES_"))}
INTEGER = idl.LiteralType(simple=idl.SimpleType.INTEGER)


def interface(**types: idl.LiteralType) -> str:
    made = idl.TypedInterface()
    for name, literal_type in types.items():
        made.outputs.variables.add(key=name).value.type.CopyFrom(literal_type)
    return base64.b64encode(made.SerializeToString()).decode()


def until(ready: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.002)


@dataclass
class Ended:
    """What the sidecar came to.

    Attributes:
        code: its exit code.
        events: its log.
        store: every object it left, by key.
    """

    code: int
    events: list[dict[str, Any]]
    store: dict[str, bytes]

    @property
    def receipt(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.store["_receipt.json"])
        return found

    @property
    def row(self) -> str:
        return str(self.receipt["verdict"]["row"])

    @property
    def error(self) -> str:
        """The error document's message; both names hold the same."""
        assert self.store["error.pb"] == self.store["errors.pb"]
        return str(idl.ErrorDocument.FromString(self.store["error.pb"]).error.message)

    @property
    def n(self) -> int:
        """The published output."""
        return int(idl.LiteralMap.FromString(self.store["outputs.pb"]).literals["n"].scalar.primitive.integer)

    @property
    def partial(self) -> dict[str, bytes]:
        """What is kept, but for the verdict beside it."""
        kept = {key.removeprefix("partial/"): content for key, content in self.store.items() if key.startswith("partial/")}
        verdict = kept.pop("_receipt.json", None)
        assert (verdict is None) == (not kept)
        assert verdict is None or json.loads(verdict)["verdict"] == self.receipt["verdict"]
        return kept


@dataclass
class SmallPod:
    """One pod. Everything it started is gone at the end of the test."""

    home: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.out, self.control, self.store = self.home / "out", self.home / "control", self.home / "store"
        self.out.mkdir()
        self.control.mkdir()

    def start_sidecar(self, *flags: str, name: str = "copilot", **environ: str) -> subprocess.Popen[str]:
        places = {"--from-local-dir": self.out, "--to-output-prefix": self.store, "--control-dir": self.control}
        words = [word for flag, path in places.items() for word in (flag, str(path))]
        self.sidecar = self._start(
            [str(COPILOT.with_name(name)), "sidecar", *words, "--interface", interface(n=INTEGER), *flags], environ
        )
        until(lambda: (self.control / "ARMED").exists() or self.sidecar.poll() is not None, "the sidecar is not armed")
        return self.sidecar

    def start_main(self, script: str, *flags: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
        """``script`` is a shell's; ``$OUT`` is the output directory."""
        wrapper = [sys.executable, "-m", "copilot", "exec", "--control-dir", str(self.control), *flags]
        self.main = self._start([*before, *wrapper, "--", "/bin/sh", "-c", script], {"OUT": str(self.out)})
        return self.main

    def _start(self, argv: list[str], environ: dict[str, str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env={**CLEAN, **environ})
        self.processes.append(process)
        return process

    @property
    def exitcode(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.control / "exitcode").read_text())
        return document

    def terminate(self) -> None:
        self.sidecar.send_signal(signal.SIGTERM)

    def end(self) -> Ended:
        _, told = self.sidecar.communicate(timeout=PATIENCE_S)
        events = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
        return Ended(self.sidecar.returncode, events, self.objects())

    def objects(self) -> dict[str, bytes]:
        files = [path for path in self.store.rglob("*") if path.is_file()] if self.store.exists() else []
        return {path.relative_to(self.store).as_posix(): path.read_bytes() for path in files}

    def close(self) -> None:
        for process in self.processes:
            # The wrapper passes this on, so that the task goes as well.
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(2)
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[SmallPod]:
    made = SmallPod(tmp_path)
    yield made
    made.close()
