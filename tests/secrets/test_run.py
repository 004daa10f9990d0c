"""A pod's secrets: delivered whole by init, kept and given back by the sidecar."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from flyteidl2.core.security_pb2 import Secret

from copilot.core.errors import LocalIOError, NotTmpfs, SecretLeaked, SecretNotFound
from copilot.core.flyte_secrets import FlyteSecrets
from copilot.core.secret_refs import parse_ref
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.secrets.custody import Custody, KeepRequest
from copilot.secrets.files import SecretFile
from copilot.secrets.inject import parse_delivery
from copilot.secrets.keep import keep_secrets
from copilot.secrets.render import Template
from copilot.secrets.resolver import Resolver, open_resolver
from copilot.secrets.run import SecretRequest, deliver_secrets
from copilot.secrets.settings import SecretSettings, VaultSettings
from copilot.testing.recording import RecordingLog
from copilot.testing.secret_servers.whole_task import leases, lends_accounts, until, was_renewed

if TYPE_CHECKING:
    from copilot.testing.secret_servers.openbao import OpenBao
    from copilot.testing.servers.postgresql import PostgresServer

CLOCK = SystemClock()


@pytest.fixture
def accounts(bao: OpenBao, postgres: PostgresServer) -> str:
    """A path that lends database accounts."""
    return lends_accounts(bao, postgres)


def resolver_for(bao: OpenBao, log: RecordingLog, login: VaultSettings | None = None) -> Resolver:
    vault = login or VaultSettings(address=bao.address, token=bao.root)
    return open_resolver(SecretSettings(vault=vault, environ={"FLYTE_SECRET_G_K": "flytes"}), clock=CLOCK, log=log)


class MinuteLater(SystemClock):
    """The lease's time is over by then, if nobody renewed it."""

    def now_s(self) -> float:
        return super().now_s() + 60


def deliver(request: SecretRequest, bao: OpenBao, log: RecordingLog) -> Mapping[str, str]:
    cancel = Token(CLOCK, timeout_s=60)
    return deliver_secrets(
        request, resolver_for(bao, log), clock=CLOCK, log=log, cancel=cancel, grace=lambda: cancel
    ).environment


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
    assert len(leases(bao, accounts)) == 1
    url = f"postgresql://{user}:{password}@{postgres.host}:{postgres.port}/postgres"
    psycopg.connect(url).close()

    rotator = keep_secrets(memory / "handover", resolver_for(bao, log), clock=CLOCK, log=log, cancel=cancel)
    assert rotator is not None
    rotator.finish(cancel)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    assert leases(bao, accounts) == []
    nothing = memory / "nothing"
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
    assert leases(bao, accounts) == []
    assert [path for path in memory.rglob("*") if path.is_file()] == []
    assert not hand_over.is_file()


@pytest.mark.parametrize("there", [True, False])
def test_a_sidecar_that_is_started_again_renews_what_was_lent_and_gives_it_back(
    bao: OpenBao, accounts: str, memory: Path, log: RecordingLog, *, there: bool
) -> None:
    cancel, hand_over = Token(CLOCK, timeout_s=60), memory / "handover"
    other = f"{accounts.rpartition('/')[0]}/other"
    bao.api("POST", f"{other.replace('/creds/', '/roles/')}", bao.api("GET", accounts.replace("/creds/", "/roles/"))["data"])
    deliveries = [f"P=vault://{accounts}#password", f"{memory}/user=vault://{other}#username", f"Q=vault://{other}#password"]
    environment = deliver(SecretRequest(deliveries=list(map(parse_delivery, deliveries)), hand_over=hand_over), bao, log)
    keep_secrets(hand_over, resolver_for(bao, log), clock=CLOCK, log=log, cancel=cancel)  # and it is killed
    before = (memory / "user").read_text()
    assert environment["P"] not in hand_over.read_text()
    lent = [f"{path}/{key}" for path in (accounts, other) for key in leases(bao, path)]
    if not there:
        (memory / "user").unlink()

    assert not any(was_renewed(bao, lease) for lease in lent)
    rotator = keep_secrets(hand_over, resolver_for(bao, log), clock=MinuteLater(), log=log, cancel=cancel)
    assert rotator is not None
    changed = rotator.step(cancel)
    assert was_renewed(bao, lent[0])
    if there:  # variables and files still fit together
        assert changed == []
        assert (memory / "user").read_text() == before
        assert was_renewed(bao, lent[1])
        assert [f"{path}/{key}" for path in (accounts, other) for key in leases(bao, path)] == lent
    else:  # nobody knows any more what was in the file
        assert changed == [memory / "user"]
        assert (memory / "user").read_text() != before
        assert len(leases(bao, other)) == 2
    rotator.finish(cancel)
    assert leases(bao, accounts) == leases(bao, other) == []


