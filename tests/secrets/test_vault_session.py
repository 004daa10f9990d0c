"""Vault: every login, leases of real database accounts, wrapped responses, namespaces, and the end of a session."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt as pyjwt
import psycopg
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from copilot.core.errors import (
    BadConfig,
    SecretDenied,
    SecretExpiredToken,
    SecretKeyMissing,
    SecretNoIdentity,
    SecretNotFound,
    VaultSealed,
)
from copilot.core.secret_refs import parse_ref
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.secrets.providers.vault import VaultSecrets
from copilot.secrets.registry import ProviderContext
from copilot.secrets.settings import SecretSettings, VaultSettings, settings_from
from copilot.secrets.values import Secret
from copilot.testing.clock import FakeClock
from copilot.testing.kubernetes_secrets import kubernetes_secrets_api
from copilot.testing.secret_servers.http import Answer, in_front_of
from copilot.testing.secret_servers.openbao import OpenBao, openbao

if TYPE_CHECKING:
    from copilot.testing.secret_servers.certificates import Authority
    from copilot.testing.servers.postgresql import PostgresServer


def vault(bao: OpenBao | str, known: Callable[[bytes], None] = lambda _: None, **settings: object) -> VaultSecrets:
    address = bao if isinstance(bao, str) else bao.address
    made = VaultSettings(address=address, **settings)  # type: ignore[arg-type] # the tests' own keywords
    return VaultSecrets(ProviderContext(SecretSettings(vault=made), SystemClock(), known))


def read(provider: VaultSecrets, text: str, cancel: Token) -> Secret:
    ref = parse_ref(text)
    value = provider.resolve([ref], cancel)[ref]
    assert isinstance(value, Secret)
    return value


@pytest.fixture
def kv(bao: OpenBao) -> str:
    """A KV v2 mount with the secret ``app``."""
    mount = bao.mount("kv", options={"version": "2"})
    bao.api("PUT", f"{mount}/data/app", {"data": {"token": "t0k3n-value"}})
    return mount


@pytest.fixture
def policy(bao: OpenBao, kv: str) -> str:
    return bao.policy(f'path "{kv}/*" {{ capabilities = ["read"] }}')


# --- logins ----------------------------------------------------------------------------------------------------------


def test_a_token_logs_in_from_the_settings_or_a_file(bao: OpenBao, kv: str, policy: str, cancel: Token, tmp_path: Path) -> None:
    token = bao.token(policy)
    file = tmp_path / "token"
    file.write_text(token + "\n")
    for provider in (vault(bao, token=token), vault(bao, token_file=str(file))):
        assert read(provider, f"vault://{kv}/app#token", cancel).reveal() == b"t0k3n-value"
        assert policy in provider.whoami(cancel)
        provider.close(cancel)
    # A token that was given to us is not ours to revoke.
    assert bao.api("GET", "auth/token/lookup-self", token=token)["data"]["id"] == token


@pytest.fixture
def approle(bao: OpenBao, policy: str) -> tuple[str, str]:
    """The mount and the role id."""
    mount = bao.enable_auth("approle")
    bao.api("POST", f"auth/{mount}/role/app", {"token_policies": [policy], "token_ttl": "10m"})
    return mount, bao.api("GET", f"auth/{mount}/role/app/role-id")["data"]["role_id"]


def test_approle_logs_in_and_its_token_ends_with_the_session(
    bao: OpenBao, kv: str, approle: tuple[str, str], cancel: Token
) -> None:
    mount, role_id = approle
    secret_id = bao.api("POST", f"auth/{mount}/role/app/secret-id")["data"]["secret_id"]
    seen: list[bytes] = []
    provider = vault(bao, seen.append, role_id=role_id, secret_id=secret_id, auth_mount=mount)
    assert read(provider, f"vault://{kv}/app#token", cancel).reveal() == b"t0k3n-value"
    assert secret_id.encode() in seen
    (token,) = [each.decode() for each in seen if each != secret_id.encode()]
    provider.close(cancel)
    with pytest.raises(AssertionError, match="403"):
        bao.api("GET", "auth/token/lookup-self", token=token)


def test_approle_logs_in_with_a_wrapped_secret_id_once(
    bao: OpenBao, kv: str, approle: tuple[str, str], cancel: Token, tmp_path: Path
) -> None:
    mount, role_id = approle
    wrapped = bao.api("POST", f"auth/{mount}/role/app/secret-id", wrap="60s")["wrap_info"]["token"]
    file = tmp_path / "secret-id"
    file.write_text(wrapped)
    settings: dict[str, Any] = {"role_id": role_id, "secret_id_file": str(file), "secret_id_wrapped": True, "auth_mount": mount}
    provider = vault(bao, **settings)
    assert read(provider, f"vault://{kv}/app#token", cancel).reveal() == b"t0k3n-value"
    # A second login of the same session works with the secret id itself.
    provider.close(cancel)
    assert read(provider, f"vault://{kv}/app#token", cancel).reveal() == b"t0k3n-value"
    with pytest.raises(SecretExpiredToken, match="used before"):
        read(vault(bao, **settings), f"vault://{kv}/app#token", cancel)


def test_a_wrong_secret_id_is_no_identity_and_is_not_quoted(
    bao: OpenBao, kv: str, approle: tuple[str, str], cancel: Token
) -> None:
    mount, role_id = approle
    with pytest.raises(SecretNoIdentity) as caught:
        read(vault(bao, role_id=role_id, secret_id="wr0ng-secret-id", auth_mount=mount), f"vault://{kv}/app", cancel)
    assert "wr0ng" not in caught.value.sentence()
    assert mount in caught.value.hint


def test_jwt_logs_in(bao: OpenBao, kv: str, policy: str, cancel: Token, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    mount = bao.enable_auth("jwt")
    bao.api("POST", f"auth/{mount}/config", {"jwt_validation_pubkeys": [public]})
    role = {"role_type": "jwt", "bound_audiences": ["copilot"], "user_claim": "sub", "token_policies": [policy]}
    bao.api("POST", f"auth/{mount}/role/app", role)
    file = tmp_path / "jwt"
    claims = {"sub": "app", "aud": "copilot", "exp": int(time.time()) + 600, "iat": int(time.time()) - 1}
    file.write_text(pyjwt.encode(claims, private, algorithm="RS256"))
    settings: dict[str, Any] = {"auth": "jwt", "role": "app", "jwt_file": str(file), "auth_mount": mount}
    assert read(vault(bao, **settings), f"vault://{kv}/app#token", cancel).reveal() == b"t0k3n-value"
    file.write_text(pyjwt.encode(claims | {"exp": int(time.time()) - 600}, private, algorithm="RS256"))
    with pytest.raises(SecretNoIdentity):
        read(vault(bao, **settings), f"vault://{kv}/app#token", cancel)


def test_the_pods_service_account_logs_in_and_a_stranger_does_not(
    bao: OpenBao, kv: str, policy: str, tmp_path: Path, authority: Authority
) -> None:
    cancel = Token(SystemClock(), timeout_s=60)
    with kubernetes_secrets_api(authority.server_context()) as api:
        mount = bao.enable_auth("kubernetes")
        reviewer = api.service_account("vault", "reviewer")
        config: dict[str, Any] = {"kubernetes_host": api.url, "token_reviewer_jwt": reviewer, "disable_local_ca_jwt": True}
        config["kubernetes_ca_cert"] = authority.ca_file.read_text()
        bao.api("POST", f"auth/{mount}/config", config)
        role = {
            "bound_service_account_names": ["app"],
            "bound_service_account_namespaces": ["team-a"],
            "token_policies": [policy],
        }
        bao.api("POST", f"auth/{mount}/role/app", role)
        file = tmp_path / "token"
        settings: dict[str, Any] = {"role": "app", "jwt_file": str(file), "auth": "kubernetes", "auth_mount": mount}
        file.write_text(api.service_account("team-a", "app"))
        assert read(vault(bao, **settings), f"vault://{kv}/app#token", cancel).reveal() == b"t0k3n-value"
        file.write_text(api.service_account("team-b", "app"))
        with pytest.raises(SecretNoIdentity):
            read(vault(bao, **settings), f"vault://{kv}/app#token", cancel)


def test_without_anything_to_log_in_with_the_hint_says_what_to_give(bao: OpenBao, cancel: Token) -> None:
    with pytest.raises(SecretNoIdentity) as caught:
        read(vault(bao), "vault://kv/app", cancel)
    assert "VAULT_TOKEN" in caught.value.hint
    with pytest.raises(BadConfig, match="address"):
        VaultSecrets(ProviderContext(settings_from({"VAULT_TOKEN": "t"}), SystemClock())).whoami(cancel)


def test_a_token_file_is_read_again_when_its_token_is_gone(
    bao: OpenBao, kv: str, policy: str, cancel: Token, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(bao.token(policy))
    provider = vault(bao, token_file=str(file))
    read(provider, f"vault://{kv}/app#token", cancel)
    bao.api("POST", "auth/token/revoke", {"token": file.read_text()})
    file.write_text(bao.token(policy))
    assert read(provider, f"vault://{kv}/app#token", cancel).reveal() == b"t0k3n-value"
    provider.close(cancel)


@pytest.fixture
def short_lived(bao: OpenBao, policy: str) -> dict[str, Any]:
    """An AppRole whose tokens live 100 s, and 150 s with all renewals."""
    mount = bao.enable_auth("approle")
    role = {"token_policies": [policy], "token_ttl": "100s", "token_max_ttl": "150s"}
    bao.api("POST", f"auth/{mount}/role/app", role)
    role_id = bao.api("GET", f"auth/{mount}/role/app/role-id")["data"]["role_id"]
    secret_id = bao.api("POST", f"auth/{mount}/role/app/secret-id")["data"]["secret_id"]
    return {"role_id": role_id, "secret_id": secret_id, "auth_mount": mount}


def session_on(clock: FakeClock, bao: OpenBao, seen: list[bytes], settings: dict[str, Any]) -> VaultSecrets:
    made = SecretSettings(vault=VaultSettings(address=bao.address, **settings))
    return VaultSecrets(ProviderContext(made, clock, seen.append))


def test_a_token_near_its_end_is_renewed_before_it_is_used(
    bao: OpenBao, kv: str, short_lived: dict[str, Any], cancel: Token
) -> None:
    clock, seen = FakeClock(), list[bytes]()
    provider = session_on(clock, bao, seen, short_lived)
    read(provider, f"vault://{kv}/app#token", cancel)
    token = seen[-1].decode()
    clock.advance(95)
    read(provider, f"vault://{kv}/app#token", cancel)
    assert seen[-1].decode() == token
    assert bao.api("POST", "auth/token/lookup", {"token": token})["data"].get("last_renewal_time")
    provider.close(cancel)


def test_a_token_past_its_end_is_replaced_and_both_are_given_back(
    bao: OpenBao, kv: str, short_lived: dict[str, Any], cancel: Token
) -> None:
    clock, seen = FakeClock(), list[bytes]()
    provider = session_on(clock, bao, seen, short_lived)
    read(provider, f"vault://{kv}/app#token", cancel)
    first = seen[-1].decode()
    clock.advance(101)
    read(provider, f"vault://{kv}/app#token", cancel)
    second = seen[-1].decode()
    assert second != first
    provider.close(cancel)
    for token in (first, second):
        with pytest.raises(AssertionError, match="403"):
            bao.api("GET", "auth/token/lookup-self", token=token)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_token_without_the_right_is_denied_and_an_expired_one_is_expired(
    bao: OpenBao, kv: str, policy: str, cancel: Token
) -> None:
    other = bao.mount("kv", options={"version": "2"})
    provider = vault(bao, token=bao.token(policy))
    read(provider, f"vault://{kv}/app#token", cancel)
    with pytest.raises(SecretDenied) as caught:
        read(provider, f"vault://{other}/app", cancel)
    assert "policy" in caught.value.hint
    token = bao.token(policy)
    gone = vault(bao, token=token)
    bao.api("POST", "auth/token/revoke", {"token": token})
    with pytest.raises(SecretExpiredToken):
        read(gone, f"vault://{kv}/app#token", cancel)


def test_a_token_of_our_own_that_is_revoked_is_replaced_by_a_new_login(
    bao: OpenBao, kv: str, approle: tuple[str, str], cancel: Token
) -> None:
    mount, role_id = approle
    secret_id = bao.api("POST", f"auth/{mount}/role/app/secret-id")["data"]["secret_id"]
    seen: list[bytes] = []
    provider = vault(bao, seen.append, role_id=role_id, secret_id=secret_id, auth_mount=mount)
    read(provider, f"vault://{kv}/app#token", cancel)
    bao.api("POST", "auth/token/revoke", {"token": seen[-1].decode()})
    assert read(provider, f"vault://{kv}/app#token", cancel).reveal() == b"t0k3n-value"
    provider.close(cancel)


def test_a_sealed_vault_says_so() -> None:
    cancel = Token(SystemClock(), timeout_s=60)
    with openbao() as bao:
        provider = vault(bao, token=bao.root)
        bao.api("PUT", "sys/seal")
        with pytest.raises(VaultSealed) as caught:
            read(provider, "vault://kv/app", cancel)
    assert bao.address in caught.value.message
    assert not caught.value.transient


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (429, "SecretThrottled"),
        (500, "SecretManagerFault"),
        (502, "SecretManagerFault"),
        (503, "SecretManagerUnreachable"),
    ],
)
def test_what_passes_is_transient(bao: OpenBao, kv: str, cancel: Token, status: int, reason: str) -> None:
    with in_front_of(bao.address) as front:
        provider = vault(front.url, token=bao.root)
        read(provider, f"vault://{kv}/app#token", cancel)
        front.answer_next(Answer(status, b'{"errors": []}'))
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the reason is compared below
            read(provider, f"vault://{kv}/app#token", cancel)
        assert (caught.value.reason, caught.value.transient) == (reason, True)  # type: ignore[attr-defined] # one of ours
        provider.close(cancel)


def test_a_server_that_is_gone_is_unreachable(cancel: Token) -> None:
    provider = vault("http://127.0.0.1:9", token="t")
    with pytest.raises(Exception, match="does not answer") as caught:
        read(provider, "vault://kv/app", cancel)
    assert "127.0.0.1:9" in caught.value.hint  # type: ignore[attr-defined] # one of ours


# --- engines, namespaces, wrapping -----------------------------------------------------------------------------------


def test_an_identity_that_may_not_look_mounts_up_names_the_engine(bao: OpenBao, kv: str, cancel: Token) -> None:
    root = vault(bao, token=bao.root)
    assert read(root, f"vault://{kv}/app#token?engine=kv2", cancel).reveal() == b"t0k3n-value"
    assert read(root, f"vault://{kv}/data/app#token?engine=api-kv2", cancel).reveal() == b"t0k3n-value"


def test_a_deleted_version_is_not_found(bao: OpenBao, kv: str, cancel: Token) -> None:
    bao.api("DELETE", f"{kv}/data/app")
    with pytest.raises(SecretNotFound):
        read(vault(bao, token=bao.root), f"vault://{kv}/app#token", cancel)


def test_a_namespace_of_the_settings_or_of_the_reference_is_asked(bao: OpenBao, cancel: Token) -> None:
    namespace = f"team-{secrets.token_hex(4)}"
    bao.api("POST", f"sys/namespaces/{namespace}", {})
    mount = bao.mount("kv", options={"version": "2"}, namespace=namespace)
    bao.api("PUT", f"{mount}/data/app", {"data": {"token": "inside"}}, namespace=namespace)
    outside = vault(bao, token=bao.root)
    assert read(outside, f"vault://{mount}/app#token?namespace={namespace}", cancel).reveal() == b"inside"
    assert read(vault(bao, token=bao.root, namespace=namespace), f"vault://{mount}/app#token", cancel).reveal() == b"inside"
    with pytest.raises((SecretNotFound, SecretDenied)):
        read(outside, f"vault://{mount}/app#token", cancel)


def test_a_wrapped_response_is_read_once_and_only_if_it_is_the_one_that_was_meant(
    bao: OpenBao, kv: str, cancel: Token, tmp_path: Path
) -> None:
    file = tmp_path / "wrapped"

    def wrap() -> None:
        file.write_text(bao.api("GET", f"{kv}/data/app", wrap="60s")["wrap_info"]["token"])

    provider = vault(bao)  # no login is needed
    wrap()
    with pytest.raises(SecretDenied, match="was made for"):
        read(provider, f"vault://{kv}/other#token?wrapped_in={file}", cancel)
    value = read(provider, f"vault://{kv}/app#token?wrapped_in={file}", cancel)
    assert value.reveal() == b"t0k3n-value"
    assert value.payload.single_use
    with pytest.raises(SecretExpiredToken) as caught:
        read(provider, f"vault://{kv}/app#token?wrapped_in={file}", cancel)
    assert "somebody else" in caught.value.hint


# --- leases ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def database(bao: OpenBao, postgres: PostgresServer) -> Iterator[tuple[str, str]]:
    """A database engine over a real PostgreSQL: its mount, and the database's URL without an account."""
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
    role = {"db_name": "pg", "creation_statements": [make], "default_ttl": "60s", "max_ttl": "10m"}
    bao.api("POST", f"{mount}/roles/app", role)
    yield mount, f"{postgres.host}:{postgres.port}/postgres"
    bao.api("DELETE", f"sys/mounts/{mount}")


