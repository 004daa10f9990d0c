"""Each way in which a secret cannot be had, through ``copilot init``: sentence, hint, code, and nothing half-written."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core import idl
from copilot.testing.secret_servers.http import Answer, HttpServer
from copilot.testing.secret_servers.openbao import openbao
from copilot.testing.secret_servers.whole_task import COPILOT, PLAIN, fresh_value, until

if TYPE_CHECKING:
    from copilot.testing.secret_servers.openbao import OpenBao

VALUE = fresh_value()


@dataclass
class World:
    """A manager with one good secret, a pod's volumes, and an ``inputs.pb``.

    Attributes:
        bao: the manager.
        mount: where ``app`` holds ``token`` and ``deep``.
        memory: a memory volume.
        disk: a disk.
        environ: how to get there.
    """

    bao: OpenBao
    mount: str
    memory: Path
    disk: Path
    environ: dict[str, str]

    @property
    def good(self) -> str:
        """Asked for first each time: it must not be left there."""
        return f"{self.memory}/secrets/good=vault://{self.mount}/app#token"

    def argv(self, *flags: str) -> list[str]:
        places = [
            "--inputs",
            str(self.disk / "inputs.pb"),
            "--to",
            str(self.disk / "inputs"),
            "--errors-to",
            str(self.disk / "out"),
        ]
        return [COPILOT, "init", *places, "--termination-log", str(self.disk / "term"), "--secret", self.good, *flags]

    def fails(self, *flags: str) -> dict[str, str]:
        """Runs init, checks that nothing is there and that everybody was told the same; gives the log's last word."""
        done = subprocess.run(self.argv(*flags), env=self.environ, capture_output=True, check=False, timeout=60)
        told = [json.loads(line) for line in done.stderr.decode().splitlines()]
        (failed,) = (event for event in told if event["event"] == "failed")
        assert done.returncode == failed["exit_code"]
        assert done.stdout == b""
        assert sorted(path.name for path in self.memory.rglob("*") if path.is_file()) in ([], ["progress"])
        assert not (self.disk / "inputs").exists()
        for name in ("error.pb", "errors.pb"):
            error = idl.ErrorDocument.FromString((self.disk / "out" / name).read_bytes()).error
            assert failed["message"] in error.message
        term = (self.disk / "term").read_text()
        assert term.startswith(f"{failed['reason']}: ")
        assert VALUE.encode() not in done.stderr + term.encode()
        return {**failed, "code": str(done.returncode)}


@pytest.fixture
def world(bao: OpenBao, memory: Path, tmp_path: Path) -> World:
    mount = bao.mount("kv", options={"version": "2"})
    bao.api("PUT", f"{mount}/data/app", {"data": {"token": VALUE, "deep": {"password": VALUE}}})
    (tmp_path / "inputs.pb").write_bytes(idl.LiteralMap().SerializeToString())
    environ = {**PLAIN, "VAULT_ADDR": bao.address, "VAULT_TOKEN": bao.root, "COPILOT_CONTROL_DIR": str(memory / "control")}
    return World(bao, mount, memory, tmp_path, environ)


def not_found(world: World) -> list[str]:
    return ["--secret", f"X=vault://{world.mount}/nothing"]


def denied(world: World) -> list[str]:
    rules = f'path "{world.mount}/data/app" {{ capabilities = ["read"] }}'
    world.environ["VAULT_TOKEN"] = world.bao.token(world.bao.policy(rules))
    return ["--secret", f"X=vault://{world.mount}/other?engine=kv2"]


def expired_token(world: World) -> list[str]:
    token = world.bao.token("root")
    world.bao.api("POST", "auth/token/revoke", {"token": token})
    world.environ["VAULT_TOKEN"] = token
    return []


def wrong_key(world: World) -> list[str]:
    return ["--secret", f"{world.memory}/secrets/x=vault://{world.mount}/app#/deep/pasword"]


def binary_for_text(world: World) -> list[str]:
    (world.disk / "binary").write_bytes(b"\xff\xfe\x00" + VALUE.encode())
    return ["--secret", f"X=file://{world.disk}/binary"]


def too_large(world: World) -> list[str]:
    (world.disk / "large").write_text("x" * 140_000)
    return ["--secret", f"X=file://{world.disk}/large"]


def on_a_disk(world: World) -> list[str]:
    return ["--secret", f"/var/tmp/copilot-secrets-test/x=vault://{world.mount}/app#token"]


def two_for_one_path(world: World) -> list[str]:
    return ["--secret", f"{world.memory}/secrets/../secrets/good=vault://{world.mount}/app"]


def two_for_one_variable(world: World) -> list[str]:
    return ["--secret", f"X=vault://{world.mount}/app#token", "--secret", f"X=vault://{world.mount}/app"]


def template_asks_for_nothing(world: World) -> list[str]:
    (world.disk / "t.j2").write_text("fine\n{{ app.tokn }}\n")
    target = f"{world.memory}/secrets/t={world.disk}/t.j2"
    return ["--secrets-template", target, "--secrets-name", f"app=vault://{world.mount}/app"]


def two_of_one_name(world: World) -> list[str]:
    (world.disk / "t.j2").write_text("{{ app }}")
    names = ["--secrets-name", "app=env://HOME", "--secrets-name", "app=env://PATH"]
    return ["--secrets-template", f"{world.memory}/secrets/t={world.disk}/t.j2", *names]


