"""Secrets stay fresh while the task runs, the app hears of it, and everything is given back at the end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from copilot.core.errors import NotTmpfs
from copilot.core.secret_refs import parse_ref
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.engine.retry import RetryPolicy
from copilot.secrets.files import SecretFile
from copilot.secrets.handover import HandOver
from copilot.secrets.inject import Delivery, inject, parse_delivery
from copilot.secrets.notify import by_command, by_signal, pid_in, processes_called
from copilot.secrets.providers.grouping import WithoutLeases
from copilot.secrets.registry import ProviderContext, Providers
from copilot.secrets.render import Template
from copilot.secrets.resolver import Resolver, lease_of, open_resolver
from copilot.secrets.rotate import Rotator
from copilot.secrets.settings import SecretSettings, VaultSettings
from copilot.secrets.values import Lease, Payload, Secret
from copilot.testing.clock import FakeClock
from copilot.testing.recording import RecordingLog

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef, SecretValue
    from copilot.testing.secret_servers.openbao import OpenBao
    from copilot.testing.servers.postgresql import PostgresServer


class Told:
    """A notifier that remembers."""

    def __init__(self) -> None:
        self.calls: list[list[Path]] = []
        self.event = threading.Event()

    def __call__(self, paths: Sequence[Path]) -> None:
        self.calls.append(list(paths))
        self.event.set()


class Scene:
    """A source file whose secret is delivered to a file on memory, on a fake clock."""

    def __init__(self, memory: Path, *, interval_s: float | None = 100.0, templates: Sequence[Template] = ()) -> None:
        self.clock, self.log, self.told = FakeClock(), RecordingLog(), Told()
        self.cancel = Token(self.clock)
        self.source, self.target = memory / "source", memory / "target"
        self.source.write_bytes(b"one")
        policy = RetryPolicy(deadline_s=10)
        self.resolver = open_resolver(SecretSettings(), clock=self.clock, log=self.log, policy=policy)
        done = inject(
            [parse_delivery(f"{self.target}:0440=file://{self.source}")], self.resolver, self.cancel, templates=templates
        )
        self.rotator = Rotator(
            self.resolver,
            done.placed,
            clock=self.clock,
            log=self.log,
            templates=templates,
            interval_s=interval_s,
            jitter=0.2,
            rng=random.Random(7),
            notify=self.told,
        )

    def pass_until_due(self) -> None:
        due_s = self.rotator.due_in_s()
        assert due_s is not None
        self.clock.advance(due_s)


def test_a_changed_value_is_rewritten_with_its_mode_and_the_app_is_told_once(memory: Path) -> None:
    scene = Scene(memory)
    scene.source.write_bytes(b"two")
    assert scene.rotator.step(scene.cancel) == []  # nothing is due yet
    scene.pass_until_due()
    assert scene.rotator.step(scene.cancel) == [scene.target]
    assert scene.target.read_bytes() == b"two"
    assert scene.target.stat().st_mode & 0o777 == 0o440
    assert scene.told.calls == [[scene.target]]
    scene.pass_until_due()
    assert scene.rotator.step(scene.cancel) == []
    assert len(scene.told.calls) == 1


def test_the_interval_is_shortened_at_random_and_never_lengthened(memory: Path) -> None:
    scene = Scene(memory)
    waits = []
    for _ in range(50):
        due_s = scene.rotator.due_in_s()
        assert due_s is not None
        waits.append(due_s)
        scene.pass_until_due()
        scene.rotator.step(scene.cancel)
    assert 80 <= min(waits) < 85
    assert 95 < max(waits) <= 100


def test_without_an_interval_a_value_without_a_lease_is_never_due(memory: Path) -> None:
    assert Scene(memory, interval_s=None).rotator.due_in_s() is None


def test_a_value_that_is_only_a_variable_is_not_read_again(memory: Path, log: RecordingLog) -> None:
    clock = FakeClock()
    resolver = open_resolver(SecretSettings(environ={"T": "t0k3n"}), clock=clock, log=log)
    done = inject([parse_delivery("X=env://T")], resolver, Token(clock))
    assert Rotator(resolver, done.placed, clock=clock, log=log).due_in_s() is None
    done = inject([parse_delivery("X=env://T"), parse_delivery(f"{memory}/t=env://T")], resolver, Token(clock))
    assert Rotator(resolver, done.placed, clock=clock, log=log).due_in_s() is not None


class Lender(WithoutLeases):
    """Lends every value for a minute; a renewal gets ``grants_s``."""

    max_batch = 1

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.grants_s, self.lent = clock, 60.0, 0

    def lease(self, seconds: float) -> Lease:
        return Lease(f"lease-{self.lent}", seconds, renewable=True, expires_at_s=self.clock.monotonic_s() + seconds)

    def resolve(self, refs: Sequence[SecretRef], cancel: CancelToken) -> Mapping[SecretRef, SecretValue]:
        cancel.check()
        self.lent += 1
        payload = Payload(raw=f"value-{self.lent}".encode(), lease=self.lease(60))
        return {ref: payload.pick(ref) for ref in refs}

    def renew(self, value: SecretValue, cancel: CancelToken) -> SecretValue:
        cancel.check()
        assert isinstance(value, Secret)
        return value.with_lease(self.lease(self.grants_s))

    def whoami(self, cancel: CancelToken) -> str:
        cancel.check()
        return "the test"

    def close(self, cancel: CancelToken) -> None:
        cancel.check()


def test_a_variable_whose_lease_comes_to_its_end_is_warned_of_and_nothing_is_lent_in_its_place(
    memory: Path, log: RecordingLog
) -> None:
    clock = FakeClock()
    cancel, lender = Token(clock), Lender(clock)
    providers = Providers(ProviderContext(SecretSettings(), clock), registry={"my": ("unused:unused", "")})
    providers._opened["my"] = lender
    resolver = Resolver(providers, clock=clock, log=log)
    done = inject([parse_delivery("X=my://one"), parse_delivery(f"{memory}/two=my://two")], resolver, cancel)
    rotator = Rotator(resolver, done.placed, clock=clock, log=log, jitter=0.0)
    for grants_s, lent in ((60.0, 2), (20.0, 3)):
        lender.grants_s = grants_s
        clock.advance(rotator.due_in_s() or 0)
        rotator.step(cancel)
        assert lender.lent == lent  # the file's is replaced
    (told,) = log.named("secret.ends")
    assert (told.level, told.fields["ref"], told.fields["left_s"]) == ("warning", "my://one", 20.0)
    assert (memory / "two").read_bytes() == b"value-3"
    assert rotator.due_in_s() == pytest.approx(40)  # the variable is nobody's business any more


def test_a_template_is_rendered_again_when_one_of_its_secrets_changes(memory: Path) -> None:
    template = Template("t", '[{{ secret("file://%s") }}]' % (memory / "source"), SecretFile(memory / "conf"))
    scene = Scene(memory, templates=[template])
    assert (memory / "conf").read_bytes() == b"[one]"
    scene.source.write_bytes(b"two")
    scene.pass_until_due()
    assert sorted(scene.rotator.step(scene.cancel)) == [memory / "conf", scene.target]
    assert (memory / "conf").read_bytes() == b"[two]"


def test_a_secret_that_cannot_be_read_any_more_leaves_what_is_there_and_is_tried_again(memory: Path) -> None:
    scene = Scene(memory)
    scene.source.unlink()
    for expected_s in (5, 10, 20, 40, 60, 60):
        scene.pass_until_due()
        assert scene.rotator.step(scene.cancel) == []
        assert scene.rotator.due_in_s() == pytest.approx(expected_s)
    assert scene.target.read_bytes() == b"one"
    assert scene.told.calls == []
    assert [event.fields["reason"] for event in scene.log.named("secret.refresh_failed")] == ["SecretNotFound"] * 6
    scene.source.write_bytes(b"two")
    scene.pass_until_due()
    assert scene.rotator.step(scene.cancel) == [scene.target]


def test_a_file_that_could_not_be_rewritten_is_written_later(memory: Path) -> None:
    scene = Scene(memory)
    scene.source.write_bytes(b"two")
    scene.target.unlink()
    scene.target.mkdir()
    scene.pass_until_due()
    assert scene.rotator.step(scene.cancel) == []
    assert scene.log.named("secret.rewrite_failed")
    scene.target.rmdir()
    scene.pass_until_due()
    assert scene.rotator.step(scene.cancel) == [scene.target]
    assert scene.target.read_bytes() == b"two"


# --- with a real manager -----------------------------------------------------------------------------------------------


@pytest.fixture
def database_role(bao: OpenBao, postgres: PostgresServer) -> Iterator[str]:
    """A role whose accounts live 4 s, and 10 s with all renewals."""
    mount = bao.mount("database")
    config = {
        "plugin_name": "postgresql-database-plugin",
        "allowed_roles": "*",
        "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{postgres.host}:{postgres.port}/postgres?sslmode=disable",
        "username": postgres.user,
        "password": postgres.password,
    }
    bao.api("POST", f"{mount}/config/pg", config)
    make = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"
    role = {"db_name": "pg", "creation_statements": [make], "default_ttl": "8s", "max_ttl": "20s"}
    bao.api("POST", f"{mount}/roles/app", role)
    yield f"{mount}/creds/app"
    bao.api("DELETE", f"sys/mounts/{mount}")


def resolver_for(bao: OpenBao, log: RecordingLog) -> Resolver:
    settings = SecretSettings(vault=VaultSettings(address=bao.address, token=bao.root))
    return open_resolver(settings, clock=SystemClock(), log=log)


def logs_in(postgres: PostgresServer, user: str, password: str) -> bool:
    url = f"postgresql://{user}:{password}@{postgres.host}:{postgres.port}/postgres"
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def account_in(memory: Path) -> tuple[str, str]:
    return (memory / "username").read_text(), (memory / "password").read_text()


@pytest.mark.slow
def test_a_database_account_is_renewed_then_replaced_before_its_end_and_refused_after_the_task(
    bao: OpenBao, postgres: PostgresServer, database_role: str, memory: Path
) -> None:
    log, clock = RecordingLog(), SystemClock()
    cancel = Token(clock, timeout_s=120)
    resolver = resolver_for(bao, log)
    deliveries = [parse_delivery(f"{memory}/{field}=vault://{database_role}#{field}") for field in ("username", "password")]
    done = inject(deliveries, resolver, cancel)
    first = account_in(memory)
    told = Told()
    rotator = Rotator(resolver, done.placed, clock=clock, log=log, notify=told)
    thread = threading.Thread(target=rotator.run, args=(cancel,))
    thread.start()
    deadline_s = time.monotonic() + 60
    while not told.calls and time.monotonic() < deadline_s:
        # At every moment the account in the files works: that is what renewal is for.
        account = account_in(memory)
        assert logs_in(postgres, *account) or account_in(memory) != account  # the two files are renamed one after the other
        time.sleep(0.1)  # an app that uses its account now and then
    assert told.calls
    assert sorted(told.calls[0]) == [memory / "password", memory / "username"]
    assert log.named("secret.renewed")
    second = account_in(memory)
    assert second[0] != first[0]
    assert logs_in(postgres, *second)
    cancel.cancel()
    thread.join(timeout=10)
    assert not thread.is_alive()
    rotator.finish(Token(clock, timeout_s=30))
    assert not logs_in(postgres, *second)
    assert not logs_in(postgres, *first)


APP = """
import pathlib, signal, sys, time
path = pathlib.Path(sys.argv[1])
print(path.read_text(), flush=True)
def reload(*_):
    print(path.read_text(), time.time(), flush=True)
