"""Every provider keeps the contract, against a real server where there is one."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3

from copilot.core.errors import (
    SecretDenied,
    SecretError,
    SecretExpiredToken,
    SecretNoIdentity,
    SecretNotFound,
    SecretRefused,
    SecretThrottled,
)
from copilot.core.secret_ports import SecretProvider, SecretRef
from copilot.engine.clock import SystemClock
from copilot.secrets.registry import PROVIDERS, ProviderContext, Providers
from copilot.secrets.settings import (
    AwsSettings,
    AzureSettings,
    GcpSettings,
    KubernetesSettings,
    SecretSettings,
    VaultSettings,
    settings_from,
)
from copilot.testing.kubernetes_secrets import KubernetesSecretsApi, kubernetes_secrets_api
from copilot.testing.provider_contract import ProviderContract, SecretWorld
from copilot.testing.secret_servers.azure import TENANT, AzureKeyVault
from copilot.testing.secret_servers.http import Answer, HttpServer, Request

if TYPE_CHECKING:
    from copilot.engine.cancel import Token
    from copilot.testing.secret_servers.certificates import Authority
    from copilot.testing.secret_servers.google import GoogleSecretManager
    from copilot.testing.secret_servers.openbao import OpenBao
    from copilot.testing.servers.s3 import S3Server


def open_provider(name: str, settings: SecretSettings) -> SecretProvider:
    return Providers(ProviderContext(settings, SystemClock())).get(name)


def fresh() -> str:
    return f"s-{secrets.token_hex(6)}"


class World:
    """Writes with ``write(name, bytes)`` to a manager that keeps bytes under names."""

    takes_binary = True
    keeps_versions = True

    def __init__(self, provider: SecretProvider, scheme: str, write: Callable[[str, bytes], object], prefix: str = "") -> None:
        self.provider = provider
        self._scheme, self._write, self._prefix = scheme, write, prefix

    def put(self, value: bytes, ref: SecretRef | None = None) -> SecretRef:
        ref = ref or SecretRef(self._scheme, self._prefix + fresh())
        self._write(ref.name, value)
        return ref

    def put_object(self, fields: dict[str, str]) -> SecretRef:
        return self.put(json.dumps(fields).encode())

    def missing(self) -> SecretRef:
        return SecretRef(self._scheme, self._prefix + fresh())


class FieldWorld(World):
    """The same for a manager that keeps fields."""

    takes_binary = False

    def __init__(
        self, provider: SecretProvider, scheme: str, write: Callable[[str, dict[str, Any]], object], prefix: str = ""
    ) -> None:
        super().__init__(provider, scheme, lambda _name, _value: None, prefix)
        self._write_fields = write

    def put(self, value: bytes, ref: SecretRef | None = None) -> SecretRef:
        name = self._prefix + fresh() if ref is None else ref.name
        self._write_fields(name, {"v": value if self.takes_binary else value.decode()})
        return ref or SecretRef(self._scheme, name, "v")

    def put_object(self, fields: dict[str, str]) -> SecretRef:
        name = self._prefix + fresh()
        self._write_fields(name, fields)
        return SecretRef(self._scheme, name)


class TestEnvironment(ProviderContract):
    @pytest.fixture
    def world(self) -> World:
        environ: dict[str, str] = {}
        world = World(
            open_provider("env", SecretSettings(environ=environ)),
            "env",
            lambda name, value: environ.update({name: os.fsdecode(value)}),
        )
        world.keeps_versions = False
        return world


class TestFile(ProviderContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        world = World(
            open_provider("file", SecretSettings()), "file", lambda name, value: Path(name).write_bytes(value), f"{tmp_path}/"
        )
        world.keeps_versions = False
        return world


class TestServer(ProviderContract):
    """The wire of ``control_plane.api.secret_endpoint``, with every secret declared."""

    @pytest.fixture
    def world(self) -> Iterator[World]:
        kept: dict[str, bytes] = {}

        def answer(request: Request) -> Answer:
            if request.bearer != "attempt-token":
                return Answer(401)
            value = kept.get(request.path.removeprefix("/copilot/v1/secrets/"))
            return (
                Answer(404) if value is None else Answer(200, json.dumps({"value": base64.b64encode(value).decode()}).encode())
            )

        server = HttpServer(answer)
        with server.serving():
            environ = {"COPILOT_REPORT_URL": f"{server.url}/copilot/v1/report", "COPILOT_REPORT_TOKEN": "attempt-token"}
            world = World(open_provider("copilot", settings_from(environ)), "copilot", kept.__setitem__)
            world.keeps_versions = False
            yield world


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, SecretExpiredToken), (403, SecretDenied), (404, SecretNotFound), (429, SecretThrottled), (400, SecretRefused)],
)
def test_what_our_server_refuses_is_told_apart(status: int, error: type[SecretError], cancel: Token) -> None:
    server = HttpServer(lambda _: Answer(status, b"no"))
    with server.serving():
        environ = {"COPILOT_REPORT_URL": f"{server.url}/copilot/v1/report", "COPILOT_REPORT_TOKEN": "attempt-token"}
        provider = open_provider("copilot", settings_from(environ))
        with pytest.raises(error) as caught:
            provider.resolve([SecretRef("copilot", "k")], cancel)
    assert "attempt-token" not in f"{caught.value!r} {caught.value.sentence()}"
    assert caught.value.transient == (status == 429)


def test_outside_a_pod_of_our_server_there_is_nobody_to_ask(cancel: Token) -> None:
    with pytest.raises(SecretNoIdentity):
        open_provider("copilot", settings_from({})).resolve([SecretRef("copilot", "k")], cancel)


class KubernetesWorld(FieldWorld):
    takes_binary = True
    keeps_versions = False

    def __init__(self, provider: SecretProvider, api: KubernetesSecretsApi) -> None:
        def write(name: str, fields: dict[str, Any]) -> None:
            namespace, _, inside = name.partition("/")
            data = {key: value if isinstance(value, bytes) else value.encode() for key, value in fields.items()}
            api.put(namespace, inside, data)

        super().__init__(provider, "k8s", write, "team-a/")


class TestKubernetesByApi(ProviderContract):
    @pytest.fixture
    def world(self, tmp_path: Path, authority: Authority) -> Iterator[World]:
        with kubernetes_secrets_api(authority.server_context()) as api:
            token = tmp_path / "token"
            token.write_text(api.service_account("team-a", "default"))
            settings = KubernetesSettings(
                api=api.url, token_file=str(token), ca_file=str(authority.ca_file), namespace="team-a"
            )
            yield KubernetesWorld(open_provider("k8s", SecretSettings(kubernetes=settings)), api)


class MountedWorld(FieldWorld):
    takes_binary = True
    keeps_versions = False

    def __init__(self, provider: SecretProvider, mounts: Path) -> None:
        super().__init__(provider, "k8s", self._mount)
        self._mounts = mounts

    def _mount(self, name: str, fields: dict[str, Any]) -> None:
        """As the kubelet does: the files in a dated directory, a link to it, and a link a key."""
        directory = self._mounts / name
        data = directory / f"..2026_{secrets.token_hex(4)}"
        data.mkdir(parents=True)
        for key, value in fields.items():
            if "/" not in key:
                (data / key).write_bytes(value if isinstance(value, bytes) else value.encode())
                link = directory / key
                if not link.is_symlink():
                    link.symlink_to(f"..data/{key}")
        swap = directory / "..data_tmp"
        swap.symlink_to(data.name)
        swap.replace(directory / "..data")


class TestKubernetesMounted(ProviderContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[World]:
        token = tmp_path / "token"
        with kubernetes_secrets_api() as api:
            token.write_text(api.service_account("team-a", "default"))
            settings = KubernetesSettings(
                api=api.url, token_file=str(token), namespace="team-a", mounts=str(tmp_path / "mounts")
            )
            yield MountedWorld(open_provider("k8s", SecretSettings(kubernetes=settings)), tmp_path / "mounts")

    def test_fields_are_picked_by_key(self, world: SecretWorld, cancel: Token) -> None:
        whole = world.put_object({"user": "app", "tls.crt": "p-äöü"})
        refs = [SecretRef("k8s", whole.name, key) for key in ("user", "tls.crt")]
        answer = world.provider.resolve(refs, cancel)
        assert [answer[ref].reveal().decode() for ref in refs] == ["app", "p-äöü"]


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch, moto_server: S3Server) -> str:
    """The standard chain finds moto and its keys."""
    for name, value in moto_server.environ.items():
        monkeypatch.setenv(name, value)
    return moto_server.endpoint


def aws_api(endpoint: str, action: str, body: dict[str, object], region: str = "eu-west-1") -> dict[str, Any]:
    """One call of moto past boto3."""
    scope = f"AWS4-HMAC-SHA256 Credential=test/20260101/{region}/secretsmanager/aws4_request, SignedHeaders=host, Signature=0"
    headers = {
        "X-Amz-Target": f"secretsmanager.{action}",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": scope,
    }
    with urllib3.PoolManager() as pool:
        answer = pool.request("POST", endpoint, body=json.dumps(body).encode(), headers=headers, retries=False)
        assert answer.status == 200, answer.data
        return dict(json.loads(answer.data))


def aws_write(endpoint: str, known: set[str]) -> Callable[[str, bytes], object]:
    def write(name: str, value: bytes) -> object:
        content: dict[str, object]
        try:
            content = {"SecretString": value.decode()}
        except UnicodeDecodeError:
            content = {"SecretBinary": base64.b64encode(value).decode()}
        action = "PutSecretValue" if name in known else "CreateSecret"
        known.add(name)
        return aws_api(endpoint, action, {"SecretId" if action == "PutSecretValue" else "Name": name, **content})

    return write


class TestAws(ProviderContract):
    @pytest.fixture
    def world(self, aws_environment: str) -> World:
        settings = SecretSettings(aws=AwsSettings(region="eu-west-1"))
        return World(open_provider("aws", settings), "aws", aws_write(aws_environment, set()), "prod/")


class TestGoogle(ProviderContract):
    @pytest.fixture
    def world(self, google: GoogleSecretManager) -> World:
        settings = SecretSettings(gcp=GcpSettings(project="here", endpoint=google.address, plaintext=True))
        return World(
            open_provider("gcp", settings), "gcp", lambda name, value: google.put(f"projects/here/secrets/{name}", value)
        )


class TestAzure(ProviderContract):
    @pytest.fixture
    def world(self, key_vault: AzureKeyVault) -> World:
        settings = AzureSettings(
            vault=key_vault.url,
            tenant_id=TENANT,
            client_id=key_vault.client_id,
            client_secret=key_vault.client_secret,
            authority=key_vault.url,
            verify_challenge=False,
            ca_file=str(key_vault.ca_file),
        )
        world = World(
            open_provider("azure", SecretSettings(azure=settings)),
            "azure",
            lambda name, value: key_vault.put(name, value.decode()),
        )
        world.takes_binary = False
        return world


def vault_settings(bao: OpenBao) -> SecretSettings:
    return SecretSettings(vault=VaultSettings(address=bao.address, token=bao.root))


class TestVaultKv1(ProviderContract):
    @pytest.fixture
    def world(self, bao: OpenBao) -> World:
        mount = bao.mount("kv", options={"version": "1"})
        world = FieldWorld(
            open_provider("vault", vault_settings(bao)), "vault", lambda name, fields: bao.api("PUT", name, fields), f"{mount}/"
        )
        world.keeps_versions = False
        return world


class TestVaultKv2(ProviderContract):
    @pytest.fixture
    def world(self, bao: OpenBao) -> World:
        mount = bao.mount("kv", options={"version": "2"})

        def write(name: str, fields: dict[str, Any]) -> None:
            bao.api("PUT", name.replace("/", "/data/", 1), {"data": fields})

        return FieldWorld(open_provider("vault", vault_settings(bao)), "vault", write, f"{mount}/team/")


def test_every_provider_of_the_registry_keeps_the_contract() -> None:
    proven = {"aws", "azure", "copilot", "env", "file", "gcp", "k8s", "vault"}
    assert set(PROVIDERS) == proven
