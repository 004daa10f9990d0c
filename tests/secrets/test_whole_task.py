"""A whole task with secrets of every manager, init, exec and sidecar as processes: what it gets, and what is left of it."""

from __future__ import annotations

import base64
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
import pytest

from copilot.core import idl
from copilot.core.idl_security import Secret, SecurityContext
from copilot.testing.kubernetes_secrets import kubernetes_secrets_api
from copilot.testing.secret_servers.whole_task import (
    PLAIN,
    Managers,
    Onlooker,
    Pod,
    every_manager,
    fresh_value,
    killed_at_the_end,
    leases,
    spellings,
    until,
)

if TYPE_CHECKING:
    from copilot.testing.secret_servers.azure import AzureKeyVault
    from copilot.testing.secret_servers.google import GoogleSecretManager
    from copilot.testing.secret_servers.openbao import OpenBao
    from copilot.testing.servers.postgresql import PostgresServer
    from copilot.testing.servers.s3 import S3Server

INTEGER = idl.LiteralType(simple=idl.SimpleType.INTEGER)
BLOB = idl.LiteralType(blob=idl.BlobType())

TELLS_EVERYTHING = """
import base64, json, os, pathlib, sys, urllib.parse
out = pathlib.Path(os.environ["OUT"])
known = [path.read_text() for path in sorted(pathlib.Path(os.environ["SECRETS"]).rglob("*")) if path.is_file()]
known += [os.environ[name] for name in os.environ if name.startswith("S_")] + [os.environ["_UNION_FLYTE_KEY"]]
for value in known:
    print("raw", value, flush=True)
    print("b64", base64.b64encode(value.encode()).decode(), base64.b64encode(b"x:" + value.encode()).decode())
    print("url", urllib.parse.quote(value), file=sys.stderr)
    print("json", json.dumps([value]), file=sys.stderr)
print("known", len(known))
"""


@pytest.fixture
def managers(  # noqa: PLR0917 - one a server
    tmp_path: Path,
    bao: OpenBao,
    postgres: PostgresServer,
    moto_server: S3Server,
    google: GoogleSecretManager,
    key_vault: AzureKeyVault,
) -> Iterator[Managers]:
    home = tmp_path / "elsewhere"
    home.mkdir()
    with kubernetes_secrets_api() as kubernetes:
        yield every_manager(
            home, bao=bao, postgres=postgres, moto=moto_server, google=google, vault=key_vault, kubernetes=kubernetes
        )


@pytest.fixture
def pod(tmp_path: Path, memory: Path, managers: Managers, moto_server: S3Server) -> Iterator[Pod]:
    made = Pod(tmp_path / "pod", memory, moto_server, moto_server.new_bucket(), {**PLAIN, **managers.environ})
    with killed_at_the_end(made):
        yield made


def asked(pod: Pod, managers: Managers) -> list[str]:
    """Every reference as a file and as a variable, a template of two, and a secret of Flyte's."""
    flags = []
    for name, ref in managers.refs.items():
        flags += ["--secret", f"{pod.secrets}/{name}:0444={ref}", "--secret", f"S_{name.upper()}={ref}"]
    template = pod.disk / "both.j2"
    template.write_text('{{ kv }}:{{ secret("env://PLAIN_SECRET") }}')
    flags += ["--secrets-template", f"{pod.secrets}/both={template}", "--secrets-name", f"kv={managers.refs['kv']}"]
    flyte = SecurityContext(secrets=[Secret(group="FLYTE", key="KEY", mount_requirement=Secret.ENV_VAR)])
    flags += ["--secrets-flyte", base64.b64encode(flyte.SerializeToString()).decode(), "--secrets-platform", "manager=global"]
    return flags


def assert_nothing_shows(left: bytes, managers: Managers, *further: str) -> None:
    for secret in (*managers.values.values(), *managers.credentials, *further):
        for spelling in spellings(secret):
            assert spelling not in left, f"{spelling!r} at {left[max(0, left.find(spelling) - 200) : left.find(spelling)]!r}"