def log_in(user: bytes, password: bytes, database: tuple[str, str]) -> str:
    with psycopg.connect(f"postgresql://{user.decode()}:{password.decode()}@{database[1]}", connect_timeout=5) as connection:
        row = connection.execute("SELECT current_user").fetchone()
        assert row is not None
        return str(row[0])


def refused_soon(user: bytes, password: bytes, database: tuple[str, str]) -> None:
    """A token's leases are taken back by the server's own workers, shortly after the token."""
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        try:
            log_in(user, password, database)
        except psycopg.Error:  # refused, or gone while logging in
            return
        time.sleep(0.05)  # a poll of another program with a deadline
    pytest.fail("the account still works")


def account(provider: VaultSecrets, mount: str, cancel: Token) -> tuple[Secret, Secret]:
    refs = [parse_ref(f"vault://{mount}/creds/app#{field}") for field in ("username", "password")]
    answer = provider.resolve(refs, cancel)
    user, password = (answer[ref] for ref in refs)
    assert isinstance(user, Secret)
    assert isinstance(password, Secret)
    return user, password


def test_a_database_account_works_is_renewed_and_is_refused_after_its_lease_was_given_back(
    bao: OpenBao, database: tuple[str, str], cancel: Token
) -> None:
    provider = vault(bao, token=bao.root)
    user, password = account(provider, database[0], cancel)
    assert user.lease is not None
    assert user.lease is password.lease
    assert user.lease.renewable
    assert user.lease.duration_s == 60
    assert log_in(user.reveal(), password.reveal(), database) == user.reveal().decode()

    before = bao.api("PUT", "sys/leases/lookup", {"lease_id": user.lease.lease_id})["data"]
    assert before["last_renewal"] is None
    renewed = provider.renew(user, cancel)
    assert isinstance(renewed, Secret)
    assert renewed.reveal() == user.reveal()
    after = bao.api("PUT", "sys/leases/lookup", {"lease_id": user.lease.lease_id})["data"]
    assert after["last_renewal"] is not None

    provider.revoke(renewed, cancel)
    with pytest.raises(psycopg.OperationalError, match=r"authentication failed|does not exist"):
        log_in(user.reveal(), password.reveal(), database)
    provider.revoke(renewed, cancel)
    with pytest.raises(SecretNotFound, match="lease is over"):
        provider.renew(renewed, cancel)


