"""``copilot secrets`` as a person uses it, and what a whole run with secrets leaves behind."""

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

from copilot.testing.secret_servers.azure import TENANT
from copilot.testing.secret_servers.whole_task import COPILOT, leases, lends_accounts, spellings

if TYPE_CHECKING:
    from copilot.testing.secret_servers.azure import AzureKeyVault
    from copilot.testing.secret_servers.openbao import OpenBao
    from copilot.testing.servers.postgresql import PostgresServer

VALUE = 'Gr4n1te/"Fäl?con+&=='
FIELD = "0bsidian-Heron-7731"


@pytest.fixture
def environ(bao: OpenBao) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"VAULT_ADDR": bao.address, "VAULT_TOKEN": bao.root}


@pytest.fixture
def kv(bao: OpenBao) -> str:
    mount = bao.mount("kv", options={"version": "2"})
    bao.api("PUT", f"{mount}/data/app", {"data": {"token": VALUE, "nested": {"password": FIELD}}})
    return mount


def copilot(environ: Mapping[str, str], *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([COPILOT, *arguments], env=dict(environ), capture_output=True, timeout=60, check=False, cwd=cwd)


def test_get_prints_just_the_value_or_writes_a_file(environ: dict[str, str], kv: str, memory: Path, tmp_path: Path) -> None:
    ended = copilot(environ, "secrets", "get", f"vault://{kv}/app#token")
    assert (ended.returncode, ended.stdout) == (0, VALUE.encode())
    assert copilot(environ, "secrets", "get", f"vault://{kv}/app#token", "--to", f"{memory}/t:0440").returncode == 0
    assert (memory / "t").read_text() == VALUE
    assert (memory / "t").stat().st_mode & 0o777 == 0o440
    refused = copilot(environ, "secrets", "get", f"vault://{kv}/app#token", "--to", f"{tmp_path}/t")
    assert refused.returncode == 24
    assert b"SecretNotOnTmpfs" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_render_writes_a_file_from_several_secrets(environ: dict[str, str], kv: str, memory: Path, tmp_path: Path) -> None:
    template = tmp_path / "app.conf.j2"
    template.write_text(f'a={{{{ app.nested.password }}}}\nb={{{{ secret("vault://{kv}/app#token")|tojson }}}}\n')
    arguments = ("secrets", "render", str(template), "--name", f"app=vault://{kv}/app")
    assert copilot(environ, *arguments).stdout.splitlines()[0] == f"a={FIELD}".encode()
    assert copilot(environ, *arguments, "--to", f"{memory}/app.conf").returncode == 0
    assert f"a={FIELD}\n" in (memory / "app.conf").read_text()
    template.write_text("{{ app.nope }}")
    failed = copilot(environ, *arguments)
    assert failed.returncode == 24
    assert b"line 1" in failed.stderr


def test_exec_becomes_the_command_and_passes_its_exit_code(environ: dict[str, str], kv: str) -> None:
    script = "import os; print(os.environ['A'], os.environ['B'], os.environ['PLAIN']); raise SystemExit(7)"
    variables = environ | {"A": f"vault://{kv}/app#token", "PLAIN": "s3://bucket/key"}
    arguments = ("secrets", "exec", "--env", f"B=vault://{kv}/app#/nested/password", "--", sys.executable, "-c", script)
    ended = copilot(variables, *arguments)
    assert ended.stdout.decode().strip() == f"{VALUE} {FIELD} s3://bucket/key"
    assert ended.returncode == 7
    missing = copilot(environ, "secrets", "exec", "--env", f"B=vault://{kv}/nope#x", "--", sys.executable, "-c", script)
    assert missing.returncode == 24
    assert missing.stdout == b""


def test_exec_leaves_no_trace_of_itself_in_the_command(environ: dict[str, str]) -> None:
    # What is ignored and blocked, and which files are open, as the command of a plain shell would have it.
    command = ("sh", "-c", "grep -E '^Sig(Ign|Blk|Cgt)' /proc/self/status; ls /proc/self/fd")
    plain = subprocess.run(command, env=environ, capture_output=True, check=True)
    ended = copilot(environ | {"T": "t0k3n"}, "secrets", "exec", "--env", "X=env://T", "--", *command)
    assert ended.stdout == plain.stdout


def test_exec_with_a_lease_stays_to_give_it_back(environ: dict[str, str], bao: OpenBao, postgres: PostgresServer) -> None:
    lent = lends_accounts(bao, postgres)
    script = (
        "import os, psycopg; e = os.environ; "
        f"at = dict(host={postgres.host!r}, port={postgres.port}, dbname='postgres'); "
        "psycopg.connect(**at, user=e['U'], password=e['P']).close(); "
        "print(e['U'], e['P']); raise SystemExit(5)"
    )
    pairs = ("--env", f"U=vault://{lent}#username", "--env", f"P=vault://{lent}#password")
    ended = copilot(environ, "secrets", "exec", *pairs, "--", sys.executable, "-c", script)
    assert ended.returncode == 5, ended.stderr
    user, password = ended.stdout.decode().split()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"postgresql://{user}:{password}@{postgres.host}:{postgres.port}/postgres")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_exec_that_is_asked_to_stop_gives_the_lease_back(
    environ: dict[str, str], bao: OpenBao, postgres: PostgresServer, number: signal.Signals
) -> None:
    lent = lends_accounts(bao, postgres)
    argv = [COPILOT, "secrets", "exec", "--env", f"P=vault://{lent}#password", "--", "sh", "-c", "echo on; exec sleep 60"]
    process = subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    assert len(leases(bao, lent)) == 1
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert b"failed" not in told
    assert leases(bao, lent) == []