signal.signal(signal.SIGHUP, reload)
pathlib.Path(sys.argv[2]).write_text(str(__import__("os").getpid()))
while True:
    signal.pause()
"""


def test_a_value_changed_at_the_manager_reaches_the_running_app_through_its_signal(bao: OpenBao, memory: Path) -> None:
    log, clock = RecordingLog(), SystemClock()
    cancel = Token(clock, timeout_s=60)
    mount = bao.mount("kv", options={"version": "2"})
    bao.api("PUT", f"{mount}/data/app", {"data": {"token": "before"}})
    resolver = resolver_for(bao, log)
    done = inject([parse_delivery(f"{memory}/token=vault://{mount}/app#token")], resolver, cancel)
    pid_file = memory / "pid"
    app = subprocess.Popen([sys.executable, "-c", APP, str(memory / "token"), str(pid_file)], stdout=subprocess.PIPE, text=True)
    assert app.stdout is not None
    with app.stdout:
        assert app.stdout.readline() == "before\n"
        while not pid_in(pid_file)():
            time.sleep(0.01)  # a poll of another program; the test's own deadline is the token's
            cancel.check()
        notify = by_signal(signal.SIGHUP, pid_in(pid_file), log)
        rotator = Rotator(resolver, done.placed, clock=clock, log=log, interval_s=0.2, notify=notify)
        thread = threading.Thread(target=rotator.run, args=(cancel,))
        thread.start()
        changed_s = time.time()
        bao.api("PUT", f"{mount}/data/app", {"data": {"token": "after"}})
        value, heard_s = app.stdout.readline().split()
        cancel.cancel()
        thread.join(timeout=10)
        app.kill()
        app.wait()
    assert value == "after"
    assert float(heard_s) - changed_s < 60  # how soon is measured by benchmarks/secret_rotation.py
    assert log.named("secret.notified")[0].fields["signal"] == "SIGHUP"
    resolver.close(Token(clock))


# --- telling the app ---------------------------------------------------------------------------------------------------


def test_a_command_hears_what_changed(tmp_path: Path, log: RecordingLog) -> None:
    out = tmp_path / "out"
    script = f"import os, pathlib; pathlib.Path({str(out)!r}).write_text(os.environ['COPILOT_CHANGED_SECRETS'])"
    by_command([sys.executable, "-c", script], log, environ=dict(os.environ))([Path("/a"), Path("/b")])
    assert out.read_text() == "/a\n/b"
    assert log.named("secret.notified")[0].level == "info"


def test_an_app_that_cannot_be_told_is_a_warning_and_no_failure(tmp_path: Path, log: RecordingLog) -> None:
    by_command([sys.executable, "-c", "raise SystemExit(3)"], log, environ=dict(os.environ))([Path("/a")])
    by_command([str(tmp_path / "none")], log, environ={})([Path("/a")])
    by_command([sys.executable, "-c", "import time; time.sleep(60)"], log, environ=dict(os.environ), timeout_s=0.3)(
        [Path("/a")]
    )
    by_signal(signal.SIGHUP, pid_in(tmp_path / "none"), log)([Path("/a")])
    for nobody in ("-1", "0", str(2**40), "x"):
        (tmp_path / "pid").write_text(nobody)
        by_signal(signal.SIGHUP, pid_in(tmp_path / "pid"), log)([Path("/a")])
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    by_signal(signal.SIGHUP, lambda: [gone.pid], log)([Path("/a")])
    assert {event.level for event in log.events} == {"warning"}
    assert len(log.named("secret.notified")) == 7
    assert len(log.named("secret.notify_failed")) == 3


def test_processes_are_found_by_their_programs_name(tmp_path: Path) -> None:
    program = tmp_path / "my-app"
    program.symlink_to(sys.executable)
    script = "import sys; print('up', flush=True); sys.stdin.read()"
    app = subprocess.Popen([str(program), "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert app.stdout is not None
    try:
        assert app.stdout.readline() == "up\n"
        assert processes_called("my-app")() == [app.pid]
        assert processes_called("nobody-is-called-this")() == []
    finally:
        app.communicate()


def test_a_script_is_found_by_its_name_and_a_file_that_another_program_has_is_none(tmp_path: Path) -> None:
    script = tmp_path / "my-train.py"
    script.write_text("print('up', flush=True); input()")
    other = ["tail", script.name, "-f", os.devnull]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen([sys.executable, "-u", script.name], cwd=tmp_path, stdin=pipe, stdout=pipe) as app,
        subprocess.Popen(other, cwd=tmp_path, stdout=pipe) as tail,
    ):
        try:
            assert app.stdout is not None
            assert tail.stdout is not None
            assert app.stdout.readline() == b"up\n"
            assert tail.stdout.readline()  # it runs as well
            assert processes_called(script.name)() == [app.pid]
        finally:
            app.kill()
            tail.kill()


# --- from init to the sidecar --------------------------------------------------------------------------------------------


def test_the_sidecar_goes_on_where_init_stopped(bao: OpenBao, postgres: PostgresServer, memory: Path) -> None:
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
    log, clock = RecordingLog(), SystemClock()
    cancel = Token(clock, timeout_s=60)
    init = resolver_for(bao, log)
    deliveries = [
        parse_delivery(f"{memory}/username:0440=vault://{mount}/creds/app#username"),
        parse_delivery(f"PASSWORD=vault://{mount}/creds/app#password"),
    ]
    done = inject(deliveries, init, cancel)
    given = HandOver(memory / "handover", clock)
    given.give(init, done.placed)
    assert (memory / "handover").stat().st_mode & 0o777 == 0o600

    sidecar = resolver_for(bao, log)
    taken = given.take(sidecar)
    assert taken is not None
    assert (taken.placed, taken.again) == (done.placed, False)
    assert done.environment["PASSWORD"] not in (memory / "handover").read_text()
    second = given.take(resolver_for(bao, log))
    assert second is not None
    assert (second.placed, second.again) == (done.placed, True)
    username = parse_ref(f"vault://{mount}/creds/app#username")
    assert sidecar.values()[username].reveal() == (memory / "username").read_bytes()
    lease = lease_of(sidecar.values()[username])
    assert lease is not None
    assert 50 < lease.expires_at_s - clock.monotonic_s() <= 60
    assert logs_in(postgres, (memory / "username").read_text(), done.environment["PASSWORD"])
    rotator = Rotator(sidecar, taken.placed, clock=clock, log=log)
    due_s = rotator.due_in_s()
    assert due_s is not None
    assert 20 < due_s <= 40
    rotator.finish(cancel)
    assert not logs_in(postgres, (memory / "username").read_text(), done.environment["PASSWORD"])


def test_a_hand_over_is_refused_on_a_disk(tmp_path: Path, log: RecordingLog, cancel: Token) -> None:
    resolver = open_resolver(SecretSettings(environ={"T": "t0k3n"}), clock=FakeClock(), log=log)
    delivery = Delivery((parse_ref("env://T"),), variables=("T",))
    done = inject([delivery], resolver, cancel)
    with pytest.raises(NotTmpfs):
        HandOver(tmp_path / "handover", FakeClock()).give(resolver, done.placed)
    assert list(tmp_path.iterdir()) == []
