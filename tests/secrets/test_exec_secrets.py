"""``copilot exec`` gives its command secrets: resolved, nothing on disk, and nobody between where nobody is needed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.core.secret_refs import MANAGER_SCHEMES, is_ref
from copilot.testing.secret_servers.http import Answer, HttpServer
from copilot.testing.secret_servers.whole_task import COPILOT, PLAIN, fresh_value, leases, lends_accounts, until, was_renewed
from copilot.wrapper.install import install
from copilot.wrapper.secrets import is_reference

if TYPE_CHECKING:
    from copilot.testing.secret_servers.openbao import OpenBao
    from copilot.testing.servers.postgresql import PostgresServer

VALUE = fresh_value()


def run(environ: Mapping[str, str], *arguments: str, program: str = COPILOT) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program, "exec", *arguments], env={**PLAIN, **environ}, capture_output=True, timeout=60, check=False)


@given(st.sampled_from([*MANAGER_SCHEMES, "s3", "file", "env", "https", "secret+file", "secret+env"]), st.text(max_size=8))
def test_the_wrapper_knows_a_reference_when_it_sees_one(scheme: str, rest: str) -> None:
    text = f"{scheme}://{rest}"
    assert is_reference(text) == is_ref(text)
    assert is_reference(f"{scheme}://https://x") == is_ref(f"{scheme}://https://x")


@given(st.text(st.sampled_from("aZ9-_+ä:/ "), max_size=6), st.sampled_from(["", ":", "://", "://x"]))
def test_the_wrapper_takes_no_other_word_for_an_explicit_reference(scheme: str, rest: str) -> None:
    text = f"secret+{scheme}{rest}"
    assert is_reference(text) == is_ref(text)


def test_references_become_values_and_the_process_becomes_the_command(bao: OpenBao) -> None:
    mount = bao.mount("kv", options={"version": "2"})
    bao.api("PUT", f"{mount}/data/app", {"data": {"token": VALUE}})
    environ = {"VAULT_ADDR": bao.address, "VAULT_TOKEN": bao.root, "A": f"vault://{mount}/app#token", "B": "s3://b/k"}
    script = "import os, sys; print(os.getpid()); sys.stdout.write(os.environ['A'] + os.environ['B'] + os.environ['C'])"
    argv = [COPILOT, "exec", "--env", "C=secret+env://B", "--", sys.executable, "-c", script]
    process = subprocess.Popen(argv, env={**PLAIN, **environ}, stdout=subprocess.PIPE)
    out, _ = process.communicate(timeout=60)
    assert out.decode() == f"{process.pid}\n{VALUE}s3://b/ks3://b/k"
    assert process.returncode == 0


def test_the_command_is_as_a_plain_shell_would_have_started_it() -> None:
    command = ("sh", "-c", "grep -E '^Sig(Ign|Blk|Cgt)' /proc/self/status; ls /proc/self/fd")
    plain = subprocess.run(command, env=PLAIN, capture_output=True, check=True)
    assert run({"T": "t0k3n"}, "--env", "X=env://T", "--", *command).stdout == plain.stdout


def test_without_a_reference_nothing_of_secrets_is_loaded(tmp_path: Path) -> None:
    argv = [sys.executable, "-X", "importtime", "-m", "copilot", "exec", "--control-dir", str(tmp_path), "--", "true"]
    told = subprocess.run(argv, env={**PLAIN, "A": "s3://b/k"}, capture_output=True, text=True, check=True).stderr
    loaded = {line.split("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}
    ours = {name for name in loaded if name.startswith("copilot")}
    assert "copilot.wrapper.secrets" in ours
    assert not {name for name in ours if name.startswith(("copilot.secrets", "copilot.core", "copilot.cli", "copilot.engine"))}


def test_a_reference_that_cannot_be_had_ends_the_task_before_it_begins(tmp_path: Path) -> None:
    ended = run({"A": "secret+env://NOT_THERE"}, "--control-dir", str(tmp_path), "--", "touch", str(tmp_path / "began"))
    assert ended.returncode == 24
    assert ended.stderr.decode().count("NOT_THERE") == 1
    assert b"[SecretNotFound]" in ended.stderr
    assert json.loads((tmp_path / "exitcode").read_text())["code"] == 24
    assert not (tmp_path / "began").exists()
    assert run({}, "--env", "A", "--", "true").returncode == 2
    twice = run({"T": "one", "U": "two"}, "--env", "A=env://T", "--env", "A=env://U", "--", "true")
    assert twice.returncode == 2
    assert b"gives A twice" in twice.stderr
    assert run({"GREETING": "secret+sauce"}, "--", "true").returncode == 0


def test_an_account_is_given_back_when_the_command_has_ended(bao: OpenBao, postgres: PostgresServer, tmp_path: Path) -> None:
    lent = lends_accounts(bao, postgres)
    environ = {"VAULT_ADDR": bao.address, "VAULT_TOKEN": bao.root}
    script = (
        "import os, psycopg; e = os.environ; "
        f"at = dict(host={postgres.host!r}, port={postgres.port}, dbname='postgres'); "
        "psycopg.connect(**at, user=e['U'], password=e['P']).close(); print(e['U'], e['P']); raise SystemExit(5)"
    )
    pairs = ("--env", f"U=vault://{lent}#username", "--env", f"P=vault://{lent}#password")
    ended = run(environ, *pairs, "--control-dir", str(tmp_path), "--", sys.executable, "-c", script)
    assert ended.returncode == 5, ended.stderr
    user, password = ended.stdout.decode().split()
    assert leases(bao, lent) == []
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"postgresql://{user}:{password}@{postgres.host}:{postgres.port}/postgres").close()


@pytest.mark.parametrize("program", [("exec",), ("secrets", "exec")])
def test_an_account_goes_on_being_renewed_while_the_command_runs(
    bao: OpenBao, postgres: PostgresServer, program: tuple[str, ...]
) -> None:
    lent = lends_accounts(bao, postgres, ttl="10s")
    environ = {**PLAIN, "VAULT_ADDR": bao.address, "VAULT_TOKEN": bao.root}
    argv = [COPILOT, *program, "--env", f"P=vault://{lent}#password", "--", "sh", "-c", "echo on; read word"]
    process = subprocess.Popen(argv, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    (lease,) = leases(bao, lent)
    until(lambda: was_renewed(bao, f"{lent}/{lease}"), "nobody renews it")
    process.communicate(b"enough\n", timeout=60)
    assert process.returncode == 0
    assert leases(bao, lent) == []


def test_sigterm_ends_the_wait_for_a_manager(tmp_path: Path) -> None:
    server = HttpServer(lambda _: Answer(429, b'{"errors": ["later"]}'))
    with server.serving():
        environ = {**PLAIN, "VAULT_ADDR": server.url, "VAULT_TOKEN": "any", "A": "vault://kv/app#token"}
        argv = [COPILOT, "exec", "--control-dir", str(tmp_path), "--", "true"]
        process = subprocess.Popen(argv, env=environ, stderr=subprocess.DEVNULL)
        until(lambda: len(server.requests) > 0, "the manager is not asked")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
    assert json.loads((tmp_path / "exitcode").read_text())["code"] == process.returncode


def test_what_is_kept_of_the_output_is_masked_and_the_rest_is_as_it_was(tmp_path: Path) -> None:
    script = "import os, sys; sys.stdout.write('a' * 70000 + os.environ['A'] + 'z' * 70000 + os.environ['A'][:-1]); sys.exit(7)"
    environ = {"T": VALUE, "A": "secret+env://T"}
    ended = run(environ, "--tee", str(tmp_path), "--", sys.executable, "-c", script)
    expected = b"a" * 70000 + b"***" + b"z" * 70000 + VALUE.encode()[:-1]
    assert ended.returncode == 7
    assert ended.stdout == (tmp_path / "stdout").read_bytes() == expected
    alone = run(environ, "--stdout", f"{tmp_path}/alone", "--", sys.executable, "-c", script)
    assert (alone.stdout, (tmp_path / "alone").read_bytes()) == (b"", expected)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("installed")
    install(directory)
    return str(directory / "copilot")


def test_the_installed_wrapper_takes_what_init_delivered_and_refuses_references(
    installed: str, memory: Path, tmp_path: Path
) -> None:
    environ = {**PLAIN, "T": VALUE, "COPILOT_CONTROL_DIR": str(memory)}
    init = [COPILOT, "init", "--secret", "X=env://T", "--secret", f"{memory}/s/file=env://T"]
    subprocess.run(init, env=environ, check=True, capture_output=True)
    script = f'echo "$X"; cat {memory}/s/file'
    ended = run({"COPILOT_CONTROL_DIR": str(memory)}, "--tee", str(tmp_path), "--", "sh", "-c", script, program=installed)
    assert (ended.returncode, ended.stdout) == (0, b"***\n***")
    refused = run({"A": "aws://prod/db", "COPILOT_CONTROL_DIR": str(memory)}, "--", "true", program=installed)
    assert refused.returncode == 24
    assert b"copilot init --secret" in refused.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_variables_that_the_task_may_not_read_are_an_error_with_a_way_out(memory: Path) -> None:
    memory.chmod(0o777)
    environ = {**PLAIN, "T": VALUE, "COPILOT_CONTROL_DIR": str(memory)}
    subprocess.run([COPILOT, "init", "--secret", "X=env://T"], env=environ, check=True, capture_output=True)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    argv = [*nobody, COPILOT, "exec", "--", "sh", "-c", 'test "$X" = "$T"']
    denied = subprocess.run(argv, env=environ, capture_output=True, check=False)
    assert denied.returncode == 22
    assert b"--secrets-env-mode" in denied.stderr
    subprocess.run(
        [COPILOT, "init", "--secret", "X=env://T", "--secrets-env-mode", "0444"], env=environ, check=True, capture_output=True
    )
    assert subprocess.run(argv, env=environ, check=False).returncode == 0
