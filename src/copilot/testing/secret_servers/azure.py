"""Azure Key Vault's wire protocol, soft delete included, and the token service it sends clients to, on one HTTPS address."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qs

from copilot.testing.secret_servers.http import Answer, HttpServer, Request

if TYPE_CHECKING:
    from copilot.testing.secret_servers.certificates import Authority

TENANT = "11111111-2222-3333-4444-555555555555"
T = TypeVar("T")
_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
_MOST_BYTES = 25 * 1024
_PAGE = 2
_RESOURCE = "https://vault.azure.net"


@dataclass(frozen=True, slots=True)
class _Version:
    """One version of a secret."""

    name: str
    value: str
    tags: dict[str, str]
    created: int


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
        self._versions: dict[str, list[_Version]] = {}
        self._deleted: dict[str, list[_Version]] = {}
        self._read_only = False
        self._second = 0
        self._denied: set[str] = set()
        self._tokens: set[str] = set()
        self._lock = threading.Lock()

    def put(self, name: str, value: str, tags: dict[str, str] | None = None) -> str:
        """Adds a version; its name."""
        with self._lock:
            # Times are whole seconds there; two versions of one second would have no order.
            self._second = max(self._second + 1, int(time.time()))
            version = _Version(secrets.token_hex(16), value, dict(tags or {}), self._second)
            self._versions.setdefault(name.lower(), []).append(version)
        return version.name

    def refuse_writing(self) -> None:
        """From now on the identity may read and not write."""
        self._read_only = True

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
        if request.path.startswith(("/secrets", "/deletedsecrets/")):
            return self._vault(request)
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

    def _vault(self, request: Request) -> Answer:
        if request.bearer not in self._tokens:
            challenge = f'Bearer authorization="{self.url}/{TENANT}", resource="{_RESOURCE}"'
            return _json(401, _error("Unauthorized"), {"WWW-Authenticate": challenge})
        kind, _, rest = request.path.lstrip("/").partition("/")
        name, _, version = rest.partition("/")
        if name.lower() in self._denied or (self._read_only and request.method != "GET"):
            return _json(403, _error("Forbidden"))
        if name and not _NAME.fullmatch(name):
            return _json(400, _error("BadParameter"))
        if kind == "deletedsecrets":
            return self._deleted_secret(request, name, version)
        if not name:
            names = sorted(self._versions)
            return self._page(request, names, lambda each: self._shown(each, self._versions[each][-1], full=False))
        return self._set(request, name) if request.method == "PUT" else self._kept(request, name, version)

    def _kept(self, request: Request, name: str, version: str) -> Answer:
        if name.lower() not in self._versions:
            return _json(404, _error("SecretNotFound"))
        if request.method == "DELETE":
            with self._lock:
                gone = self._deleted[name.lower()] = self._versions.pop(name.lower())
            return _json(200, {"recoveryId": f"{self.url}/deletedsecrets/{name}", **self._shown(name, gone[-1])})
        versions = self._versions[name.lower()]
        if version == "versions":
            return self._page(request, versions, lambda each: self._shown(name, each))
        found = [each for each in versions if not version or each.name == version]
        if not found:
            return _json(404, _error("SecretNotFound"))
        return _json(200, {"value": found[-1].value, **self._shown(name, found[-1])})

    def _set(self, request: Request, name: str) -> Answer:
        if name.lower() in self._deleted:
            return _json(
                409, {"error": {"code": "Conflict", "message": name, "innererror": {"code": "ObjectIsDeletedButRecoverable"}}}
            )
        body = json.loads(request.body)
        if len(body["value"].encode()) > _MOST_BYTES:
            return _json(400, _error("BadParameter"))
        self.put(name, body["value"], body.get("tags"))
        newest = self._versions[name.lower()][-1]
        return _json(200, {"value": newest.value, **self._shown(name, newest)})

    def _deleted_secret(self, request: Request, name: str, action: str) -> Answer:
        if name.lower() not in self._deleted:
            return _json(404, _error("SecretNotFound"))
        newest = self._deleted[name.lower()][-1]
        if request.method == "POST" and action == "recover":
            with self._lock:
                self._versions[name.lower()] = self._deleted.pop(name.lower())
            return _json(200, self._shown(name, newest))
        return _json(200, {"recoveryId": f"{self.url}/deletedsecrets/{name}", **self._shown(name, newest)})

    def _shown(self, name: str, version: _Version, *, full: bool = True) -> dict[str, object]:
        attributes = {"enabled": True, "created": version.created, "updated": version.created, "recoveryLevel": "Recoverable"}
        where = f"{self.url}/secrets/{name}" + (f"/{version.name}" if full else "")
        return {"id": where, "attributes": attributes, "tags": version.tags}

    def _page(self, request: Request, items: Sequence[T], show: Callable[[T], dict[str, object]]) -> Answer:
        """Two at a time, the rest behind a link."""
        begin = int(request.query.get("$skiptoken", "0"))
        last = begin + _PAGE >= len(items)
        link = None if last else f"{self.url}{request.path}?api-version=7.4&$skiptoken={begin + _PAGE}"
        return _json(200, {"value": [show(each) for each in items[begin : begin + _PAGE]], "nextLink": link})


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
