"""The Kubernetes API's wire protocol for reading secrets and reviewing tokens, with service accounts and their rights."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import secrets
import ssl
from collections.abc import Iterator, Mapping

from copilot.testing.secret_servers.http import Answer, HttpServer, Request

_SECRET = re.compile(r"^/api/v1/namespaces/([^/]+)/secrets/([^/]+)$")
_REVIEW = "/apis/authentication.k8s.io/v1/tokenreviews"


class KubernetesSecretsApi:
    """The state behind the wire."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """Starts empty."""
        self.server = HttpServer(self._answer, tls=tls)
        self.url = self.server.url
        self._secrets: dict[tuple[str, str], tuple[dict[str, bytes], str]] = {}
        self._accounts: dict[str, str] = {}
        self._denied: set[tuple[str, str]] = set()
        self._versions = itertools.count(1)

    def put(self, namespace: str, name: str, data: Mapping[str, bytes]) -> str:
        """Writes a secret; its resource version."""
        version = str(next(self._versions))
        self._secrets[namespace, name] = (dict(data), version)
        return version

    def deny(self, namespace: str, name: str) -> None:
        """From now on nobody may read it."""
        self._denied.add((namespace, name))

    def service_account(self, namespace: str, name: str) -> str:
        """A fresh token of that account, of a JWT's form."""
        subject = f"system:serviceaccount:{namespace}:{name}"
        header, claims = (
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in (
                {"alg": "RS256", "kid": "test"},
                {
                    "sub": subject,
                    "iss": "kubernetes/serviceaccount",
                    "kubernetes.io/serviceaccount/namespace": namespace,
                    "kubernetes.io/serviceaccount/service-account.name": name,
                    "kubernetes.io/serviceaccount/service-account.uid": "0",
                    "nonce": secrets.token_hex(8),
                },
            )
        )
        token = f"{header}.{claims}.{secrets.token_urlsafe(32)}"
        self._accounts[token] = subject
        return token

    def expire_tokens(self) -> None:
        """No token that was given out is good any more."""
        self._accounts.clear()

    def _answer(self, request: Request) -> Answer:
        if request.path == _REVIEW and request.method == "POST":
            return self._review(json.loads(request.body))
        if request.bearer not in self._accounts:
            return _status(401, "Unauthorized", "Unauthorized")
        match = _SECRET.match(request.path)
        if match is None or request.method != "GET":
            return _status(404, "NotFound", "the server could not find the requested resource")
        where = (match[1], match[2])
        if where in self._denied:
            account = self._accounts[request.bearer]
            return _status(
                403, "Forbidden", f'secrets "{match[2]}" is forbidden: User "{account}" cannot get resource "secrets"'
            )
        if where not in self._secrets:
            return _status(404, "NotFound", f'secrets "{match[2]}" not found')
        data, version = self._secrets[where]
        return _json(
            200,
            {
                "kind": "Secret",
                "apiVersion": "v1",
                "metadata": {"name": match[2], "namespace": match[1], "resourceVersion": version},
                "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
                "type": "Opaque",
            },
        )

    def _review(self, body: dict[str, dict[str, str]]) -> Answer:
        subject = self._accounts.get(body["spec"]["token"])
        status: dict[str, object] = {"authenticated": False, "error": "invalid bearer token"}
        if subject is not None:
            groups = ["system:serviceaccounts", "system:authenticated"]
            status = {"authenticated": True, "user": {"username": subject, "uid": "0", "groups": groups}}
        return _json(201, {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "status": status})


@contextlib.contextmanager
def kubernetes_secrets_api(tls: ssl.SSLContext | None = None) -> Iterator[KubernetesSecretsApi]:
    """Serves until the end of the block."""
    api = KubernetesSecretsApi(tls)
    with api.server.serving():
        yield api


def _status(code: int, reason: str, message: str) -> Answer:
    said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code}
    return _json(code, said)


def _json(status: int, body: object) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})
