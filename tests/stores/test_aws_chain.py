"""Who we are to S3, as Amazon's own tools find it: each case against a server that checks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.core.errors import BadConfig, BadCredentials
from copilot.stores.registry import open_stores
from copilot.stores.settings import S3Settings, StoreSettings
from copilot.testing.store_contract import read

if TYPE_CHECKING:
    from copilot.testing.servers.s3 import S3Server


@pytest.fixture
def obj(s3_server: S3Server, s3_bucket: str) -> str:
    s3_server.poke(s3_bucket, "who", b"me")
    return f"s3://{s3_bucket}/who"


def fetch(uri: str, settings: S3Settings, environ: dict[str, str]) -> bytes:
    location = open_stores(StoreSettings(s3=settings, environ=environ)).locate(uri)
    return read(location.store, location.key)


def files(home: Path, credentials: str = "", config: str = "") -> dict[str, str]:
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text(credentials)
    (home / ".aws" / "config").write_text(config)
    return {"HOME": str(home)}


def test_keys_of_the_default_profile(s3_server: S3Server, obj: str, tmp_path: Path) -> None:
    keys = f"[default]\naws_access_key_id = {s3_server.access_key}\naws_secret_access_key={s3_server.secret_key} # comment\n"
    assert fetch(obj, S3Settings(endpoint=s3_server.endpoint), files(tmp_path, keys)) == b"me"


def test_a_named_profile_with_its_endpoint_and_region(s3_server: S3Server, obj: str, tmp_path: Path) -> None:
    config = f"[profile work]\nregion = eu-west-1\nendpoint_url = {s3_server.endpoint}\n"
    keys = f"[work]\naws_access_key_id={s3_server.access_key}\naws_secret_access_key={s3_server.secret_key}\n"
    environ = files(tmp_path, keys, config)
    assert fetch(obj, S3Settings(profile="work"), environ) == b"me"
    assert fetch(obj, S3Settings(), {**environ, "AWS_PROFILE": "work"}) == b"me"
    with pytest.raises(BadConfig, match="'play'"):
        fetch(obj, S3Settings(), {**environ, "AWS_PROFILE": "play"})


def test_a_credential_process(s3_server: S3Server, obj: str, tmp_path: Path) -> None:
    answer = {"Version": 1, "AccessKeyId": s3_server.access_key, "SecretAccessKey": s3_server.secret_key}
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    environ = files(tmp_path, config=f"[default]\ncredential_process = /bin/cat {tmp_path}/answer.json\n")
    assert fetch(obj, S3Settings(endpoint=s3_server.endpoint), environ) == b"me"


def test_a_credential_process_that_fails(s3_server: S3Server, obj: str, tmp_path: Path) -> None:
    environ = files(tmp_path, config="[default]\ncredential_process = /bin/false\n")
    with pytest.raises(BadCredentials, match="credential_process"):
        fetch(obj, S3Settings(endpoint=s3_server.endpoint), environ)


def test_a_role_of_a_profile_goes_through_boto3(moto_server: S3Server, moto_bucket: str, tmp_path: Path) -> None:
    moto_server.poke(moto_bucket, "who", b"me")
    config = (
        "[profile base]\naws_access_key_id = testing\naws_secret_access_key = testing\n"
        "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = base\n"
    )
    environ = files(tmp_path, config=config)
    done = in_process(f"s3://{moto_bucket}/who", moto_server, environ | {"AWS_PROFILE": "role"})
    assert done.stdout == "me", done.stderr


def test_keys_of_the_environment(s3_server: S3Server, obj: str, tmp_path: Path) -> None:
    environ = {"AWS_ACCESS_KEY_ID": s3_server.access_key, "AWS_SECRET_ACCESS_KEY": s3_server.secret_key}
    done = in_process(obj, s3_server, {"HOME": str(tmp_path), **environ})
    assert done.stdout == "me", done.stderr


def test_keys_of_the_settings_win_over_a_token_of_the_environment(s3_server: S3Server, obj: str, tmp_path: Path) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_SESSION_TOKEN": "stale"}
    settings = f"S3Settings(access_key_id={s3_server.access_key!r}, secret_access_key={s3_server.secret_key!r})"
    done = in_process(obj, s3_server, {"HOME": str(tmp_path), **environ}, settings)
    assert done.stdout == "me", done.stderr


@pytest.mark.parametrize("secret", ["s3cr/et+key=="])
def test_a_secret_with_every_special_character(s3_server: S3Server, obj: str, secret: str) -> None:
    odd = replace(s3_server.settings, access_key_id="oddkey", secret_access_key=secret)
    assert fetch(obj, odd, {}) == b"me"


def in_process(
    uri: str, server: S3Server, environ: dict[str, str], settings: str = "S3Settings()"
) -> subprocess.CompletedProcess[str]:
    """In a process of its own: obstore reads the real environment."""
    code = (
        "import os\n"
        "from copilot.stores.registry import open_stores\n"
        "from copilot.stores.settings import S3Settings, StoreSettings\n"
        f"at = open_stores(StoreSettings(s3={settings}, environ=dict(os.environ))).locate({uri!r})\n"
        "print(b''.join(bytes(c) for c in at.store.get(at.key)).decode(), end='')\n"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "AWS_ENDPOINT_URL": server.endpoint, "AWS_ENDPOINT_URL_STS": server.endpoint, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