def test_what_cannot_be_given_back_is_a_warning_and_the_command_counts(
    environ: dict[str, str], bao: OpenBao, postgres: PostgresServer
) -> None:
    lent = lends_accounts(bao, postgres)
    environ["VAULT_TOKEN"] = bao.token(bao.policy(f'path "{lent}" {{ capabilities = ["read"] }}'))
    ended = copilot(environ, "secrets", "exec", "--env", f"P=vault://{lent}#password", "--", "sh", "-c", "exit 7")
    assert ended.returncode == 7
    assert b"the lease stays" in ended.stderr
    checked = copilot(environ, "secrets", "check", f"vault://{lent}#password")
    assert checked.returncode == 0
    assert b"yes  vault://" in checked.stdout
    assert checked.stderr.count(b"the lease stays") == 1


def test_exec_of_what_is_no_command_leaves_no_file_and_no_lease(
    environ: dict[str, str], bao: OpenBao, postgres: PostgresServer, memory: Path
) -> None:
    lent = lends_accounts(bao, postgres)
    file = ("--file", f"{memory}/t=env://T")
    for more in ((), ("--env", f"P=vault://{lent}#password")):
        ended = copilot(environ | {"T": VALUE}, "secrets", "exec", *file, *more, "--", "no-such-command")
        assert ended.returncode == 2
        assert b"no-such-command" in ended.stderr
        assert list(memory.iterdir()) == []
    assert leases(bao, lent) == []


def test_a_name_given_twice_is_an_error(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "t").write_text("{{ A }}")
    variables = environ | {"T": "one", "U": "two"}
    for arguments in (("exec", "--env", "A=env://T", "--env", "A=env://U", "--", "env"),
                      ("render", str(tmp_path / "t"), "--name", "A=env://T", "--name", "A=env://U")):  # fmt: skip
        ended = copilot(variables, "secrets", *arguments)
        assert (ended.returncode, ended.stdout) == (24, b"")
        assert b"gives A twice" in ended.stderr
    assert copilot(variables, "secrets", *arguments[:2], "--name", "A=env://T", "--name", "A=env://T").stdout == b"one"


def test_a_client_library_says_nothing_beside_our_own_sentence(environ: dict[str, str], key_vault: AzureKeyVault) -> None:
    azure = {
        "AZURE_KEYVAULT_URL": key_vault.url,
        "AZURE_AUTHORITY_HOST": key_vault.url,
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": key_vault.client_id,
        "AZURE_CLIENT_SECRET": "wrong",
        "COPILOT_AZURE_CA_FILE": str(key_vault.ca_file),
        "COPILOT_AZURE_VERIFY_CHALLENGE": "false",
    }
    ended = copilot(environ | azure, "secrets", "get", "azure://k")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(b"error: there are no usable Azure credentials")
    assert ended.returncode == 24


