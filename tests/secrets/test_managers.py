"""AWS, Google, Azure and Kubernetes: identities, names and versions in each one's spelling, and the reason of every failure."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import urllib3

from copilot.core.errors import (
    BadConfig,
    BadSecretRef,
    CopilotError,
    MissingExtra,
    SecretDenied,
    SecretExpiredToken,
    SecretKeyMissing,
    SecretNoIdentity,
    SecretNotFound,
    SecretNotText,
    SecretRefused,
    SecretUnreachable,
)
from copilot.core.secret_refs import parse_ref
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.secrets.registry import ProviderContext, Providers
from copilot.secrets.settings import (
    AwsSettings,
    AzureSettings,
    GcpSettings,
    KubernetesSettings,
    SecretSettings,
    ServerSecretsSettings,
    VaultSettings,
    settings_from,
)
from copilot.testing.kubernetes_secrets import kubernetes_secrets_api
from copilot.testing.secret_servers.azure import TENANT, AzureKeyVault
from copilot.testing.secret_servers.http import Answer, in_front_of

if TYPE_CHECKING:
    from copilot.core.secret_ports import SecretProvider, SecretValue
    from copilot.testing.secret_servers.google import GoogleSecretManager
    from copilot.testing.servers.s3 import S3Server


def opened(name: str, settings: SecretSettings) -> SecretProvider:
    return Providers(ProviderContext(settings, SystemClock())).get(name)


def read(provider: SecretProvider, text: str) -> SecretValue:
    ref = parse_ref(text)
    return provider.resolve([ref], Token(SystemClock(), timeout_s=30))[ref]


def failure(provider: SecretProvider, text: str) -> CopilotError:
    with pytest.raises(CopilotError) as caught:
        read(provider, text)
    assert caught.value.subject
    return caught.value


# --- the registry ----------------------------------------------------------------------------------------------------


def test_an_unknown_provider_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(BadSecretRef) as caught:
        opened("valut", SecretSettings())
    assert "vault" in caught.value.hint


def test_a_missing_client_names_the_extra() -> None:
    registry = {"mine": ("copilot_client_that_is_not_installed:Provider", "copilot[mine]")}
    with pytest.raises(MissingExtra) as caught:
        Providers(ProviderContext(SecretSettings(), SystemClock()), registry=registry).get("mine")
    assert "copilot[mine]" in caught.value.hint


def test_the_settings_come_from_each_managers_own_variables() -> None:
    settings = settings_from(
        {
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_REGION": "eu-central-1",
            "GOOGLE_CLOUD_PROJECT": "p",
            "AZURE_KEYVAULT_URL": "https://v.vault.azure.net",
            "AZURE_CLIENT_SECRET": "s3cr3t-client",
            "BAO_ADDR": "http://bao",
            "VAULT_TOKEN": "s3cr3t-token",
            "VAULT_SKIP_VERIFY": "true",
            "KUBERNETES_SERVICE_HOST": "fd00::1",
            "KUBERNETES_SERVICE_PORT": "443",
        }
    )
    assert settings.aws.region == "eu-central-1"
    assert settings.gcp.project == "p"
    assert settings.azure.vault == "https://v.vault.azure.net"
    assert settings.vault.address == "http://bao"
    assert not settings.vault.verify_tls
    assert settings.kubernetes.api == "https://[fd00::1]:443"
    assert "s3cr3t" not in repr(settings)
    assert settings_from({}).vault.verify_tls


# --- AWS -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def aws_chain(monkeypatch: pytest.MonkeyPatch, moto_server: S3Server) -> str:
    for name, value in moto_server.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_REGION")
    return moto_server.endpoint


def create(endpoint: str, name: str, value: str, region: str = "eu-west-1") -> dict[str, Any]:
    scope = f"AWS4-HMAC-SHA256 Credential=test/20260101/{region}/secretsmanager/aws4_request, SignedHeaders=host, Signature=0"
    headers = {
        "X-Amz-Target": "secretsmanager.CreateSecret",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": scope,
    }
    body = json.dumps({"Name": name, "SecretString": value}).encode()
    with urllib3.PoolManager() as pool:
        answer = pool.request("POST", endpoint, body=body, headers=headers, retries=False)
        assert answer.status == 200, answer.data
        return dict(json.loads(answer.data))


def aws(region: str | None = "eu-west-1", **settings: Any) -> SecretProvider:  # noqa: ANN401 - the settings' own types
    return opened("aws", SecretSettings(aws=AwsSettings(region=region, **settings)))


def test_an_arn_brings_its_region_and_an_option_names_one(aws_chain: str) -> None:
    arn = create(aws_chain, "far/away", "there", region="ap-south-1")["ARN"]
    assert read(aws(), f"aws://{arn}").reveal() == b"there"
    assert read(aws(None), f"aws://{arn}").reveal() == b"there"
    assert read(aws(), "aws://far/away?region=ap-south-1").reveal() == b"there"
    assert isinstance(failure(aws(), "aws://far/away"), SecretNotFound)


def test_without_any_region_the_hint_says_what_to_set(aws_chain: str) -> None:
    assert aws_chain
    error = failure(aws(None), "aws://prod/db")
    assert isinstance(error, BadConfig)
    assert "AWS_REGION" in error.hint


def test_a_version_is_a_stage_or_an_id(aws_chain: str) -> None:
    created = create(aws_chain, "staged", "one")
    assert read(aws(), "aws://staged?version=AWSCURRENT").reveal() == b"one"
    assert read(aws(), f"aws://staged?version={created['VersionId']}").reveal() == b"one"
    assert isinstance(failure(aws(), "aws://staged?version=AWSPREVIOUS"), SecretNotFound)


def test_many_secrets_cost_one_request_and_one_by_one_if_the_batch_is_denied(
    aws_chain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        create(aws_chain, f"batch/{number}", f"value {number}")
    refs = [parse_ref(f"aws://batch/{number}") for number in range(5)]
    cancel = Token(SystemClock(), timeout_s=30)
    with in_front_of(aws_chain) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)
        provider = aws()
        answer = provider.resolve(refs, cancel)
        assert [answer[ref].reveal() for ref in refs] == [f"value {number}".encode() for number in range(5)]
        assert [request.headers["x-amz-target"] for request in front.requests] == ["secretsmanager.BatchGetSecretValue"]
        front.answer_next(aws_error("AccessDeniedException"))
        answer = provider.resolve(refs, cancel)
        assert [answer[ref].reveal() for ref in refs] == [f"value {number}".encode() for number in range(5)]
        assert len(front.requests) == 1 + 1 + 5


def aws_error(code: str, status: int = 400) -> Answer:
    return Answer(status, json.dumps({"__type": code, "message": "m"}).encode(), {"Content-Type": "application/x-amz-json-1.1"})


@pytest.mark.parametrize(
    ("answer", "reason", "transient"),
    [
        (aws_error("AccessDeniedException"), "SecretDenied", False),
        (aws_error("ExpiredTokenException"), "SecretTokenExpired", False),
        (aws_error("UnrecognizedClientException"), "SecretNoIdentity", False),
        (aws_error("ThrottlingException"), "SecretThrottled", True),
        (aws_error("DecryptionFailure"), "SecretDenied", False),
        (aws_error("InvalidRequestException"), "SecretRefused", False),
        (aws_error("InternalServiceError", 500), "SecretManagerFault", True),
        (Answer(503, b"<html>"), "SecretManagerFault", True),
    ],
)
def test_what_aws_answers_has_its_reason(
    aws_chain: str, monkeypatch: pytest.MonkeyPatch, answer: Answer, reason: str, *, transient: bool
) -> None:
    with in_front_of(aws_chain) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)
        front.answer_next(answer)
        error = failure(aws(), "aws://prod/db")
        assert (error.reason, error.transient) == (reason, transient)
        assert len(front.requests) == 1  # the engine retries, not the client


def test_aws_that_is_gone_is_unreachable(aws_chain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert aws_chain
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert isinstance(failure(aws(), "aws://prod/db"), SecretUnreachable)


def test_without_credentials_there_is_no_identity(
    monkeypatch: pytest.MonkeyPatch, moto_server: S3Server, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server.endpoint)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert isinstance(failure(aws(), "aws://prod/db"), SecretNoIdentity)


def test_web_identity_is_assumed_from_the_pods_token(
    monkeypatch: pytest.MonkeyPatch, moto_server: S3Server, tmp_path: Path
) -> None:
    create(moto_server.endpoint, "irsa", "by role")
    token = tmp_path / "token"
    token.write_text("a.b.c")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with in_front_of(moto_server.endpoint) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/app")
        monkeypatch.setenv("AWS_ROLE_SESSION_NAME", "pod")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        provider = opened("aws", settings_from({"AWS_REGION": "eu-west-1"}))
        assert read(provider, "aws://irsa").reveal() == b"by role"
        assert b"AssumeRoleWithWebIdentity" in front.requests[0].body
        assert "assumed-role/app/pod" in provider.whoami(Token(SystemClock()))


def test_a_role_is_assumed_for_the_reference_that_asks_for_it(aws_chain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create(aws_chain, "shared", "of another account")
    role = "arn:aws:iam::210987654321:role/reader"
    seen: list[bytes] = []
    with in_front_of(aws_chain) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)
        context = ProviderContext(SecretSettings(aws=AwsSettings(region="eu-west-1")), SystemClock(), seen.append)
        provider = Providers(context).get("aws")
        error = failure(provider, f"aws://shared?role={role}&external_id=ext-42")
        # moto keeps accounts apart: the role's account has no such secret, which proves that the role was used.
        assert isinstance(error, SecretNotFound)
        assert b"AssumeRole" in front.requests[0].body
        assert b"ext-42" in front.requests[0].body
        assert len(seen) == 2  # the lent key and session token are known to the redactor
        failure(provider, f"aws://shared?role={role}&external_id=ext-42")
        assert sum(b"AssumeRole" in request.body for request in front.requests) == 1


def test_the_clients_debug_lines_stay_out_of_a_log_at_debug_level(aws_chain: str, caplog: pytest.LogCaptureFixture) -> None:
    create(aws_chain, "debugged", "s3cr3t-for-debug")
    with caplog.at_level(logging.DEBUG):
        assert read(aws(), "aws://debugged").reveal() == b"s3cr3t-for-debug"
    assert "s3cr3t-for-debug" not in caplog.text


# --- Google ----------------------------------------------------------------------------------------------------------


def gcp(google: GoogleSecretManager, project: str | None = "here") -> SecretProvider:
    return opened("gcp", SecretSettings(gcp=GcpSettings(project=project, endpoint=google.address, plaintext=True, timeout_s=5)))


def test_google_names_come_short_with_a_project_and_in_full(google: GoogleSecretManager) -> None:
    google.put("projects/here/secrets/key", b"mine")
    google.put("projects/there/secrets/key", b"theirs")
    google.put("projects/there/locations/eu/secrets/key", b"regional")
    assert read(gcp(google), "gcp://key").reveal() == b"mine"
    assert read(gcp(google), "gcp://there/key").reveal() == b"theirs"
    assert read(gcp(google), "gcp://projects/there/secrets/key/versions/1").reveal() == b"theirs"
    assert read(gcp(google), "gcp://there/key?location=eu").reveal() == b"regional"
    assert isinstance(failure(gcp(google, None), "gcp://key"), BadSecretRef)


def test_google_versions_are_numbers_latest_and_aliases(google: GoogleSecretManager) -> None:
    name = "projects/here/secrets/key"
    google.put(name, b"one")
    google.put(name, b"two")
    google.alias(name, "stable", "1")
    assert read(gcp(google), "gcp://key").version == "2"
    assert read(gcp(google), "gcp://key?version=latest").reveal() == b"two"
    assert read(gcp(google), "gcp://key?version=stable").reveal() == b"one"
    assert isinstance(failure(gcp(google), "gcp://key?version=9"), SecretNotFound)
    assert isinstance(failure(gcp(google), "gcp://key?version=nobody"), BadSecretRef)


def test_a_value_with_another_checksum_than_stated_never_passes(google: GoogleSecretManager) -> None:
    google.put("projects/here/secrets/key", b"value")
    google.corrupt_next()
    error = failure(gcp(google), "gcp://key")
    assert (error.reason, error.transient) == ("SecretCorrupt", True)
    assert read(gcp(google), "gcp://key").reveal() == b"value"


@pytest.mark.parametrize(
    ("code", "reason", "transient"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "SecretDenied", False),
        (grpc.StatusCode.UNAUTHENTICATED, "SecretNoIdentity", False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "SecretThrottled", True),
        (grpc.StatusCode.UNAVAILABLE, "SecretManagerUnreachable", True),
        (grpc.StatusCode.INTERNAL, "SecretManagerFault", True),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "SecretManagerUnreachable", True),
    ],
)
def test_what_google_answers_has_its_reason(
    google: GoogleSecretManager, code: grpc.StatusCode, reason: str, *, transient: bool
) -> None:
    google.put("projects/here/secrets/key", b"value")
    google.fail_next(code)
    error = failure(gcp(google), "gcp://key")
    assert (error.reason, error.transient) == (reason, transient)
    assert len(google.calls) == 1  # the engine retries, not the client


def test_a_disabled_version_says_so(google: GoogleSecretManager) -> None:
    version = google.put("projects/here/secrets/key", b"value")
    google.disable("projects/here/secrets/key", version)
    assert isinstance(failure(gcp(google), "gcp://key"), SecretRefused)


def test_without_google_credentials_there_is_no_identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    provider = opened("gcp", SecretSettings(gcp=GcpSettings(project="here")))
    assert isinstance(failure(provider, "gcp://key"), SecretNoIdentity)


# --- Azure -----------------------------------------------------------------------------------------------------------


def azure(server: AzureKeyVault, **changes: Any) -> SecretProvider:  # noqa: ANN401 - the settings' own types
    settings: dict[str, Any] = {
        "vault": server.url,
        "tenant_id": TENANT,
        "client_id": server.client_id,
        "client_secret": server.client_secret,
        "authority": server.url,
        "verify_challenge": False,
        "ca_file": str(server.ca_file),
    }
    return opened("azure", SecretSettings(azure=AzureSettings(**(settings | changes))))


def test_azure_names_come_short_and_as_azure_prints_them(key_vault: AzureKeyVault) -> None:
    first = key_vault.put("db-password", "one")
    key_vault.put("db-password", "two")
    host = key_vault.url.removeprefix("https://")
    assert read(azure(key_vault), "azure://db-password").reveal() == b"two"
    assert read(azure(key_vault, vault=None), f"azure://{host}/db-password").reveal() == b"two"
    assert read(azure(key_vault, vault=None), f"azure://{key_vault.url}/secrets/db-password/{first}").reveal() == b"one"
    assert read(azure(key_vault), f"azure://db-password?version={first}").reveal() == b"one"
    assert isinstance(failure(azure(key_vault, vault=None), "azure://db-password"), BadSecretRef)
    assert isinstance(failure(azure(key_vault), "azure://db-password?version=00000000000000000000000000000000"), SecretNotFound)


def test_azure_takes_a_workload_identity(key_vault: AzureKeyVault, tmp_path: Path) -> None:
    key_vault.put("k", "v")
    token = tmp_path / "token"
    token.write_text(key_vault.assertion)
    provider = azure(key_vault, client_secret=None, federated_token_file=str(token))
    assert read(provider, "azure://k").reveal() == b"v"
    assert key_vault.client_id in provider.whoami(Token(SystemClock()))


def test_azure_takes_a_managed_identity(key_vault: AzureKeyVault, monkeypatch: pytest.MonkeyPatch) -> None:
    key_vault.put("k", "v")
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{key_vault.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", key_vault.identity_header)
    monkeypatch.delenv("AZURE_CLIENT_ID", raising=False)
    provider = azure(key_vault, client_secret=None, client_id=None, managed_identity=True)
    assert read(provider, "azure://k").reveal() == b"v"


def test_azure_refuses_a_wrong_client_secret_and_the_sentence_does_not_quote_it(key_vault: AzureKeyVault) -> None:
    key_vault.put("k", "v")
    error = failure(azure(key_vault, client_secret="wr0ng-secret"), "azure://k")
    assert isinstance(error, SecretNoIdentity)
    assert "wr0ng" not in error.sentence()


def test_azure_logs_in_again_when_its_token_is_gone(key_vault: AzureKeyVault) -> None:
    key_vault.put("k", "v")
    provider = azure(key_vault)
    read(provider, "azure://k")
    key_vault.deny("other")
    assert isinstance(failure(provider, "azure://other"), SecretDenied)
    assert key_vault.tokens()


@pytest.mark.parametrize(
    ("answer", "reason", "transient"),
    [
        (Answer(429, b"{}", {"Retry-After": "7"}), "SecretThrottled", True),
        (Answer(500, b"{}"), "SecretManagerFault", True),
        (Answer(400, b"{}"), "BadSecretRef", False),
        (Answer(409, b"{}"), "SecretRefused", False),
    ],
)
def test_what_azure_answers_has_its_reason(key_vault: AzureKeyVault, answer: Answer, reason: str, *, transient: bool) -> None:
    key_vault.put("k", "v")
    provider = azure(key_vault)
    read(provider, "azure://k")
    before = len(key_vault.server.requests)
    key_vault.server.answer_next(answer)
    error = failure(provider, "azure://k")
    assert (error.reason, error.transient) == (reason, transient)
    assert error.retry_after_s == (7.0 if answer.status == 429 else None)
    assert len(key_vault.server.requests) == before + 1


def test_a_foreign_certificate_is_told_as_such(
    key_vault: AzureKeyVault, aws_chain: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert aws_chain
    monkeypatch.setenv("AWS_ENDPOINT_URL", key_vault.url)
    (tmp_path / "token").write_text("any")
    kubernetes = KubernetesSettings(api=key_vault.url, token_file=str(tmp_path / "token"), ca_file=None, namespace="here")
    server = ServerSecretsSettings(url=f"{key_vault.url}/secrets/", token="any")
    vault = VaultSettings(address=key_vault.url, token="any")
    for provider, text, variable in (
        (azure(key_vault, ca_file=None), "azure://k", "COPILOT_AZURE_CA_FILE"),
        (aws(), "aws://k", "AWS_CA_BUNDLE"),
        (opened("k8s", SecretSettings(kubernetes=kubernetes)), "k8s://k", "COPILOT_KUBERNETES_CA_FILE"),
        (opened("copilot", SecretSettings(server=server)), "copilot://k", "SSL_CERT_FILE"),
        (opened("vault", SecretSettings(vault=vault)), "vault://kv/k", "VAULT_CACERT"),
    ):
        error = failure(provider, text)
        assert isinstance(error, SecretUnreachable)
        assert "certificate" in error.message
        assert variable in error.hint


def test_an_azure_identity_that_is_not_complete_is_its_own_and_only_reason(key_vault: AzureKeyVault) -> None:
    error = failure(azure(key_vault, tenant_id=None), "azure://k")
    assert isinstance(error, SecretNoIdentity)
    assert "AZURE_TENANT_ID" in error.hint
    assert error.__cause__ is not error
    with pytest.raises(BadConfig, match="/not/there"):
        azure(key_vault, ca_file="/not/there")


def test_flytes_envelope_is_opened(key_vault: AzureKeyVault) -> None:
    key_vault.put("text", json.dumps({"type": "STRING", "value": "hello"}))
    key_vault.put("bytes", json.dumps({"type": "BINARY", "value": "AAH/"}))
    key_vault.put("plain", "hello")
    assert read(azure(key_vault), "azure://text?unwrap=flyte").reveal() == b"hello"
    assert read(azure(key_vault), "azure://bytes?unwrap=flyte").reveal() == b"\x00\x01\xff"
    assert isinstance(failure(azure(key_vault), "azure://plain?unwrap=flyte"), SecretNotText)


# --- Kubernetes ------------------------------------------------------------------------------------------------------


def test_kubernetes_failures_have_their_reasons(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with kubernetes_secrets_api() as api:
        token.write_text(api.service_account("team-a", "app"))
        (tmp_path / "namespace").write_text("team-a")
        settings = KubernetesSettings(
            api=api.url, token_file=str(token), ca_file=None, namespace_file=str(tmp_path / "namespace"), timeout_s=5
        )
        provider = opened("k8s", SecretSettings(kubernetes=settings))
        api.put("team-a", "db", {"password": b"pw"})
        assert read(provider, "k8s://db#password").reveal() == b"pw"
        assert provider.whoami(Token(SystemClock())) == "system:serviceaccount:team-a:app"
        api.deny("kube-system", "root")
        denied = failure(provider, "k8s://kube-system/root#x")
        assert isinstance(denied, SecretDenied)
        assert "kubectl auth can-i" in denied.hint
        api.server.answer_next(Answer(429, b"", {"Retry-After": "3"}))
        throttled = failure(provider, "k8s://db#password")
        assert (throttled.reason, throttled.retry_after_s) == ("SecretThrottled", 3.0)
        api.server.answer_next(Answer(500), Answer(200, b"not json s3cr3t"), Answer(418))
        assert [failure(provider, "k8s://db#password").reason for _ in range(3)] == [
            "SecretManagerFault",
            "SecretManagerFault",
            "SecretRefused",
        ]
        api.expire_tokens()
        assert isinstance(failure(provider, "k8s://db#password"), SecretExpiredToken)
    assert isinstance(failure(provider, "k8s://db#password"), SecretUnreachable)
    token.unlink()
    assert isinstance(failure(provider, "k8s://db#password"), SecretNoIdentity)
    assert isinstance(failure(opened("k8s", SecretSettings()), "k8s://team-a/db#x"), SecretNoIdentity)
    no_url = opened("k8s", SecretSettings(kubernetes=KubernetesSettings(api="127.0.0.1:6443")))
    assert isinstance(failure(no_url, "k8s://team-a/db#x"), BadConfig)


def test_a_mounted_secret_is_read_where_the_reference_says(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"pw")
    provider = opened("k8s", SecretSettings())
    assert read(provider, f"k8s://db#password?mount={tmp_path}").reveal() == b"pw"
    assert isinstance(failure(provider, f"k8s://db#user?mount={tmp_path}"), SecretKeyMissing)
    assert isinstance(failure(provider, f"k8s://db#user?mount={tmp_path}/none"), SecretNotFound)


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_file_reference_needs_an_absolute_path_and_a_readable_file(tmp_path: Path) -> None:
    provider = opened("file", SecretSettings())
    assert isinstance(failure(provider, "file://relative"), BadSecretRef)
    assert failure(provider, f"file://{tmp_path}").reason == "SecretFailed"
