"""Values reach a task as files and variables, all of them or none."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flyteidl2.core.security_pb2 import Secret

from copilot.core.errors import (
    BadFlag,
    BadSecretRef,
    BadSecretTemplate,
    Cancelled,
    DiskFull,
    LocalIOError,
    NotTmpfs,
    SecretKeyMissing,
    SecretNotFound,
    SecretNotText,
    SecretPathTaken,
    SecretTooLarge,
)
from copilot.core.flyte_secrets import FlyteSecrets
from copilot.core.secret_refs import parse_ref
from copilot.secrets.files import SecretFile, SecretFiles, on_memory
from copilot.secrets.inject import (
    LONGEST_VARIABLE_BYTES,
    Delivery,
    flyte_deliveries,
    inject,
    parse_delivery,
    resolve_environment,
)
from copilot.secrets.render import Template
from copilot.secrets.resolver import Resolver, open_resolver
from copilot.secrets.settings import KubernetesSettings, SecretSettings
from copilot.testing.clock import FakeClock

if TYPE_CHECKING:
    from copilot.engine.cancel import Token
    from copilot.testing.recording import RecordingLog

ENVIRON = {
    "DB": json.dumps({"user": "app", "password": "p-äöü", "port": 5432}),
    "TOKEN": "t0k3n-value",
    "BINARY": "\udcff\udcfe\udc00".replace("\udc00", "\udc80"),
    "LONG": "x" * (LONGEST_VARIABLE_BYTES + 10),
    "EXACT": "x" * (LONGEST_VARIABLE_BYTES - len("OUT=") - 1),
}


@pytest.fixture
def resolver(log: RecordingLog) -> Resolver:
    return open_resolver(SecretSettings(environ=ENVIRON), clock=FakeClock(), log=log)


def left_in(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


# --- asking ----------------------------------------------------------------------------------------------------------


def test_a_delivery_is_written_as_target_and_reference() -> None:
    assert parse_delivery("DB_PASSWORD=aws://prod/db#password?version=AWSCURRENT") == Delivery(
        (parse_ref("aws://prod/db#password?version=AWSCURRENT"),), variables=("DB_PASSWORD",)
    )
    assert parse_delivery("/run/s/db:0440:1000:2000=vault://kv/app") == Delivery(
        (parse_ref("vault://kv/app"),), files=(SecretFile(Path("/run/s/db"), 0o440, 1000, 2000),)
    )
    assert parse_delivery("/run/s/db=vault://kv/app").files[0].mode == 0o400


@pytest.mark.parametrize("text", ["", "NAME", "NAME=", "1NAME=env://X", "a b=env://X", "/p:999=env://X", "/p:0440:x=env://X"])
def test_what_is_no_delivery_says_how_to_write_one(text: str) -> None:
    with pytest.raises(BadFlag) as caught:
        parse_delivery(text)
    assert caught.value.hint


def test_a_delivery_of_no_reference_is_refused_without_quoting_it() -> None:
    with pytest.raises(BadSecretRef) as caught:
        parse_delivery("PASSWORD=hunter2")
    assert "hunter2" not in caught.value.sentence()


# --- files -----------------------------------------------------------------------------------------------------------


def test_files_have_their_content_mode_and_owner(resolver: Resolver, memory: Path, cancel: Token) -> None:
    owner = (1234, 2345) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    deliveries = [
        parse_delivery(f"{memory}/deep/er/password:0440:{owner[0]}:{owner[1]}=env://DB#password"),
        parse_delivery(f"{memory}/token=env://TOKEN"),
    ]
    done = inject(deliveries, resolver, cancel)
    password = memory / "deep/er/password"
    assert password.read_bytes() == "p-äöü".encode()
    info = password.stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o440, *owner)
    assert stat.S_IMODE((memory / "token").stat().st_mode) == 0o400
    assert done.files == (password, memory / "token")
    assert left_in(memory) == ["deep", "deep/er", "deep/er/password", "token"]


def test_a_file_is_replaced_in_one_step_and_never_seen_half(resolver: Resolver, memory: Path, cancel: Token) -> None:
    target = memory / "token"
    target.write_bytes(b"old")
    reader = target.open("rb")
    inject([parse_delivery(f"{target}=env://TOKEN")], resolver, cancel)
    with reader:
        assert reader.read() == b"old"  # whoever had it open goes on reading the old one, whole
    assert target.read_bytes() == b"t0k3n-value"


def test_a_disk_is_refused_unless_allowed_and_before_a_manager_is_asked(
    resolver: Resolver, tmp_path: Path, cancel: Token, log: RecordingLog
) -> None:
    if on_memory(tmp_path):
        pytest.fail("this test needs its temporary directory on a disk")
    delivery = parse_delivery(f"{tmp_path}/new/token=env://TOKEN")
    with pytest.raises(NotTmpfs) as caught:
        inject([delivery], resolver, cancel)
    assert "medium: Memory" in caught.value.hint
    assert left_in(tmp_path) == []
    assert log.named("secret.resolved") == []
    inject([delivery], resolver, cancel, allow_disk=True)
    assert (tmp_path / "new/token").read_bytes() == b"t0k3n-value"


def test_a_path_that_leads_from_memory_to_a_disk_is_on_a_disk(
    resolver: Resolver, memory: Path, tmp_path: Path, cancel: Token
) -> None:
    (memory / "link").symlink_to(tmp_path)
    for path in (f"{memory}/new/../../../..{tmp_path}/token", f"{memory}/link/token", f"{memory}/link/new/token"):
        with pytest.raises(NotTmpfs):
            inject([parse_delivery(f"{path}=env://TOKEN")], resolver, cancel)
    assert left_in(tmp_path) == []
    assert left_in(memory) == ["link"]


@pytest.mark.parametrize("second", ["token", "deep/../token", "token/below"])
def test_two_secrets_for_one_path_are_refused(resolver: Resolver, memory: Path, cancel: Token, second: str) -> None:
    with pytest.raises(SecretPathTaken):
        inject([parse_delivery(f"{memory}/token=env://TOKEN"), parse_delivery(f"{memory}/{second}=env://DB")], resolver, cancel)
    assert left_in(memory) == []


def test_two_secrets_for_one_variable_are_refused_and_a_repetition_counts_once(resolver: Resolver, cancel: Token) -> None:
    with pytest.raises(SecretPathTaken):
        inject([parse_delivery("X=env://TOKEN"), parse_delivery("X=env://DB")], resolver, cancel)
    assert inject([parse_delivery("X=env://TOKEN")] * 2, resolver, cancel).environment == {"X": "t0k3n-value"}


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ("env://NOT_THERE", SecretNotFound),
        ("env://DB#pasword", SecretKeyMissing),
    ],
)
def test_one_secret_that_cannot_be_had_leaves_nothing_of_the_others(
    resolver: Resolver, memory: Path, cancel: Token, bad: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        inject([parse_delivery(f"{memory}/good=env://TOKEN"), parse_delivery(f"{memory}/bad={bad}")], resolver, cancel)
    assert left_in(memory) == []


def test_a_place_that_cannot_be_written_leaves_nothing_of_the_others(resolver: Resolver, memory: Path, cancel: Token) -> None:
    (memory / "bad").mkdir()
    (memory / "bad/keep").write_text("theirs")
    with pytest.raises(SecretPathTaken):
        inject([parse_delivery(f"{memory}/{name}=env://TOKEN") for name in ("a", "bad", "c")], resolver, cancel)
    assert left_in(memory) == ["bad", "bad/keep"]


def test_a_file_that_cannot_take_its_place_leaves_nothing_of_the_others(
    resolver: Resolver, memory: Path, cancel: Token
) -> None:
    if os.geteuid() != 0:
        pytest.fail("this test mounts over a file and runs as root")
    mounted = memory / "mounted"
    mounted.write_text("theirs")
    subprocess.run(["/bin/mount", "--bind", str(mounted), str(mounted)], check=True)
    try:
        with pytest.raises(LocalIOError, match="busy"):
            inject([parse_delivery(f"{memory}/{name}=env://TOKEN") for name in ("a", "mounted")], resolver, cancel)
    finally:
        subprocess.run(["/bin/umount", str(mounted)], check=True)
    assert left_in(memory) == ["mounted"]
    assert mounted.read_text() == "theirs"


def test_a_full_volume_is_said_and_leaves_no_temporary_file(cancel: Token) -> None:
    if os.geteuid() != 0:
        pytest.fail("this test mounts a small tmpfs and runs as root")
    with SmallTmpfs() as small:
        big = SecretFile(small / "big")
        with SecretFiles() as files:
            files.stage(SecretFile(small / "first"), b"fits")
            with pytest.raises(DiskFull):
                files.stage(big, b"x" * 200_000)
        assert left_in(small) == []
    cancel.check()


class SmallTmpfs:
    """64 KiB of memory volume."""

    def __enter__(self) -> Path:
        self._path = Path("/dev/shm") / f"copilot-small-{os.getpid()}"
        self._path.mkdir()
        subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(self._path)], check=True)
        return self._path

    def __exit__(self, *_: object) -> None:
        subprocess.run(["/bin/umount", str(self._path)], check=True)
        self._path.rmdir()


def test_a_cancelled_injection_leaves_nothing(resolver: Resolver, memory: Path, cancel: Token) -> None:
    cancel.cancel()
    with pytest.raises(Cancelled):
        inject([parse_delivery(f"{memory}/token=env://TOKEN")], resolver, cancel)
    assert left_in(memory) == []


# --- variables -------------------------------------------------------------------------------------------------------


def test_variables_are_text_of_a_length_linux_takes(resolver: Resolver, cancel: Token) -> None:
    done = inject([parse_delivery("OUT=env://EXACT"), parse_delivery("PORT=env://DB#port")], resolver, cancel)
    assert done.environment["PORT"] == "5432"
    assert "t0k3n" not in repr(done)
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(len(os.environ['OUT']))"],
        env=dict(done.environment),
        capture_output=True,
        check=True,
    )
    assert int(ended.stdout) == len(ENVIRON["EXACT"])
    with pytest.raises(SecretTooLarge) as caught:
        inject([parse_delivery("OUT=env://LONG")], resolver, cancel)
    assert "as a file" in caught.value.hint
    with pytest.raises(SecretNotText):
        inject([parse_delivery("OUT=env://BINARY")], resolver, cancel)


def test_references_of_an_environment_are_replaced_and_everything_else_is_kept(resolver: Resolver, cancel: Token) -> None:
    environ = {
        "PATH": "/bin",
        "DATA": "s3://bucket/key",
        "CONFIG": "file:///etc/config",
        "PASSWORD": "secret+env://DB#password",
    }
    assert resolve_environment(environ, resolver, cancel, extra={"TOKEN": "env://TOKEN"}) == {
        "PATH": "/bin",
        "DATA": "s3://bucket/key",
        "CONFIG": "file:///etc/config",
        "PASSWORD": "p-äöü",
        "TOKEN": "t0k3n-value",
    }


# --- Flyte -----------------------------------------------------------------------------------------------------------


def test_a_flyte_secret_lands_where_its_task_looks(log: RecordingLog, memory: Path, cancel: Token) -> None:
    environ = {"FLYTE_SECRET_GROUP_KEY": "of the group"}
    resolver = open_resolver(SecretSettings(environ=environ), clock=FakeClock(), log=log)
    secret = Secret(group="Group", key="Key", mount_requirement=Secret.FILE, env_var="WHERE")
    platform = FlyteSecrets(manager="global", directory=str(memory))
    deliveries, constants = flyte_deliveries([secret], platform)
    done = inject(deliveries, resolver, cancel)
    assert Path(constants["WHERE"]).read_text() == "of the group"
    assert done.placed[0].candidates == (parse_ref("env://FLYTE_SECRET_GROUP_KEY"),)
    assert constants["FLYTE_SECRETS_DEFAULT_DIR"] == str(memory)


def test_one_flyte_secret_may_be_asked_for_in_several_ways(log: RecordingLog, memory: Path, cancel: Token) -> None:
    (memory / "mounted").mkdir()
    (memory / "mounted/k").write_text("t0k3n")
    settings = SecretSettings(kubernetes=KubernetesSettings(mounts=str(memory)))
    resolver = open_resolver(settings, clock=FakeClock(), log=log)
    asked = [
        Secret(group="mounted", key="k", mount_requirement=Secret.ENV_VAR, env_var="ONE"),
        Secret(group="mounted", key="k", mount_requirement=Secret.ENV_VAR, env_var="OTHER"),
        Secret(group="mounted", key="k", mount_requirement=Secret.FILE),
    ]
    deliveries, _ = flyte_deliveries(asked, FlyteSecrets(manager="k8s", directory=str(memory / "s")))
    done = inject(deliveries, resolver, cancel)
    assert done.environment == dict.fromkeys(("_UNION_MOUNTED_K", "ONE", "OTHER"), "t0k3n")
    assert (memory / "s/mounted/k").read_text() == "t0k3n"
    # The embedded manager does not look at the group: one file stands for both.
    both = [Secret(group=group, key="k", mount_requirement=Secret.FILE) for group in ("g", "h")]
    (delivery,), _ = flyte_deliveries(both, FlyteSecrets(directory="/s"))
    assert [str(file.path) for file in delivery.files] == ["/s/k", "/s/g/k", "/s/h/k"]


def test_the_first_scope_that_has_the_secret_wins(log: RecordingLog, tmp_path: Path, cancel: Token) -> None:
    (tmp_path / "wide").write_text("wide")
    resolver = open_resolver(SecretSettings(), clock=FakeClock(), log=log)
    candidates = tuple(parse_ref(f"file://{tmp_path}/{name}") for name in ("narrow", "wide"))
    delivery = Delivery(candidates, variables=("X",))
    assert inject([delivery], resolver, cancel).environment == {"X": "wide"}
    (tmp_path / "narrow").write_text("narrow")
    fresh = open_resolver(SecretSettings(), clock=FakeClock(), log=log)
    assert inject([delivery], fresh, cancel).environment == {"X": "narrow"}


# --- templates -------------------------------------------------------------------------------------------------------


def template(text: str, path: Path = Path("/dev/null"), **names: str) -> Template:
    return Template("app.conf.j2", text, SecretFile(path), {name: parse_ref(ref) for name, ref in names.items()})


def test_a_template_is_rendered_from_several_secrets(resolver: Resolver, memory: Path, cancel: Token) -> None:
    text = (
        'url = postgres://{{ db.user }}:{{ db.password|urlencode }}@{{ secret("env://TOKEN") }}\n'
        '{% set d = secret_json("env://DB") %}{"p": {{ d.password|tojson }}, "b": "{{ db.user|b64encode }}"}\n'
    )
    done = inject([], resolver, cancel, templates=[template(text, memory / "app.conf", db="env://DB")])
    assert (memory / "app.conf").read_text().splitlines() == [
        "url = postgres://app:p-%C3%A4%C3%B6%C3%BC@t0k3n-value",
        '{"p": "p-\\u00e4\\u00f6\\u00fc", "b": "YXBw"}',
    ]
    assert done.files == (memory / "app.conf",)


def test_the_references_of_a_template_are_known_before_it_is_rendered() -> None:
    found = template('{{ secret("env://A") }}{% if x %}{{ secret_json("env://B").c }}{% endif %}', x="env://C").refs()
    assert [ref.name for ref in found] == ["C", "A", "B"]


@pytest.mark.parametrize(
    "text",
    [
        "{{ nobody }}",
        "{{ db.pasword }}",
        "one\n{{ db['x'] }}",
        "{{ db.password.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "{% include '/etc/passwd' %}",
        "{{ db.update({'a': 1}) }}",
        "{{ db[db.password] }}",
        "{{ db.password|int('x')/0 }}",
        "{% for x in range(10**9) %}{% endfor %}",
        "{{ db.password",
        "{{ db|nofilter }}",
    ],
)
def test_a_template_that_asks_for_too_much_says_which_line_and_shows_no_value(
    resolver: Resolver, memory: Path, cancel: Token, text: str
) -> None:
    with pytest.raises(BadSecretTemplate) as caught:
        inject(
            [parse_delivery(f"{memory}/token=env://TOKEN")],
            resolver,
            cancel,
            templates=[template(text, memory / "x", db="env://DB")],
        )
    sentence = caught.value.sentence()
    assert f"line {len(text.splitlines())}" in sentence
    assert "p-äöü" not in sentence + repr(caught.value.__cause__)
    assert left_in(memory) == []


def test_a_template_cannot_hold_binary(resolver: Resolver, cancel: Token) -> None:
    with pytest.raises(SecretNotText, match=r"app\.conf\.j2"):
        template("{{ b }}", b="env://BINARY").render(resolver, cancel)