def test_an_account_of_which_a_field_is_asked_that_it_has_not_is_given_back(
    bao: OpenBao, database: tuple[str, str], cancel: Token
) -> None:
    provider = vault(bao, token=bao.root)
    with pytest.raises(SecretKeyMissing):
        read(provider, f"vault://{database[0]}/creds/app#pasword", cancel)
    with pytest.raises(AssertionError, match="404"):  # nothing is lent
        bao.api("GET", f"sys/leases/lookup/{database[0]}/creds/app?list=true")


def test_an_identity_that_may_not_revoke_leases_gives_them_back_with_its_token(
    bao: OpenBao, database: tuple[str, str], cancel: Token
) -> None:
    mount = bao.enable_auth("approle")
    policy = bao.policy(f'path "{database[0]}/creds/app" {{ capabilities = ["read"] }}')
    bao.api("POST", f"auth/{mount}/role/app", {"token_policies": [policy], "token_ttl": "45s"})
    role_id = bao.api("GET", f"auth/{mount}/role/app/role-id")["data"]["role_id"]
    secret_id = bao.api("POST", f"auth/{mount}/role/app/secret-id")["data"]["secret_id"]
    provider = vault(bao, role_id=role_id, secret_id=secret_id, auth_mount=mount)
    user, password = account(provider, database[0], cancel)
    assert user.lease is not None
    # The lease hangs on a token that lives shorter than it does.
    assert user.lease.duration_s <= 45
    provider.revoke(user, cancel)
    assert log_in(user.reveal(), password.reveal(), database)
    provider.close(cancel)
    refused_soon(user.reveal(), password.reveal(), database)


