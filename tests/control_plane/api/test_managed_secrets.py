"""SecretService in front of a secret manager: what it writes there, what it says of it, and what it says when it fails."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from copilot.control_plane.managed_secrets import ManagedSecrets
from copilot.control_plane.pods.maker import Pods
from copilot.control_plane.pods.settings import PodSettings, load_templates
from copilot.control_plane.server import ControlPlane
from copilot.core.flyte_secrets import FlyteSecrets, stored_ref
from copilot.engine.cancel import Token
from copilot.engine.clock import SystemClock
from copilot.secrets.registry import ProviderContext, Providers
from copilot.secrets.settings import SecretSettings, VaultSettings
from copilot.secrets.writers.registry import open_writer
from copilot.stores.registry import open_stores
from copilot.testing.control_plane import WallClock, running_control_plane
from copilot.testing.flyte_client import FlyteClient
from copilot.testing.recording import RecordingLog
from copilot.testing.secret_servers.http import Answer, HttpServer, in_front_of
from copilot.testing.secret_servers.openbao import OpenBao, openbao

if TYPE_CHECKING:
    from copilot.control_plane.settings import ServerSettings
    from copilot.testing.fake_pods import FakePods

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
SERVICE = "secret.SecretService"


@pytest.fixture(scope="module")
def bao() -> Iterator[OpenBao]:
    with openbao() as server:
        yield server


@pytest.fixture
def front(bao: OpenBao) -> Iterator[HttpServer]:
    with in_front_of(bao.address) as server:
        yield server


@pytest.fixture
def platform(bao: OpenBao) -> FlyteSecrets:
    return FlyteSecrets(embedded_in="vault", vault_path=bao.mount("kv", options={"version": "2"}))


@pytest.fixture
def serve(
    settings: ServerSettings, pods: FakePods, front: HttpServer, platform: FlyteSecrets
) -> Iterator[Callable[[str], FlyteClient]]:
    opened = []

    def make(token: str) -> ControlPlane:
        known = SecretSettings(vault=VaultSettings(address=front.url, token=token))
        writer = open_writer("vault", ProviderContext(known, SystemClock()))
        return ControlPlane(
            settings,
            stores=open_stores(),
            pods=pods,
            maker=Pods(PodSettings(templates=load_templates(), secrets=platform)),
            clock=WallClock(),
            log=RecordingLog(),
            secrets=ManagedSecrets(writer, platform, clock=WallClock(), log=RecordingLog(), patience_s=2.0),
        )

    def start(token: str) -> FlyteClient:
        context = running_control_plane(lambda: make(token))
        running = context.__enter__()
        client = FlyteClient(running, pods)
        opened.append((context, client))
        return client

    yield start
    for context, client in opened:
        client.close()
        context.__exit__(None, None, None)


def of(name: str, project: str = "flytesnacks", domain: str = "development") -> dict[str, dict[str, str]]:
    return {"id": {"name": name, "project": project, "domain": domain}}


def create(server: FlyteClient, name: str, value: str = "s3cr3t-value", **place: str) -> str:
    return server.code(f"{SERVICE}/CreateSecret", {**of(name, **place), "secretSpec": {"stringValue": value, "type": 1}})


def test_a_secret_lies_in_the_manager_under_flytes_name_and_nowhere_here(
    serve: Callable[[str], FlyteClient], bao: OpenBao, platform: FlyteSecrets
) -> None:
    server = serve(bao.root)
    assert create(server, "MY_SECRET") == "ok"
    known = SecretSettings(vault=VaultSettings(address=bao.address, token=bao.root))
    ref = stored_ref(platform, "flytesnacks", "development", "MY_SECRET")
    provider = Providers(ProviderContext(known, SystemClock())).get("vault")
    assert provider.resolve([ref], Token(SystemClock()))[ref].reveal() == b"s3cr3t-value"
    assert "u__org__flyte__domain__development__project__flytesnacks__key__MY_SECRET" in ref.name
    for path in Path(server.plane.settings.data).rglob("*"):
        assert not path.is_file() or b"s3cr3t-value" not in path.read_bytes()


def test_what_the_manager_has_is_found_listed_changed_and_deleted(
    serve: Callable[[str], FlyteClient], bao: OpenBao, platform: FlyteSecrets
) -> None:
    server = serve(bao.root)
    for name, project, domain in (
        ("B", "flytesnacks", "development"),
        ("A", "flytesnacks", "development"),
        ("C", "", "development"),
        ("D", "", ""),
    ):
        assert create(server, name, project=project, domain=domain) == "ok"
    # What somebody else keeps in the same store is none of ours.
    bao.api("POST", f"{platform.vault_path}/data/somebody-elses", {"data": {"value": "x"}})
    status, answer = server.rpc(f"{SERVICE}/GetSecret", of("A"))
    assert (status, answer["secret"]["id"]["name"]) == (200, "A")
    assert answer["secret"]["secretMetadata"]["type"] == "SECRET_TYPE_IMAGE_PULL_SECRET"
    assert answer["secret"]["secretMetadata"]["createdTime"].startswith("20")
    first = server.rpc(f"{SERVICE}/ListSecrets", {"limit": 3})[1]
    second = server.rpc(f"{SERVICE}/ListSecrets", {"limit": 3, "token": first["token"]})[1]
    names = [each["id"]["name"] for each in [*first["secrets"], *second["secrets"]]]
    assert (names, second.get("token", "")) == (["A", "B", "C", "D"], "")
    mine = server.rpc(f"{SERVICE}/ListSecrets", {"project": "flytesnacks", "domain": "development"})[1]["secrets"]
    assert [each["id"]["name"] for each in mine] == ["A", "B"]
    assert server.code(f"{SERVICE}/UpdateSecret", {**of("A"), "secretSpec": {"binaryValue": "bmV3"}}) == "ok"
    assert server.code(f"{SERVICE}/DeleteSecret", of("A")) == "ok"
    for method, message in (("GetSecret", of("A")), ("DeleteSecret", of("A"))):
        assert server.code(f"{SERVICE}/{method}", message) == "not_found"
    assert server.code(f"{SERVICE}/UpdateSecret", {**of("A"), "secretSpec": {"stringValue": "x"}}) == "not_found"


def test_each_failure_has_its_code_and_its_sentence(
    serve: Callable[[str], FlyteClient], bao: OpenBao, platform: FlyteSecrets, front: HttpServer
) -> None:
    mount = platform.vault_path
    server = serve(bao.token(bao.policy(f'path "{mount}/*" {{ capabilities = ["read", "list"] }}')))

    def said(method: str, message: Mapping[str, object]) -> tuple[str, str]:
        _, answer = server.rpc(f"{SERVICE}/{method}", message)
        return answer.get("code", "ok"), answer.get("message", "")

    new = {**of("NEW"), "secretSpec": {"stringValue": "s3cr3t-value"}}
    code, sentence = said("CreateSecret", new)
    assert (code, "may not create secrets" in sentence, "Grant it" in sentence) == ("permission_denied", True, True)
    front.answer_next(*[Answer(429, b'{"errors": ["slow down"]}')] * 40)
    code, sentence = said("CreateSecret", new)
    assert (code, "slow down" in sentence) == ("resource_exhausted", True)
    front.clear()
    assert "s3cr3t" not in sentence
    assert said("GetSecret", of("NEW"))[0] == "not_found"
    assert create(server, "IN_NOWHERE", project="nowhere") == "not_found"


def test_a_manager_that_slows_us_down_for_a_moment_is_asked_again(
    serve: Callable[[str], FlyteClient], bao: OpenBao, front: HttpServer
) -> None:
    server = serve(bao.root)
    front.answer_next(Answer(429, b'{"errors": ["slow down"]}'), Answer(502, b""))
    assert create(server, "PATIENCE") == "ok"
    assert create(server, "PATIENCE") == "already_exists"


def test_a_manager_that_does_not_know_us_is_ours_to_mend(serve: Callable[[str], FlyteClient]) -> None:
    server = serve("hvs." + secrets.token_hex(12))
    assert create(server, "NO_IDENTITY") == "failed_precondition"