def test_check_says_who_we_are_and_what_we_may_read_without_a_value(environ: dict[str, str], kv: str) -> None:
    references = (f"vault://{kv}/app#token", f"vault://{kv}/nope", "env://NOT_SET")
    ended = copilot(environ, "secrets", "check", *references)
    text = ended.stdout.decode()
    assert ended.returncode == 24
    assert "vault: token (policies: root)" in text
    assert f"yes  vault://{kv}/app#token  {len(VALUE.encode())} bytes, version 1" in text
    assert text.count("no   ") == 2
    assert VALUE not in text
    # An identity that cannot be told takes nothing away from what can be read.
    unknown = copilot({**environ, "VAULT_ADDR": "nowhere"}, "secrets", "check", "vault://kv/app", "env://HOME")
    assert b"vault: unknown: the address of Vault, nowhere, is no URL" in unknown.stdout
    assert b"yes  env://HOME" in unknown.stdout
    facts = json.loads(copilot(environ, "secrets", "check", "--json", references[0]).stdout)
    assert facts["secrets"][0]["readable"] is True


CORE_SCRIPT = """
import os, resource, sys
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
from copilot.secrets.hardening import forbid_core_dumps
assert forbid_core_dumps()
import ctypes
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
os.abort()
"""


def test_a_process_with_secrets_leaves_no_core_file(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", CORE_SCRIPT], cwd=tmp_path, capture_output=True, check=False)
    assert ended.returncode == -6
    assert ended.stdout == b"0\n"  # PR_GET_DUMPABLE: the kernel writes none, wherever core files go
    assert list(tmp_path.iterdir()) == []


def test_nothing_a_run_leaves_behind_holds_a_secret(
    environ: dict[str, str], bao: OpenBao, kv: str, memory: Path, tmp_path: Path
) -> None:
    log, commands = tmp_path / "copilot.log", memory / "cmdlines"
    # The command looks at every process's arguments while it has the secrets, as anybody on the node can.
    script = (
        "import os, pathlib, sys\n"
        f"with open({str(commands)!r}, 'ab') as out:\n"
        "    for each in pathlib.Path('/proc').glob('[0-9]*/cmdline'):\n"
        "        try: out.write(each.read_bytes() + b'\\n')\n"
        "        except OSError: pass\n"
        "assert os.environ['A'] and os.environ['B']\n"
    )
    # The root token stands on the test server's own command line, so another is used.
    token = bao.token(bao.policy(f'path "{kv}/*" {{ capabilities = ["read"] }}'))
    base = environ | {"VAULT_TOKEN": token}
    debug = ("--log-level", "debug", "--log-file", str(log))
    template = tmp_path / "t.j2"
    template.write_text("{{ app.token[app.nested.password] }} {{ app.token|int(app) }}")
    runs = [
        copilot(base | {"A": f"vault://{kv}/app#token"}, *debug, "secrets", "exec", "--env", f"B=vault://{kv}/app",
                "--", sys.executable, "-c", script),
        copilot(base, *debug, "secrets", "check", f"vault://{kv}/app#token", f"vault://{kv}/app#{'nope'}"),
        copilot(base, *debug, "secrets", "render", str(template), "--name", f"app=vault://{kv}/app"),
        copilot(base, *debug, "secrets", "get", f"vault://{kv}/app#token", "--to", f"{tmp_path}/disk"),
        copilot(base, *debug, "secrets", "get", f"vault://{kv}/app#/token/x"),
        copilot(base | {"VAULT_TOKEN": FIELD}, *debug, "secrets", "get", f"vault://{kv}/app#token"),
    ]  # fmt: skip
    assert [run.returncode for run in runs] == [0, 24, 24, 24, 24, 24]
    left = b"\n".join(
        [run.stdout + run.stderr for run in runs]
        + [path.read_bytes() for root in (tmp_path, memory) for path in root.rglob("*") if path.is_file()]
        + [str(path).encode() for path in tmp_path.rglob("*")]
    )
    assert b"secret.resolved" in left  # the log is there, at debug level
    assert commands.stat().st_size > 0
    for secret in (VALUE, FIELD, token):
        for spelling in spellings(secret):
            assert spelling not in left, spelling
