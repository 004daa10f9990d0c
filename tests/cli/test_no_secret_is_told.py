"""However credentials are given, and however it ends: no output, log, document or file of a run has them in it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core import idl
from copilot.telemetry.redact import spellings
from copilot.testing.servers.process import LOOPBACK, free_ports

if TYPE_CHECKING:
    from copilot.testing.servers.s3 import S3Server
    from copilot.testing.servers.web import WebServer

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("COPILOT_", "AWS_"))}
WRONG = "wr0ng/secret+key=="
TOKEN = "t0ken-0f-a-presigned-url"
PASSWORD = "passw0rd-in-a-url"


class Run:
    """One command, with everything that it could tell turned up; remembers all it told."""

    def __init__(self, home: Path, given_by: str, server: S3Server, secret: str) -> None:
        self.home, self.server = home, server
        self.key = next(iter(server.identities))
        self.flags: list[str] = []
        self.environ = dict(CLEAN)
        pairs = {
            "endpoint": server.endpoint,
            "region": server.region,
            "auth_type": "accesskey",
            "access_key_id": self.key,
            "secret_key": secret,
        }
        if given_by == "flags":
            for name, value in pairs.items():
                self.flags += ["--storage.stow.config", f"{name}={value}"]
        elif given_by == "files":
            (home / "storage.yaml").write_text(json.dumps({"storage": {"stow": {"kind": "s3", "config": pairs}}}))
            self.flags = ["--config", str(home / "storage.yaml")]
        else:
            self.environ |= server.environ | {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": secret}
        self.told: list[bytes] = []

    def __call__(self, name: str, *arguments: str) -> int:
        logs = ["--log-level", "debug", "--log-file", str(self.home / "log"), "--control-dir", str(self.home / "control")]
        ended = subprocess.run(
            [str(Path(sys.executable).with_name(name)), *self.flags, *logs, *arguments],
            capture_output=True,
            env={**self.environ, "COPILOT_TERMINATION_LOG": str(self.home / "termination-log")},
            check=False,
            timeout=120,
        )
        self.told += [ended.stdout, ended.stderr]
        return ended.returncode

    def everything(self) -> bytes:
        """What was told, and every file that was left, but the configuration."""
        files = [path for path in self.home.rglob("*") if path.is_file() and path.name != "storage.yaml"]
        return b"\n".join([*self.told, *(path.read_bytes() for path in files)])

    def put(self, key: str, bucket: str, uri: str) -> str:
        literals = idl.LiteralMap()
        literals.literals["x"].scalar.blob.uri = uri
        self.server.poke(bucket, key, bytes(literals.SerializeToString()))
        return f"s3://{bucket}/{key}"


def leaked(text: bytes, *secrets: str) -> list[str]:
    return [form for secret in secrets for form in spellings(secret.encode()) if form.encode() in text]


def everything_left(server: S3Server, bucket: str, prefix: str) -> bytes:
    names = ("error.pb", "errors.pb", "outputs.pb", "_manifest.json", "_receipt.json", "partial/n")
    places = [*names, *(f"failed/{name}" for name in names)]
    return b"".join(server.peek(bucket, f"{prefix}/{place}") or b"" for place in places)


@pytest.mark.parametrize("given_by", ["flags", "files", "environment"])
@pytest.mark.parametrize("name", ["copilot", "flyte-copilot"])
def test_credentials_are_nowhere_after_runs_that_succeed_and_runs_that_fail(  # noqa: PLR0917 - two servers, two cases
    tmp_path: Path, s3_server: S3Server, s3_bucket: str, http_server: WebServer, name: str, given_by: str
) -> None:
    secret = next(iter(s3_server.identities.values()))
    run = Run(tmp_path, given_by, s3_server, secret)
    prefix = f"s3://{s3_bucket}/{name}/{given_by}"
    s3_server.poke(s3_bucket, "data", b"1")
    good = run.put("good.pb", s3_bucket, f"s3://{s3_bucket}/data")
    private = http_server.url.replace("://", f"://somebody:{PASSWORD}@") + f"/none?token={TOKEN}"
    bad = run.put("bad.pb", s3_bucket, private)
    assert run(name, "download", "--from-remote", good, "-o", str(tmp_path / "in"), "--to-output-prefix", prefix) == 0
    # A prefix of its own: a sidecar leaves the reason of a failed init where it is.
    places = ["-o", str(tmp_path / "other"), "--to-output-prefix", f"{prefix}/failed"]
    assert run(name, "download", "--from-remote", bad, *places) == (11 if name == "copilot" else 137)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "n").write_text("many")
    interface = idl.TypedInterface()
    interface.outputs.variables.add(key="n").value.type.simple = idl.SimpleType.INTEGER
    sidecar = [
        "sidecar", "--from-local-dir", str(tmp_path / "out"), "--to-output-prefix", prefix, "--exit-watcher-type", "noop",
        "--start-watcher-type", "noop", "--interface", base64.b64encode(interface.SerializeToString()).decode(),
    ]  # fmt: skip
    assert run(name, *sidecar) == (21 if name == "copilot" else 137)
    left = everything_left(s3_server, s3_bucket, f"{name}/{given_by}")  # the next takes the error back
    (tmp_path / "out" / "n").write_text("1")
    assert run(name, *sidecar) == 0
    for command in (["config", "show"], ["config", "show", "--json"], ["explain", prefix], ["show", f"{prefix}/outputs.pb"]):
        assert run("copilot", *command) == 0
    left += everything_left(s3_server, s3_bucket, f"{name}/{given_by}")
    assert b"ObjectNotFound" in run.everything()
    assert b"BadOutput" in left
    assert leaked(run.everything() + left, secret, TOKEN, PASSWORD) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["init", "--inputs", "http://somebody:{password}@{closed}/x?sig={token}", "--to", "in"],
        ["download", "-f", "none.pb", "-o", "in", "--to-output-prefix", "http://somebody:{password}@{closed}/x?sig={token}"],
        ["run", "-i", "x=http://somebody:{password}@{closed}/x?sig={token}", "--", "true"],
        ["run", "-o", "http://somebody:{password}@{closed}/x?sig={token}", "--", "sh", "-c", "echo 1 >$OUTPUT_DIR/n"],
    ],
    ids=["init", "download", "run-in", "run-out"],
)
def test_what_stands_in_a_url_is_not_told_when_nobody_is_there(
    tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    run = Run(tmp_path, "environment", s3_server, WRONG)
    words = {"password": PASSWORD, "token": TOKEN, "closed": f"{LOOPBACK}:{free_ports(1)[0]}"}
    given = [word.format(**words) for word in arguments]
    dashes = given.index("--") if "--" in given else len(given)
    monkeypatch.chdir(tmp_path)
    run.environ["TMPDIR"] = str(tmp_path)
    assert run("copilot", *given[:dashes], "--timeout", "2s", *given[dashes:]) != 0
    assert b"Traceback" in run.everything()
    assert leaked(run.everything(), TOKEN, PASSWORD) == []


@pytest.mark.parametrize("given_by", ["flags", "files", "environment"])
def test_credentials_that_are_refused_are_not_told_either(
    tmp_path: Path, s3_server: S3Server, s3_bucket: str, given_by: str
) -> None:
    run = Run(tmp_path, given_by, s3_server, WRONG)
    prefix = str(tmp_path / "meta")
    assert run("copilot", "init", "--inputs", f"s3://{s3_bucket}/x", "--to", str(tmp_path / "in"), "--errors-to", prefix) == 12
    assert (
        run("flyte-copilot", "download", "-f", f"s3://{s3_bucket}/x", "-o", str(tmp_path / "in"), "--to-output-prefix", prefix)
        == 137
    )
    assert (tmp_path / "meta" / "error.pb").exists()
    assert leaked(run.everything(), WRONG) == []


@pytest.mark.parametrize(
    "flags",
    [
        ["--storage.stow.confg", f"secret_key={WRONG}"],
        [f"--storage.stow.confg=secret_key={WRONG}"],
        [f"--storage.stow.config=secret_key:{WRONG.replace('=', '')}"],
        ["--storage.connection.secret-kye", WRONG],
        ["--storage.connection.secret-key", WRONG, "--storage.connection.auth-type", "nonsense"],
        ["--storage.stow.config", f"secret_key={WRONG}", "--storage.stow.config", "disable_ssl=perhaps"],
        [f"--storage.stow.config={{secret_key={WRONG}"],
    ],
)
@pytest.mark.parametrize("name", ["copilot", "flyte-copilot"])
def test_a_mistake_beside_a_secret_does_not_repeat_it(tmp_path: Path, name: str, flags: list[str]) -> None:
    command = ["download", "--from-remote", "s3://b/x", "--to-local-dir", str(tmp_path / "in"), "--timeout", "1s"]
    ended = subprocess.run(
        [str(Path(sys.executable).with_name(name)), *flags, *command, "--to-output-prefix", str(tmp_path / "meta")],
        capture_output=True,
        env={**CLEAN, "COPILOT_LOG_LEVEL": "debug", "COPILOT_LOG_FILE": str(tmp_path / "log")},
        check=False,
        timeout=60,
    )
    assert ended.returncode != 0
    everything = ended.stdout + ended.stderr + b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert leaked(everything, WRONG, WRONG.replace("=", "")) == []
