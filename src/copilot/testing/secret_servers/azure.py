"""Azure Key Vault's wire protocol for reading, and the token service it sends its clients to; both on one HTTPS address."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from copilot.testing.secret_servers.http import Answer, HttpServer, Request

if TYPE_CHECKING:
    from copilot.testing.secret_servers.certificates import Authority

TENANT = "11111111-2222-3333-4444-555555555555"
_RESOURCE = "https://vault.azure.net"


class AzureKeyVault:
    """The state behind the wire: one vault, one tenant, the client secrets, assertions and identity headers it accepts."""

    def __init__(self, authority: Authority) -> None:
        """Starts empty."""
        self.ca_file = authority.ca_file
        self.server = HttpServer(self._answer, tls=authority.server_context())
        self.url = self.server.url
        self.client_id = "app-" + secrets.token_hex(4)
        self.client_secret = "cs-" + secrets.token_hex(16)
        self.assertion = "fed-" + secrets.token_hex(16)
        self.identity_header = "ih-" + secrets.token_hex(16)
        self._versions: dict[str, list[tuple[str, str]]] = {}
        self._denied: set[str] = set()
        self._tokens: set[str] = set()
        self._lock = threading.Lock()

    def put(self, name: str, value: str) -> str:
        """Adds a version; its name."""
        version = secrets.token_hex(16)
        with self._lock:
            self._versions.setdefault(name.lower(), []).append((version, value))
        return version

    def deny(self, name: str) -> None:
        """From now on nobody may read it."""
        self._denied.add(name.lower())

    def expire_tokens(self) -> None:
        """No token that was given out is good any more."""
        self._tokens.clear()

    def tokens(self) -> frozenset[str]:
        """Those that are good."""
        return frozenset(self._tokens)

    def _answer(self, request: Request) -> Answer:
        if request.path.startswith("/secrets/"):
            return self._secret(request)
        if request.path == f"/{TENANT}/v2.0/.well-known/openid-configuration":
            base = f"{self.url}/{TENANT}"
            return _json(
                200,
                {
                    "issuer": f"{base}/v2.0",
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                    "tenant_region_scope": None,
                },
            )
        if request.path == f"/{TENANT}/oauth2/v2.0/token":
            form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
            good = form.get("client_id") == self.client_id and (
                form.get("client_secret") == self.client_secret or form.get("client_assertion") == self.assertion
            )
            return self._token() if good else _json(401, {"error": "invalid_client", "error_description": "AADSTS7000215"})
        if request.path == "/msi/token":
            good = request.headers.get("x-identity-header") == self.identity_header
            return self._token(managed=True) if good else _json(403, {"error": "forbidden"})
        return _json(404, {"error": {"code": "NotFound", "message": request.path}})

    def _token(self, *, managed: bool = False) -> Answer:
        claims = json.dumps({"appid": self.client_id, "oid": "object-of-the-app", "n": secrets.token_hex(8)}).encode()
        token = f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.sig"
        self._tokens.add(token)
        said: dict[str, object] = {"token_type": "Bearer", "access_token": token, "expires_in": 3600}
        if managed:
            said |= {"expires_on": "4102444800", "resource": _RESOURCE}
        return _json(200, said)

    def _secret(self, request: Request) -> Answer:
        if request.bearer not in self._tokens:
            challenge = f'Bearer authorization="{self.url}/{TENANT}", resource="{_RESOURCE}"'
            return _json(401, _error("Unauthorized"), {"WWW-Authenticate": challenge})
        name, _, version = request.path.removeprefix("/secrets/").partition("/")
        if name.lower() in self._denied:
            return _json(403, _error("Forbidden"))
        versions = self._versions.get(name.lower(), [])
        found = [each for each in versions if not version or each[0] == version]
        if not found:
            return _json(404, _error("SecretNotFound"))
        found_version, value = found[-1]
        attributes = {"enabled": True, "created": 1700000000, "updated": 1700000000, "recoveryLevel": "Recoverable"}
        said = {"value": value, "id": f"{self.url}/secrets/{name}/{found_version}", "attributes": attributes}
        return _json(200, said)


@contextlib.contextmanager
def azure_key_vault(authority: Authority) -> Iterator[AzureKeyVault]:
    """Serves until the end of the block."""
    vault = AzureKeyVault(authority)
    with vault.server.serving():
        yield vault


def _error(code: str) -> dict[str, object]:
    return {"error": {"code": code, "message": code}}


def _json(status: int, body: object, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})