def test_a_whole_task_gets_its_secrets_and_leaves_none_behind(pod: Pod, managers: Managers, bao: OpenBao) -> None:
    pod.environ = {**pod.environ, "FLYTE_SECRET_FLYTE_KEY": managers.values["env"] + "-flyte"}
    onlooker = Onlooker()
    onlooker.start()
    pod.start_sidecar("--leak-guard", "refuse", n=INTEGER, stdout=BLOB, stderr=BLOB)
    assert pod.init(*asked(pod, managers)) == 0
    for name, value in managers.values.items():
        assert (pod.secrets / name).read_text() == value
    assert (pod.secrets / "both").read_text() == f"{managers.values['kv']}:{managers.values['env']}"
    lent = (pod.secrets / "lent").read_text()
    assert len(leases(bao, managers.lent)) == 1

    same = "assert os.environ['S_AWS'] == pathlib.Path(os.environ['SECRETS'], 'aws').read_text()"
    script = TELLS_EVERYTHING + f"(out / 'n').write_text('7'); {same}"
    extra = managers.values["file"] + "-of-exec"
    ended = pod.main(script, "--tee", str(pod.outputs), "--env", "S_OWN=env://OWN", OWN=extra)
    assert ended == 0, pod.told[-1]
    assert pod.end() == 0, pod.told[-1]
    seen = onlooker.stop()

    stored = pod.stored()
    assert idl.LiteralMap.FromString(stored["outputs.pb"]).literals["n"].scalar.primitive.integer == 7
    assert b"known 21" in stored["raw/stdout"]
    assert stored["raw/stdout"].count(b"raw ***") == 21
    assert b'json ["***"]' in stored["raw/stderr"]
    assert b'"event": "secret.resolved"' in (pod.disk / "init.log").read_bytes()  # the logs are there, at debug level
    assert b"copilot\0sidecar" in seen
    until(lambda: leases(bao, managers.lent) == [], "something stays lent")
    assert not (pod.control / "secrets").exists()
    left = pod.left(pod.control / "environment")
    assert_nothing_shows(left + seen, managers, lent, extra, managers.values["env"] + "-flyte")


def test_a_task_that_fails_while_telling_its_secrets_leaves_none_behind(pod: Pod, managers: Managers, bao: OpenBao) -> None:
    pod.environ = {**pod.environ, "FLYTE_SECRET_FLYTE_KEY": managers.values["env"] + "-flyte"}
    pod.start_sidecar("--leak-guard", "refuse", n=INTEGER)
    assert pod.init(*asked(pod, managers)) == 0
    told_by_task = pod.outputs / "dump.json"
    script = TELLS_EVERYTHING + (
        "(out / 'dump.json').write_text(json.dumps(known)); (out / '_ERROR').write_text('no: ' + ' '.join(known)); sys.exit(3)"
    )
    assert pod.main(script, "--stdout", f"{pod.disk}/stdout", "--stderr", f"{pod.disk}/stderr") == 3
    assert pod.end() == 23
    stored = pod.stored()
    message = idl.ErrorDocument.FromString(stored["error.pb"]).error.message
    assert "no: ***" in message
    assert "dump.json" not in "".join(stored)
    assert any(event["event"] == "secret.leaked" for event in pod.events("sidecar"))
    until(lambda: leases(bao, managers.lent) == [], "something stays lent")
    left = pod.left(pod.control / "environment", told_by_task, pod.outputs / "_ERROR")
    assert_nothing_shows(left, managers, (pod.secrets / "lent").read_text())


def test_an_output_that_holds_a_secret_is_refused_or_warned_of(pod: Pod, managers: Managers) -> None:
    pod.start_sidecar("--leak-guard", "refuse", report=BLOB)
    assert pod.init("--secret", f"KEY={managers.refs['azure']}") == 0
    assert pod.main("import os, pathlib; pathlib.Path(os.environ['OUT'], 'report').write_text('key=' + os.environ['KEY'])") == 0
    assert pod.end() == 24
    stored = pod.stored()
    assert "outputs.pb" not in stored
    assert "raw/report" not in stored
    error = idl.ErrorDocument.FromString(stored["error.pb"]).error
    assert error.message.startswith("SecretLeaked: the output")
    assert managers.refs["azure"] in error.message
    assert "--leak-guard=warn" in error.message
    assert_nothing_shows(pod.left(pod.control / "environment", pod.outputs / "report"), managers)