def no_reference(_world: World) -> list[str]:
    return ["--secret", f"X={VALUE}"]


FAILURES = [
    (not_found, "SecretNotFound", "no such secret.*: vault://.*/nothing", "Check its path"),
    (denied, "SecretDenied", "may not", "in its policy"),
    (expired_token, "SecretTokenExpired", "does not know the token", "Log in again"),
    (wrong_key, "SecretKeyMissing", "has no field", "Its fields are: password"),
    (binary_for_text, "SecretNotText", "binary", "as a file"),
    (too_large, "SecretTooLarge", "140000 bytes", "as a file"),
    (on_a_disk, "SecretNotOnTmpfs", "not on a memory volume", "medium: Memory.*--secrets-allow-disk"),
    (two_for_one_path, "SecretPathTaken", "two secrets", "path of its own"),
    (two_for_one_variable, "SecretPathTaken", "two secrets", "name of its own"),
    (template_asks_for_nothing, "BadSecretTemplate", "line 2", "app.tokn"),
    (no_reference, "BadSecretRef", "not a reference", "provider://"),
]


@pytest.mark.parametrize(("prepare", "reason", "sentence", "hint"), FAILURES, ids=[row[0].__name__ for row in FAILURES])
def test_each_failure_has_its_sentence_hint_and_code(
    world: World, prepare: Callable[[World], list[str]], reason: str, sentence: str, hint: str
) -> None:
    failed = world.fails(*prepare(world))
    assert re.fullmatch(reason, failed["reason"])
    assert failed["code"] == "24"
    assert re.search(sentence, failed["message"]), failed["message"]
    assert re.search(hint, failed["message"]), failed["message"]
    assert not Path("/var/tmp/copilot-secrets-test").exists()


def no_address(world: World) -> list[str]:
    del world.environ["VAULT_ADDR"]
    return []


def no_url(world: World) -> list[str]:
    world.environ["VAULT_ADDR"] = world.bao.address.removeprefix("http://")
    return []


def no_certificates(world: World) -> list[str]:
    world.environ["VAULT_CACERT"] = str(world.disk / "ca.pem")
    return []


@pytest.mark.parametrize(
    ("prepare", "reason", "sentence", "hint"),
    [
        (two_of_one_name, "BadFlag", "gives app twice", "name of its own"),
        (no_address, "BadConfig", "no address of Vault is known", "Set VAULT_ADDR"),
        (no_url, "BadConfig", "127.0.0.1:[0-9]+, is no URL", "VAULT_ADDR to http"),
        (no_certificates, "BadConfig", "ca.pem, cannot be read", "VAULT_CACERT"),
    ],
)
def test_what_is_wrong_before_a_manager_is_asked_is_told_at_once(
    world: World, prepare: Callable[[World], list[str]], reason: str, sentence: str, hint: str
) -> None:
    failed = world.fails(*prepare(world))
    assert (failed["reason"], failed["code"]) == (reason, "2")
    assert re.search(sentence, failed["message"]), failed["message"]
    assert re.search(hint, failed["message"]), failed["message"]


def test_a_sealed_vault_says_so(world: World) -> None:
    with openbao() as sealed:
        sealed.api("PUT", "sys/seal")
        world.environ |= {"VAULT_ADDR": sealed.address, "VAULT_TOKEN": sealed.root}
        failed = world.fails()
    assert (failed["reason"], failed["code"]) == ("VaultSealed", "24")
    assert "nseal" in failed["message"]


@pytest.fixture
def busy() -> Iterator[HttpServer]:
    """A manager that always asks to come back later."""
    server = HttpServer(lambda _: Answer(429, b'{"errors": ["later"]}'))
    with server.serving():
        yield server


def test_throttling_is_borne_until_the_deadline(world: World, busy: HttpServer) -> None:
    world.environ |= {"VAULT_ADDR": busy.url, "VAULT_TOKEN": "any"}
    failed = world.fails("--timeout", "3s")
    assert failed["reason"] in {"DeadlineExceeded", "SecretThrottled"}
    assert failed["code"] in {"24", "26"}
    assert len(busy.requests) > 1


def test_a_wait_for_a_manager_ends_with_sigterm(world: World, busy: HttpServer) -> None:
    world.environ |= {"VAULT_ADDR": busy.url, "VAULT_TOKEN": "any"}
    process = subprocess.Popen(world.argv(), env=world.environ, stderr=subprocess.DEVNULL)
    until(lambda: len(busy.requests) > 0, "the manager is not asked")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert [path for path in world.memory.rglob("*") if path.is_file()] == []


def test_when_the_data_cannot_be_had_the_secrets_go_again(world: World) -> None:
    (world.disk / "inputs.pb").unlink()
    failed = world.fails("--secret", f"X=vault://{world.mount}/app#token")
    assert failed["code"] == "11"


def test_a_second_run_delivers_again_and_loses_nothing(world: World) -> None:
    for _ in range(2):
        done = subprocess.run(world.argv(), env=world.environ, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert (world.memory / "secrets" / "good").read_text() == VALUE
        assert (world.memory / "control" / "READY").exists()