@pytest.mark.parametrize("may_revoke", [True, False])
def test_what_another_login_was_lent_is_given_back_or_said_to_stay(
    bao: OpenBao, accounts: str, memory: Path, log: RecordingLog, *, may_revoke: bool
) -> None:
    cancel, hand_over, mount = Token(CLOCK, timeout_s=60), memory / "handover", bao.enable_auth("approle")
    rules = f'path "{accounts}" {{ capabilities = ["read"] }}'
    revoke = ' path "sys/leases/revoke" { capabilities = ["update"] }'
    policy = bao.policy(rules + (revoke if may_revoke else ""))
    bao.api("POST", f"auth/{mount}/role/app", {"token_policies": [policy], "token_ttl": "45s"})
    role_id = bao.api("GET", f"auth/{mount}/role/app/role-id")["data"]["role_id"]
    secret_id = bao.api("POST", f"auth/{mount}/role/app/secret-id")["data"]["secret_id"]
    login = VaultSettings(address=bao.address, role_id=role_id, secret_id=secret_id, auth_mount=mount)
    request = SecretRequest(deliveries=[parse_delivery(f"P=vault://{accounts}#password")], hand_over=hand_over)
    deliver_secrets(request, resolver_for(bao, log, login), clock=CLOCK, log=log, cancel=cancel, grace=lambda: cancel)
    keep_secrets(hand_over, resolver_for(bao, log, login), clock=CLOCK, log=log, cancel=cancel)  # is killed
    custody = Custody(KeepRequest(hand_over), lambda: resolver_for(bao, log, login), clock=CLOCK, log=log)
    assert custody.know()
    (lease,) = leases(bao, accounts)
    custody.finish(cancel)
    assert leases(bao, accounts) == ([] if may_revoke else [lease])
    told = [event.fields["error"] for event in log.named("secret.revoke_failed")]
    assert told == ([] if may_revoke else ["the lease stays until its time is over: our token may not give it back"])


def test_what_an_init_that_is_run_again_hands_over_is_kept_as_well(
    bao: OpenBao, accounts: str, memory: Path, log: RecordingLog
) -> None:
    cancel, hand_over, ready = Token(CLOCK, timeout_s=60), memory / "handover", memory / "READY"
    request = SecretRequest(deliveries=[parse_delivery(f"P=vault://{accounts}#password")], hand_over=hand_over)
    custody = Custody(KeepRequest(hand_over, nothing_comes=ready.exists), lambda: resolver_for(bao, log), clock=CLOCK, log=log)
    custody.begin()
    for run in (1, 2):
        value = deliver(request, bao, log)["P"]
        until(lambda run=run: len(log.named("secrets.kept")) == run, "nothing was taken over")  # type: ignore[misc] # mypy's
        assert value not in hand_over.read_text()
    ready.touch()
    assert len(leases(bao, accounts)) == 2
    (memory / "outputs").mkdir()
    (memory / "outputs" / "told").write_text(value)
    with pytest.raises(SecretLeaked):
        custody.guard([memory / "outputs"], "refuse", cancel)
    custody.finish(cancel)
    assert leases(bao, accounts) == []
    assert not hand_over.exists()


def test_a_hand_over_that_cannot_be_read_is_told_and_stops_only_what_must_not_leak(
    memory: Path, tmp_path: Path, log: RecordingLog
) -> None:
    (memory / "handover").write_text("{")
    settings = SecretSettings()
    custody = Custody(
        KeepRequest(memory / "handover"), lambda: open_resolver(settings, clock=CLOCK, log=log), clock=CLOCK, log=log
    )
    cancel = Token(CLOCK, timeout_s=60)
    for policy in ("off", "warn", "warn"):
        assert custody.guard([tmp_path], policy, cancel) == []
    assert [event.level for event in log.named("secrets.not_known")] == ["error"]
    with pytest.raises(LocalIOError, match="handed over"):
        custody.guard([tmp_path], "refuse", cancel)
    custody.finish(cancel)


def test_a_second_init_reads_anew_what_it_can_and_keeps_what_is_lent_still(
    bao: OpenBao, accounts: str, memory: Path, log: RecordingLog
) -> None:
    cancel, hand_over, kv = Token(CLOCK, timeout_s=60), memory / "handover", bao.mount("kv", options={"version": "2"})
    deliveries = [parse_delivery(text) for text in (f"P=vault://{accounts}#password", f"T=vault://{kv}/app#token")]
    request = SecretRequest(deliveries=deliveries, hand_over=hand_over)
    given = []
    for token, clock in (("one", CLOCK), ("two", CLOCK), ("three", MinuteLater())):
        bao.api("PUT", f"{kv}/data/app", {"data": {"token": token}})
        done = deliver_secrets(request, resolver_for(bao, log), clock=clock, log=log, cancel=cancel, grace=lambda: cancel)
        given.append(done.environment)
    assert [each["T"] for each in given] == ["one", "two", "three"]
    assert given[0]["P"] == given[1]["P"] != given[2]["P"]  # by then the time of the first account is over
    assert len(leases(bao, accounts)) == 2
