"""OpenBao in development mode: unsealed, in memory, with a known root token."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import urllib3

from copilot.testing.servers.process import (
    LOOPBACK,
    Launch,
    ServerNotReady,
    find_executable,
    free_ports,
    running,
    scratch_directory,
)

#: How long a new KV engine may take to be ready, on a machine with other things to do.
_UPGRADE_S = 30.0


@dataclass(frozen=True, slots=True)
class OpenBao:
    """A running server.

    Attributes:
        address: ``http://127.0.0.1:PORT``.
        root: the root token.
    """

    address: str
    root: str

    def api(self, method: str, path: str, body: object = None, *, namespace: str = "", token: str = "", wrap: str = "") -> Any:  # noqa: ANN401 - JSON
        """One call of the API past any client library; the answer's JSON, or None where there is none.

        Raises:
            AssertionError: the server refused it.
        """
        headers = {"X-Vault-Token": token or self.root, "X-Vault-Request": "true"}
        if namespace:
            headers["X-Vault-Namespace"] = namespace
        if wrap:
            headers["X-Vault-Wrap-TTL"] = wrap
        with urllib3.PoolManager() as pool:
            data = None if body is None else json.dumps(body).encode()
            answer = pool.request(method, f"{self.address}/v1/{path}", body=data, headers=headers, retries=False)
            assert answer.status < 300, f"{method} {path}: {answer.status} {answer.data!r}"
            return json.loads(answer.data) if answer.data else None

    def mount(self, kind: str, *, options: dict[str, str] | None = None, namespace: str = "") -> str:
        """Mounts a secrets engine under a fresh name, and comes back when it can be used.

        Raises:
            AssertionError: the server refused it, or it was not ready for 30 s.
        """
        name = f"{kind}-{secrets.token_hex(4)}"
        self.api("POST", f"sys/mounts/{name}", {"type": kind, "options": options or {}}, namespace=namespace)
        if (options or {}).get("version") == "2":
            self._await_upgrade(name, namespace)
        return name

    def _await_upgrade(self, mount: str, namespace: str) -> None:
        # A new KV version 2 engine answers 400 ("upgrading") until its own background job has made it one.
        deadline = time.monotonic() + _UPGRADE_S
        while True:
            try:
                self.api("GET", f"{mount}/config", namespace=namespace)
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def enable_auth(self, kind: str) -> str:
        """Enables a login method under a fresh name."""
        name = f"{kind}-{secrets.token_hex(4)}"
        self.api("POST", f"sys/auth/{name}", {"type": kind})
        return name

    def policy(self, rules: str) -> str:
        """Writes a policy under a fresh name."""
        name = f"policy-{secrets.token_hex(4)}"
        self.api("PUT", f"sys/policies/acl/{name}", {"policy": rules})
        return name

    def token(self, policy: str, *, ttl: str = "1h", renewable: bool = True) -> str:
        """A fresh token."""
        body = {"policies": [policy], "ttl": ttl, "renewable": renewable, "no_parent": True}
        return str(self.api("POST", "auth/token/create", body)["auth"]["client_token"])


@contextlib.contextmanager
def openbao() -> Iterator[OpenBao]:
    """Starts a server and stops it at the end."""
    with scratch_directory("openbao") as directory:
        root = f"root-{secrets.token_hex(8)}"
        server: list[OpenBao] = []

        def plan() -> Launch:
            while True:  # it listens on the next port as well
                (port,) = free_ports(1)
                if port < 65000:
                    break
            server[:] = [OpenBao(f"http://{LOOPBACK}:{port}", root)]
            argv = [find_executable("bao"), "server", "-dev", f"-dev-root-token-id={root}", "-dev-no-store-token"]
            argv += [f"-dev-listen-address={LOOPBACK}:{port}", "-log-level=warn"]
            return Launch(argv, ready, {"HOME": str(directory)})

        def ready() -> bool:
            probe = {"proof": root}
            try:
                server[0].api("POST", "cubbyhole/ready", probe)
                return bool(server[0].api("GET", "cubbyhole/ready")["data"] == probe)
            except (AssertionError, urllib3.exceptions.HTTPError) as cause:
                raise ServerNotReady from cause

        with running("openbao", directory, plan):
            yield server[0]