def test_a_crash_leaves_no_core_file_and_a_second_start_reads_anew(pod: Pod, managers: Managers, bao: OpenBao) -> None:
    pod.start_sidecar(n=INTEGER)
    assert pod.init("--secret", f"{pod.secrets}/kv={managers.refs['kv']}", "--secret", f"PW={managers.refs['lent']}") == 0
    until(lambda: any(event["event"] == "secrets.kept" for event in pod.events("sidecar")), "nothing was taken over")
    assert managers.values["kv"] not in (pod.control / "secrets").read_text()
    assert pod.sidecar is not None
    pod.sidecar.send_signal(signal.SIGABRT)
    assert pod.end() == -signal.SIGABRT
    assert list(pod.cwd.iterdir()) == []

    changed = managers.values["kv"] + "-2"
    bao.api("PUT", f"{managers.mount}/data/app", {"data": {"token": changed}})
    pod.start_sidecar(n=INTEGER)
    until(lambda: (pod.secrets / "kv").read_text() == changed, "the file holds the old value")
    assert len(leases(bao, managers.lent)) == 1  # the variable's own account, and no other
    assert pod.main("import os, pathlib; pathlib.Path(os.environ['OUT'], 'n').write_text('1')") == 0
    assert pod.end() == 0
    assert leases(bao, managers.lent) == []
    assert_nothing_shows(pod.left(pod.control / "environment"), managers, changed)


def test_leases_are_given_back_however_the_task_ends(
    pod: Pod, managers: Managers, bao: OpenBao, postgres: PostgresServer
) -> None:
    pod.start_sidecar("--secrets")
    where = f"vault://{managers.lent}"
    assert pod.init("--secret", f"U={where}#username", "--secret", f"P={where}#password") == 0
    script = (
        "import os, psycopg; e = os.environ; "
        f"at = dict(host={postgres.host!r}, port={postgres.port}, dbname='postgres'); "
        "psycopg.connect(**at, user=e['U'], password=e['P']).close(); "
        "print(e['U'], e['P'], flush=True); os.kill(os.getpid(), 9)"
    )
    assert pod.main(script) == 137, pod.told
    user, password = pod.told[-2].decode().split()
    pod.end()
    until(lambda: leases(bao, managers.lent) == [], "something stays lent")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"postgresql://{user}:{password}@{postgres.host}:{postgres.port}/postgres").close()


@pytest.mark.parametrize("told", [(signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM)])
def test_leases_are_given_back_when_the_sidecar_is_told_to_give_up(
    pod: Pod, managers: Managers, bao: OpenBao, told: tuple[signal.Signals, ...]
) -> None:
    pod.start_sidecar(n=INTEGER)
    assert pod.init("--secret", f"P={managers.refs['lent']}") == 0
    assert len(leases(bao, managers.lent)) == 1
    assert pod.sidecar is not None
    for number in told:
        pod.sidecar.send_signal(number)
    assert pod.end() in {130, 143, 25}
    until(lambda: leases(bao, managers.lent) == [], "something stays lent")
    assert not (pod.control / "secrets").exists()
    assert "outputs.pb" not in pod.stored()


def test_the_search_finds_what_is_there() -> None:
    managers = Managers({}, {}, {"one": fresh_value()}, [fresh_value()], "", "")
    assert_nothing_shows(b"nothing at all", managers)
    for secret in (managers.values["one"], managers.credentials[0]):
        for shown in (secret.encode(), base64.b64encode(f"user:{secret}".encode()), quote(secret).encode()):
            with pytest.raises(AssertionError):
                assert_nothing_shows(b"before " + shown + b" after", managers)