def test_a_session_goes_on_in_another_process_of_the_pod(bao: OpenBao, database: tuple[str, str], cancel: Token) -> None:
    mount = bao.enable_auth("approle")
    policy = bao.policy(f'path "{database[0]}/creds/app" {{ capabilities = ["read"] }}')
    bao.api("POST", f"auth/{mount}/role/app", {"token_policies": [policy], "token_ttl": "5m"})
    role_id = bao.api("GET", f"auth/{mount}/role/app/role-id")["data"]["role_id"]
    secret_id = bao.api("POST", f"auth/{mount}/role/app/secret-id")["data"]["secret_id"]
    first = vault(bao, role_id=role_id, secret_id=secret_id, auth_mount=mount)
    user, password = account(first, database[0], cancel)
    second = vault(bao)
    second.restore(first.state())
    assert second.renew(user, cancel).reveal() == user.reveal()
    second.close(cancel)
    refused_soon(user.reveal(), password.reveal(), database)


def test_a_lease_that_a_given_token_may_not_give_back_is_said_to_stay(
    bao: OpenBao, database: tuple[str, str], cancel: Token
) -> None:
    token = bao.token(bao.policy(f'path "{database[0]}/creds/app" {{ capabilities = ["read"] }}'))
    provider = vault(bao, token=token)
    user, password = account(provider, database[0], cancel)
    with pytest.raises(SecretDenied, match="the lease stays") as refused:
        provider.revoke(user, cancel)
    assert "sys/leases/revoke" in refused.value.hint
    assert log_in(user.reveal(), password.reveal(), database)
