"""How a Kubernetes API server is reached: from a kubeconfig, or from inside a pod."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml

from copilot.core.errors import BadConfig, PodApiUnavailable

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_EXEC_S: Final = 60.0
_REREAD_S: Final = 60.0
_EARLY_S: Final = 30.0
_GOOD_S: Final = 3600.0
_EXEC_API: Final = "client.authentication.k8s.io/v1"

TokenSource = Callable[[], str]


class KeptToken:
    """A token that is used until it is over. Safe from many threads.

    Args:
        ask: gives a token and the seconds that it is good for.
    """

    def __init__(self, ask: Callable[[], tuple[str, float]]) -> None:
        """See the class."""
        self._ask = ask
        self._token, self._until_s = "", 0.0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        """The token. Raises ``PodApiUnavailable`` where none can be had."""
        with self._lock:
            if time.monotonic() >= self._until_s:
                try:
                    self._token, good_s = self._ask()
                except PodApiUnavailable:
                    if not self._token:
                        raise
                    good_s = 0.0  # the old one may still do
                self._until_s = time.monotonic() + good_s
            return self._token

    def forget(self) -> None:
        """It was refused: the next is asked for anew."""
        with self._lock:
            self._until_s = 0.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """One API server and who we are there.

    Attributes:
        url: ``https://host:port``, without a ``/`` at its end.
        namespace: the namespace of the context, or of our own pod.
        ca_file: who signed the server's certificate; None: the system's authorities.
        verify: check the server's certificate.
        client_certificate: a certificate and its key as files; None: none.
        token: gives the bearer token of the moment; None: none.
    """

    url: str
    namespace: str = "default"
    ca_file: str | None = None
    verify: bool = True
    client_certificate: tuple[str, str] | None = None
    token: TokenSource | None = field(default=None, repr=False)


def in_cluster(environ: Mapping[str, str], directory: Path = SERVICE_ACCOUNT) -> Cluster:
    """From a pod's service account. Raises ``BadConfig`` outside of a pod."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    token = directory / "token"
    if not host or not token.exists():
        raise BadConfig(
            "there is no service account here: this is no pod of a cluster, or its token is not mounted",
            op="cluster",
            hint="Give a kubeconfig, or set automountServiceAccountToken for this pod.",
        )
    namespace = directory / "namespace"
    return Cluster(
        url=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        ca_file=str(directory / "ca.crt"),
        token=_from_file(token),
    )


def from_kubeconfig(path: Path, context: str = "") -> Cluster:
    """From a kubeconfig's context (the current one when not named).

    Raises:
        BadConfig: no such file or context, or a way to authenticate that is not known here.
    """
    try:
        config = yaml.safe_load(path.read_text())
        name = context or config["current-context"]
        chosen = _named(config, "contexts", name)["context"]
        cluster = _named(config, "clusters", chosen["cluster"])["cluster"]
        user = _named(config, "users", chosen["user"])["user"] or {}
        return Cluster(
            url=str(cluster["server"]).rstrip("/"),
            namespace=chosen.get("namespace") or "default",
            ca_file=_file(cluster, "certificate-authority", path),
            verify=not cluster.get("insecure-skip-tls-verify"),
            client_certificate=_certificate(user, path),
            token=_token(user, path),
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as cause:
        raise BadConfig(
            "the kubeconfig cannot be used: it is not there, or lacks the context or what it names",
            op="cluster",
            subject=str(path),
            hint="See kubectl config get-contexts.",
        ) from cause


def _named(config: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    for each in config[kind]:
        if each["name"] == name:
            found: Mapping[str, Any] = each
            return found
    raise KeyError(name)


def _file(section: Mapping[str, Any], key: str, config: Path) -> str | None:
    """A file that is named, or whose content stands in the kubeconfig: that is kept as a file while we run."""
    if section.get(f"{key}-data"):
        content = base64.b64decode(section[f"{key}-data"])
        return _kept(content)
    if not section.get(key):
        return None
    named = config.parent / section[key]
    if not named.is_file():
        raise BadConfig(f"the kubeconfig's {key} is not there", op="cluster", subject=str(named), hint="Is the path right?")
    return str(named)


def _kept(content: bytes) -> str:
    """A file for OpenSSL, which reads keys from nothing else; in memory where that can be had: no key is left on a disk."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("copilot-cluster")
        os.write(descriptor, content)
        return f"/proc/self/fd/{descriptor}"
    with tempfile.NamedTemporaryFile(prefix="copilot-cluster-", delete=False) as file:
        file.write(content)
    return file.name


def _certificate(user: Mapping[str, Any], config: Path) -> tuple[str, str] | None:
    certificate, key = _file(user, "client-certificate", config), _file(user, "client-key", config)
    return (certificate, key) if certificate and key else None


def _token(user: Mapping[str, Any], config: Path) -> TokenSource | None:
    if user.get("token"):
        token = str(user["token"])
        return lambda: token
    if user.get("tokenFile"):
        return _from_file(config.parent / user["tokenFile"])
    if user.get("exec"):
        return _from_command(user["exec"])
    if user.get("auth-provider") or user.get("username"):
        raise BadConfig(
            "the kubeconfig authenticates in a way that is not known here",
            op="cluster",
            subject=str(config),
            hint="Use a token, a client certificate or an exec plugin.",
        )
    return None


def _from_file(path: Path) -> TokenSource:
    """Read anew now and then: the kubelet rotates it."""

    def read() -> tuple[str, float]:
        try:
            return path.read_text().strip(), _REREAD_S
        except OSError as cause:
            raise PodApiUnavailable("the token for the cluster cannot be read", op="cluster", subject=str(path)) from cause

    return KeptToken(read)


def _from_command(plugin: Mapping[str, Any]) -> TokenSource:
    """A client-go credential plugin: run again when what it gave expires."""

    def ask() -> tuple[str, float]:
        asked = {"apiVersion": plugin.get("apiVersion") or _EXEC_API, "kind": "ExecCredential", "spec": {"interactive": False}}
        own = {each["name"]: each["value"] for each in plugin.get("env") or ()}
        environment = {"KUBERNETES_EXEC_INFO": json.dumps(asked), **own}
        command = [
            "env",
            *(f"{name}={value}" for name, value in environment.items()),
            plugin["command"],
            *(plugin.get("args") or ()),
        ]
        try:
            done = subprocess.run(command, check=True, capture_output=True, timeout=_EXEC_S, stdin=subprocess.DEVNULL)
            status = json.loads(done.stdout)["status"]
            token, expires = str(status["token"]), status.get("expirationTimestamp")
            good_s = datetime.fromisoformat(expires).timestamp() - time.time() - _EARLY_S if expires else _GOOD_S
        except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError, AttributeError) as cause:
            # What it asks may be away for a while, as the API server itself may be.
            raise PodApiUnavailable(
                f"the credential plugin {plugin['command']} gave no token",
                op="cluster",
                subject=str(plugin["command"]),
                hint="Run it by hand to see why.",
            ) from cause
        return token, good_s

    return KeptToken(ask)
