"""Every secret writer keeps the contract, against a real server where there is one; and what is each manager's own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import pytest

from copilot.core.errors import BadFlag, BadSecretRef, SecretExists, SecretUnreachable
from copilot.core.flyte_secrets import FlyteSecrets, stored_ref
from copilot.engine.clock import SystemClock
from copilot.secrets.registry import ProviderContext, Providers
from copilot.secrets.settings import AwsSettings, AzureSettings, GcpSettings, SecretSettings, VaultSettings
from copilot.secrets.writers.registry import WRITERS, open_writer
from copilot.testing.secret_servers.azure import TENANT, AzureKeyVault
from copilot.testing.secret_servers.http import Answer, HttpServer, Request, in_front_of
from copilot.testing.writer_contract import WriterContract

if TYPE_CHECKING:
    from copilot.core.secret_ports import SecretProvider, SecretRef, SecretWriter
    from copilot.engine.cancel import Token
    from copilot.testing.secret_servers.google import GoogleSecretManager
    from copilot.testing.secret_servers.openbao import OpenBao
    from copilot.testing.servers.s3 import S3Server

_WRITES = ("CreateSecret", "PutSecretValue", "DeleteSecret", "TagResource", "RestoreSecret")


@dataclass
class Kept:
    """See ``Keeping``."""

    writer: SecretWriter
    provider: SecretProvider
    platform: FlyteSecrets
    throttle_next: Callable[[], None]
    reader: Callable[[], SecretWriter]
    takes_binary: bool = True


def opened(name: str, settings: SecretSettings) -> tuple[SecretWriter, SecretProvider]:
    context = ProviderContext(settings, SystemClock())
    return open_writer(name, context), Providers(context).get(name)


@contextlib.contextmanager
def refusing_writes(upstream: str) -> Iterator[str]:
    """In front of moto, which checks no rights, stands who does."""
    with in_front_of(upstream) as front:

        def answer(request: Request) -> Answer:
            if request.headers.get("x-amz-target", "").rpartition(".")[2] in _WRITES:
                said = {"__type": "AccessDeniedException", "Message": "not authorized"}
                return Answer(400, json.dumps(said).encode(), {"Content-Type": "application/x-amz-json-1.1"})
            return front.answer(request)

        server = HttpServer(answer)
        with server.serving():
            yield server.url


class TestAws(WriterContract):
    @pytest.fixture
    def keeping(self, monkeypatch: pytest.MonkeyPatch, moto_server: S3Server) -> Iterator[Kept]:
        for name, value in moto_server.environ.items():
            monkeypatch.setenv(name, value)
        with in_front_of(moto_server.endpoint) as front, refusing_writes(moto_server.endpoint) as refusing:
            settings = SecretSettings(aws=AwsSettings(region="eu-west-1", endpoint=front.url))
            writer, provider = opened("aws", settings)

            def throttle() -> None:
                said = json.dumps({"__type": "ThrottlingException", "Message": "slow down"}).encode()
                front.answer_next(Answer(400, said, {"Content-Type": "application/x-amz-json-1.1"}))

            def reader() -> SecretWriter:
                return opened("aws", SecretSettings(aws=AwsSettings(region="eu-west-1", endpoint=refusing)))[0]

            yield Kept(writer, provider, FlyteSecrets(embedded_in="aws", aws_region="us-east-2"), throttle, reader)


class TestGoogle(WriterContract):
    @pytest.fixture
    def keeping(self, google: GoogleSecretManager) -> Kept:
        settings = SecretSettings(gcp=GcpSettings(endpoint=google.address, plaintext=True))
        writer, provider = opened("gcp", settings)

        def reader() -> SecretWriter:
            google.refuse_writing()
            return writer

        platform = FlyteSecrets(embedded_in="gcp", gcp_project="here")
        return Kept(writer, provider, platform, lambda: google.fail_next(grpc.StatusCode.RESOURCE_EXHAUSTED), reader)

    def test_a_secret_that_gets_no_version_is_taken_away_again(
        self, keeping: Kept, google: GoogleSecretManager, ref: SecretRef, cancel: Token
    ) -> None:
        google.fail_next(grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
        with pytest.raises(SecretUnreachable):
            keeping.writer.create(ref, b"value", {}, cancel)
        keeping.writer.create(ref, b"value", {}, cancel)
        assert keeping.provider.resolve([ref], cancel)[ref].reveal() == b"value"


class TestAzure(WriterContract):
    @pytest.fixture
    def keeping(self, key_vault: AzureKeyVault) -> Kept:
        settings = AzureSettings(
            tenant_id=TENANT,
            client_id=key_vault.client_id,
            client_secret=key_vault.client_secret,
            authority=key_vault.url,
            verify_challenge=False,
            ca_file=str(key_vault.ca_file),
        )
        writer, provider = opened("azure", SecretSettings(azure=settings))

        def reader() -> SecretWriter:
            key_vault.refuse_writing()
            return writer

        def throttle() -> None:
            key_vault.server.answer_next(Answer(429, b"{}", {"Retry-After": "3"}))

        platform = FlyteSecrets(embedded_in="azure", azure_vault=key_vault.url)
        return Kept(writer, provider, platform, throttle, reader)


class TestVault(WriterContract):
    @pytest.fixture
    def keeping(self, bao: OpenBao) -> Iterator[Kept]:
        mount = bao.mount("kv", options={"version": "2"})
        readonly = bao.token(bao.policy(f'path "{mount}/*" {{ capabilities = ["read", "list"] }}'))
        with in_front_of(bao.address) as front:
            writer, provider = opened("vault", SecretSettings(vault=VaultSettings(address=front.url, token=bao.root)))

            def reader() -> SecretWriter:
                return opened("vault", SecretSettings(vault=VaultSettings(address=bao.address, token=readonly)))[0]

            platform = FlyteSecrets(embedded_in="vault", vault_path=f"{mount}/flyte")
            throttle = Answer(429, b'{"errors": ["rate limit"]}')
            yield Kept(writer, provider, platform, lambda: front.answer_next(throttle), reader, takes_binary=False)

    def test_of_many_who_create_one_name_at_once_one_succeeds(self, keeping: Kept, ref: SecretRef, cancel: Token) -> None:
        def create(number: int) -> str:
            try:
                keeping.writer.create(ref, str(number).encode(), {}, cancel)
            except SecretExists:
                return ""
            return str(number)

        with ThreadPoolExecutor(6) as pool:
            won = [each for each in pool.map(create, range(6)) if each]
        assert [keeping.provider.resolve([ref], cancel)[ref].reveal().decode()] == won

    def test_a_store_of_version_1_is_refused(self, bao: OpenBao, keeping: Kept, cancel: Token) -> None:
        mount = bao.mount("kv", options={"version": "1"})
        with pytest.raises(BadSecretRef, match="version 2"):
            keeping.writer.create(
                stored_ref(FlyteSecrets(embedded_in="vault", vault_path=mount), "", "", "k"), b"x", {}, cancel
            )


def test_a_manager_that_nothing_writes_to_is_named() -> None:
    with pytest.raises(BadFlag, match="k8s"):
        open_writer("k8s", ProviderContext(SecretSettings(), SystemClock()))


def test_every_writer_has_a_suite() -> None:
    suites = {each.__name__.removeprefix("Test").lower() for each in (TestAws, TestAzure, TestGoogle, TestVault)}
    assert suites == {name.replace("gcp", "google") for name in WRITERS}
