"""``copilot server`` in a process of its own, with the official SDK and both command lines as its clients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAMS = Path(sys.executable).parent
_QUIET = {"DO_NOT_TRACK": "1", "FLYTE_DISABLE_TELEMETRY": "1"}

#: How long a server may take to listen, on a machine with other things to do.
_START_S = 120.0


@dataclass
class ServerProcess:
    """A ``copilot server``.

    Attributes:
        data: its directory.
        database: the URL of its database; empty: as its environment says, or the embedded one.
        port: 0 before the first start; the same one after every other.
        process: the process.
        url: where it answers.
        flags: further flags.
        environ: further variables of its environment.
    """

    data: Path
    database: str
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    url: str = ""
    flags: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        log = self.data / "server.log"
        command = [str(PROGRAMS / "copilot"), "server", "--data", str(self.data)]
        command += ["--database", self.database] if self.database else []
        env = {**os.environ, "PYTHONWARNINGS": "error", **self.environ}
        with log.open("w") as stderr:
            self.process = subprocess.Popen([*command, "--port", str(self.port), *self.flags], stderr=stderr, env=env)
        try:
            until(lambda: "listening on" in log.read_text() or self.process_ended(), "the server listens", timeout_s=_START_S)
        except AssertionError:
            self.kill()
            raise
        line = next((line for line in log.read_text().splitlines() if "listening on" in line), "")
        assert line, log.read_text()
        self.url = line.split()[-1]
        self.port = int(self.url.rpartition(":")[2])

    def process_ended(self) -> bool:
        """It has been started and is not running."""
        return self.process is not None and self.process.poll() is not None

    def kill(self) -> None:
        """Kills it; its pods go on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ends it in order."""
        assert self.process is not None
        self.process.terminate()
        try:
            assert self.process.wait(20) == 0
        finally:
            if self.process.poll() is None:
                self.kill()

    def flyte(self, script: Path, *arguments: str, timeout_s: float = 240) -> list[Any]:
        """Runs a script that uses the official SDK; what it printed as JSON, a line a value."""
        env = {
            **os.environ,
            **_QUIET,
            "COPILOT_TEST_ENDPOINT": self.url.removeprefix("http://").replace("127.0.0.1", "localhost"),
        }
        env.pop("PYTHONWARNINGS", None)
        ended = subprocess.run(
            [sys.executable, script, *arguments],
            cwd=script.parent,
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith(("{", "["))]

    def cli(self, *arguments: str, cwd: Path | None = None, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """The ``flyte`` command line."""
        with self.cli_popen(*arguments, cwd=cwd) as process:
            try:
                out, told = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, told)

    def cli_popen(self, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        """The same, while it runs."""
        where = [
            "--endpoint",
            self.url.removeprefix("http://").replace("127.0.0.1", "localhost"),
            "--insecure",
            "-of",
            "json-raw",
        ]
        return subprocess.Popen(
            [str(PROGRAMS / "flyte"), *where, *arguments],
            cwd=cwd,
            env={**os.environ, **_QUIET, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def copilot(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Our own command line."""
        env = {**os.environ, "COPILOT_SERVER": self.url}
        return subprocess.run(
            [str(PROGRAMS / "copilot"), *arguments], env=env, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        """Our own command line, while it runs; both of its outputs are pipes."""
        env = {**os.environ, "COPILOT_SERVER": self.url}
        pipe = subprocess.PIPE
        return subprocess.Popen([str(PROGRAMS / "copilot"), *arguments], env=env, stdout=pipe, stderr=pipe, text=True)


def until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Waits for a condition that nothing else tells of. Raises ``AssertionError``."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
