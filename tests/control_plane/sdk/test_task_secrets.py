"""A secret reaches its task through a real server, and is nowhere afterwards: kept by the server itself, and kept in Vault."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from copilot.testing.secret_servers.openbao import OpenBao, openbao
from copilot.testing.server_process import PROGRAMS, ServerProcess, until

SCRIPT = """
test "$KEY" = "$(cat /etc/flyte/secrets/as_file)" || exit 4
test -z "$VAULT_TOKEN$COPILOT_REPORT_TOKEN" || exit 5
test "$FLYTE_SECRETS_DEFAULT_DIR" = /etc/flyte/secrets || exit 6
while ! test -e GO; do sleep 0.05; done
printf %s "$KEY" | sha256sum | cut -d' ' -f1 > /var/outputs/digest
"""


@dataclass
class Kept:
    """A server, and how much of the machine is looked through after it."""

    server: ServerProcess
    value: str

    def put(self, name: str) -> None:
        env = {**os.environ, "COPILOT_SERVER": self.server.url}
        command = [str(PROGRAMS / "copilot"), "secrets", "set", name]
        subprocess.run(command, env=env, input=self.value, text=True, check=True, timeout=60)


@pytest.fixture(scope="module")
def bao() -> Iterator[OpenBao]:
    with openbao() as server:
        yield server


@pytest.fixture(scope="module", params=["embedded", "vault"])
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    place = tmp_path_factory.mktemp("kept")
    data, environ, flags = place / "server", dict[str, str](), ("--secrets", "embedded")
    data.mkdir()
    if request.param == "vault":
        bao: OpenBao = request.getfixturevalue("bao")
        mount = bao.mount("kv", options={"version": "2"})
        token = place / "pods.token"
        token.write_text(bao.token(bao.policy(f'path "{mount}/data/*" {{ capabilities = ["read"] }}')))
        environ = {"VAULT_ADDR": bao.address, "VAULT_TOKEN": bao.root, "COPILOT_VAULT_TOKEN_FILE": str(token)}
        flags = ("--secrets", f"vault://{mount}/tasks")
    server = ServerProcess(data, "", flags=flags, environ=environ)
    server.start()
    yield Kept(server, f"v-{secrets.token_hex(12)}")
    server.stop()


def forms(value: str) -> list[bytes]:
    """The value as it is and as it may be written: in base64 at each offset, in hexadecimal, in a URL."""
    raw = value.encode()
    encoded = [base64.b64encode(b"x" * shift + raw)[4 * bool(shift) :].rstrip(b"=")[:-2] for shift in range(3)]
    return [raw, *encoded, raw.hex().encode(), quote(value, safe="").encode()]


def found_in(value: str, *places: Path) -> list[str]:
    """Every file below ``places`` that holds it."""
    files = [path for place in places for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files for content in [path.read_bytes()] if any(form in content for form in forms(value))]


def command_lines() -> bytes:
    """Of every process of this machine."""
    told = b""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told += (process / "cmdline").read_bytes()
        except OSError:
            continue
    return told


def test_a_secret_reaches_its_task_and_is_nowhere_else(kept: Kept, tmp_path: Path) -> None:
    server, value = kept.server, kept.value
    for name in ("as_variable", "as_file"):
        kept.put(name)
    go = tmp_path / "go"
    submit = ["submit", "--image", "none", "--run-name", "careful", "--secret", "KEY=as_variable", "--secret", "as_file"]
    submitted = server.copilot(*submit, "--output", "digest:str", "--", "sh", "-c", SCRIPT.replace("GO", str(go)))
    assert submitted.returncode == 0, submitted.stderr
    until(lambda: json.loads(server.copilot("describe", "careful").stdout)["phase"] == "RUNNING", "the task runs")
    # While it runs: the pods' records with their objects, the database, logs, the store, and what everybody can see.
    assert found_in(value, server.data) == []
    assert not any(form in command_lines() for form in forms(value))
    go.touch()
    ended = server.copilot("wait", "careful")
    assert ended.returncode == 0, ended.stdout + ended.stderr + (server.data / "server.log").read_text()
    digest = json.loads(server.copilot("outputs", "careful", "--json").stdout)["digest"]
    assert digest == hashlib.sha256(value.encode()).hexdigest()
    assert found_in(value, server.data) == []
    until(lambda: not list(Path("/dev/shm").glob("copilot-pod-*/flyte-secrets/as_file")), "its memory is given back")


def test_a_secret_that_is_not_there_fails_its_task_with_its_name(kept: Kept) -> None:
    ended = kept.server.copilot("submit", "--image", "none", "--secret", "KEY=not_there", "--wait", "--", "true")
    assert ended.returncode == 23
    run = json.loads(ended.stdout)
    assert "not_there" in run["error"]["message"]
