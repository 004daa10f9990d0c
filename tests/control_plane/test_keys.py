"""The keys of a server's own secrets, rotated and interrupted; and what ``copilot server --secrets`` means."""

from __future__ import annotations

import json
import os
import subprocess
from functools import partial
from typing import TYPE_CHECKING

import pytest

from copilot.cli.platform.server_secrets import secrets_platform
from copilot.control_plane.key_rotation import BATCH, rotate
from copilot.control_plane.keys import FixedKeys, KeyFile, fresh_key, key_id
from copilot.control_plane.vault import Vault
from copilot.core.errors import BadFlag, SecretCorrupt
from copilot.core.flyte_secrets import FlyteSecrets
from copilot.testing.server_process import PROGRAMS, ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

    from copilot.control_plane.db.database import Database


def filled(database: Database, vault: Vault, count: int) -> None:
    for number in range(count):
        place = ("", "", f"k{number}")
        database.write_now(partial(vault.put, secret=place, value=str(number).encode(), kind=0, now=1.0))


def values(database: Database, vault: Vault, count: int) -> list[bytes | None]:
    return [database.read_now(partial(vault.resolve, project="", domain="", name=f"k{number}")) for number in range(count)]


class PowerCut(Exception):
    """What happens to a machine."""


def cut(_: int) -> None:
    raise PowerCut


def test_everything_is_under_a_fresh_key_and_the_old_one_is_gone(database: Database, tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys")
    vault = Vault(file)
    (old,) = file.read()
    filled(database, vault, BATCH + 5)
    done = rotate(database, vault)
    assert (done.secrets, done.forgotten, done.resumed) == (BATCH + 5, (key_id(old),), False)
    (new,) = file.read()
    assert database.read_now(vault.under) == {key_id(new): BATCH + 5}
    # Whoever has the old key alone reads nothing any more, and a process that starts now has the new one.
    with pytest.raises(SecretCorrupt):
        values(database, Vault(FixedKeys([old])), 1)
    assert values(database, Vault(KeyFile(file.path)), BATCH + 5) == [str(number).encode() for number in range(BATCH + 5)]
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_an_interrupted_rotation_goes_on_where_it_was(database: Database, tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys")
    vault = Vault(file)
    filled(database, vault, 2 * BATCH)
    with pytest.raises(PowerCut):
        rotate(database, vault, on_batch=cut)
    new, old = file.read()
    assert database.read_now(vault.under) == {key_id(new): BATCH, key_id(old): BATCH}
    # Meanwhile everything is readable, under either key.
    assert values(database, Vault(KeyFile(file.path)), 2 * BATCH) == [str(number).encode() for number in range(2 * BATCH)]
    done = rotate(database, Vault(KeyFile(file.path)))
    assert (done.key, done.secrets, done.forgotten, done.resumed) == (key_id(new), BATCH, (key_id(old),), True)
    assert file.read() == (new,)


def test_a_server_that_runs_meanwhile_encrypts_with_the_new_key_and_reads_everything(
    database: Database, tmp_path: Path
) -> None:
    mine, theirs = Vault(KeyFile(tmp_path / "keys")), Vault(KeyFile(tmp_path / "keys"))
    filled(database, theirs, 3)
    done = rotate(database, mine)
    database.write_now(partial(theirs.put, secret=("", "", "k3"), value=b"3", kind=0, now=1.0))
    assert database.read_now(theirs.under) == {done.key: 4}
    assert values(database, theirs, 4) == [b"0", b"1", b"2", b"3"]


def test_a_key_of_the_environment_is_not_invented(database: Database) -> None:
    new, old = fresh_key(), fresh_key()
    filled(database, Vault(FixedKeys([old])), 2)
    done = rotate(database, Vault(FixedKeys([new, old])))
    assert (done.key, done.secrets, done.forgotten) == (key_id(new), 2, ())
    assert values(database, Vault(FixedKeys([new])), 2) == [b"0", b"1"]


def test_keys_are_rotated_beside_a_running_server(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, "")
    server.start()
    try:
        env = {**os.environ, "COPILOT_SERVER": server.url}
        put = [str(PROGRAMS / "copilot"), "secrets", "set"]
        subprocess.run([*put, "before"], input=b"s3cr3t-1", env=env, check=True, timeout=60)
        listed = server.copilot("keys", "--data", str(tmp_path))
        (before,) = [json.loads(line) for line in listed.stdout.splitlines()]
        assert (before["use"], before["secrets"]) == ("encrypts", 1)
        rotated = server.copilot("keys", "--data", str(tmp_path), "--rotate", "--json")
        assert rotated.returncode == 0, rotated.stderr
        assert "1 secrets were encrypted anew" in rotated.stderr
        (after,) = [json.loads(line) for line in rotated.stdout.splitlines()]
        assert after["key"] != before["key"]
        subprocess.run([*put, "after"], input=b"s3cr3t-2", env=env, check=True, timeout=60)
        task = 'test "$A$B" = s3cr3t-1s3cr3t-2'
        given = ["--secret", "A=before", "--secret", "B=after", "--wait", "--", "sh", "-c", task]
        ended = server.copilot("submit", "--image", "none", *given)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        (last,) = [json.loads(line) for line in server.copilot("keys", "--data", str(tmp_path)).stdout.splitlines()]
        assert (last["key"], last["secrets"]) == (after["key"], 2)
    finally:
        server.stop()


# --- who keeps secrets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "environ", "meant"),
    [
        ("embedded", {}, FlyteSecrets(embedded_in="copilot")),
        ("aws", {}, FlyteSecrets(embedded_in="aws")),
        ("aws", {"AWS_REGION": "eu-west-1"}, FlyteSecrets(embedded_in="aws", aws_region="eu-west-1")),
        ("aws://us-east-2", {"AWS_REGION": "eu-west-1"}, FlyteSecrets(embedded_in="aws", aws_region="us-east-2")),
        ("gcp://here", {}, FlyteSecrets(embedded_in="gcp", gcp_project="here")),
        ("gcp", {"GOOGLE_CLOUD_PROJECT": "there"}, FlyteSecrets(embedded_in="gcp", gcp_project="there")),
        ("azure://my-vault", {}, FlyteSecrets(embedded_in="azure", azure_vault="my-vault")),
        ("vault", {}, FlyteSecrets(embedded_in="vault")),
        ("vault://kv/team-a", {}, FlyteSecrets(embedded_in="vault", vault_path="kv/team-a")),
    ],
)
def test_what_secrets_are_kept_in(text: str, environ: dict[str, str], meant: FlyteSecrets) -> None:
    assert secrets_platform(text, environ) == meant


@pytest.mark.parametrize("text", ["", "k8s", "aws:/x", "vault://", "embedded://x", "gcp", "azure", "s3://bucket"])
def test_what_secrets_cannot_be_kept_in_is_said_with_what_can(text: str) -> None:
    with pytest.raises(BadFlag) as caught:
        secrets_platform(text, {})
    assert "://" in caught.value.hint
