"""A pod's secrets: delivered whole by init, kept and given back by the sidecar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from flyteidl2.core.security_pb2 import Secret

from copilot.core.errors import LocalIOError, NotTmpfs, SecretNotFound
from copilot.core.flyte_secrets import FlyteSecrets
from copilot.core.secret_refs import parse_ref
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.secrets.custody import KeepRequest
from copilot.secrets.files import SecretFile
from copilot.secrets.inject import parse_delivery
from copilot.secrets.keep import keep_secrets
from copilot.secrets.render import Template
from copilot.secrets.resolver import Resolver, open_resolver
from copilot.secrets.run import SecretRequest, deliver_secrets
from copilot.secrets.settings import SecretSettings, VaultSettings
from copilot.testing.recording import RecordingLog

if TYPE_CHECKING:
    from copilot.testing.secret_servers.openbao import OpenBao
    from copilot.testing.servers.postgresql import PostgresServer

CLOCK = SystemClock()


@pytest.fixture
def accounts(bao: OpenBao, postgres: PostgresServer) -> str:
    """A path that lends database accounts."""
    mount = bao.mount("database")
    config = {
        "plugin_name": "postgresql-database-plugin",
        "allowed_roles": "*",
        "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{postgres.host}:{postgres.port}/postgres?sslmode=disable",
        "username": postgres.user,
        "password": postgres.password,
    }
    bao.api("POST", f"{mount}/config/pg", config)
    make = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}'"
    bao.api("POST", f"{mount}/roles/app", {"db_name": "pg", "creation_statements": [make], "default_ttl": "60s"})
    return f"{mount}/creds/app"


def resolver_for(bao: OpenBao, log: RecordingLog) -> Resolver:
    settings = SecretSettings(vault=VaultSettings(address=bao.address, token=bao.root), environ={"FLYTE_SECRET_G_K": "flytes"})
    return open_resolver(settings, clock=CLOCK, log=log)


def leases(bao: OpenBao, accounts: str) -> int:
    answer = bao.api("GET", f"sys/leases/lookup/{accounts}?list=true") if lent(bao, accounts) else {"data": {"keys": []}}
    return len(answer["data"]["keys"])


def lent(bao: OpenBao, accounts: str) -> bool:
    try:
        bao.api("GET", f"sys/leases/lookup/{accounts}?list=true")
    except AssertionError:  # 404: there is none
        return False
    return True


def test_everything_is_delivered_in_one_run_and_given_back_by_the_sidecar(
    bao: OpenBao, accounts: str, postgres: PostgresServer, memory: Path, log: RecordingLog
) -> None:
    cancel = Token(CLOCK, timeout_s=60)
    conf = Template(
        "pg", "{{ pg.username }}:{{ pg.password }}", SecretFile(memory / "pg"), {"pg": parse_ref(f"vault://{accounts}")}
    )
    request = SecretRequest(
        deliveries=[parse_delivery(f"{memory}/user=vault://{accounts}#username")],
        templates=[conf],
        flyte=[Secret(group="g", key="k", mount_requirement=Secret.ENV_VAR)],
        platform=FlyteSecrets(manager="global"),
        hand_over=memory / "handover",
    )
    done = deliver_secrets(request, resolver_for(bao, log), clock=CLOCK, log=log, cancel=cancel, grace=lambda: cancel)
    assert done.environment == {"FLYTE_SECRETS_ENV_PREFIX": "_UNION_", "_UNION_G_K": "flytes"}
    user, password = (memory / "pg").read_text().split(":")
    assert (memory / "user").read_text() == user  # one lease, although asked for in two ways
    assert leases(bao, accounts) == 1
    url = f"postgresql://{user}:{password}@{postgres.host}:{postgres.port}/postgres"
    psycopg.connect(url).close()

    rotator = keep_secrets(KeepRequest(memory / "handover"), resolver_for(bao, log), clock=CLOCK, log=log, cancel=cancel)
    assert rotator is not None
    rotator.finish(cancel)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    assert leases(bao, accounts) == 0
    nothing = KeepRequest(memory / "nothing")
    assert keep_secrets(nothing, resolver_for(bao, log), clock=CLOCK, log=log, cancel=cancel) is None


@pytest.mark.parametrize(
    ("bad", "error"), [("not found", SecretNotFound), ("on a disk", NotTmpfs), ("a directory", LocalIOError)]
)
def test_after_a_failure_nothing_is_there_and_nothing_stays_lent(
    bao: OpenBao, accounts: str, memory: Path, bad: str, error: type[Exception]
) -> None:
    log, cancel = RecordingLog(), Token(CLOCK, timeout_s=60)
    deliveries = [parse_delivery(f"{memory}/files/user=vault://{accounts}#username")]
    hand_over = memory / "handover"
    if bad == "not found":
        deliveries.append(parse_delivery(f"{memory}/files/bad=env://NOT_THERE"))
    elif bad == "on a disk":
        hand_over = Path("/var/tmp/copilot-handover")
    else:
        hand_over.mkdir()
    request = SecretRequest(deliveries=deliveries, hand_over=hand_over)
    with pytest.raises(error):
        deliver_secrets(request, resolver_for(bao, log), clock=CLOCK, log=log, cancel=cancel, grace=lambda: cancel)
    assert leases(bao, accounts) == 0
    assert [path for path in memory.rglob("*") if path.is_file()] == []
    assert not hand_over.is_file()
