"""All managers at once, and a pod in the small that uses them: what a whole task with secrets leaves behind."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import urllib3

from copilot.core import idl
from copilot.testing.secret_servers.azure import TENANT, AzureKeyVault

if TYPE_CHECKING:
    from copilot.testing.kubernetes_secrets import KubernetesSecretsApi
    from copilot.testing.secret_servers.google import GoogleSecretManager
    from copilot.testing.secret_servers.openbao import OpenBao
    from copilot.testing.servers.postgresql import PostgresServer
    from copilot.testing.servers.s3 import S3Server

COPILOT = str(Path(sys.executable).with_name("copilot"))
PATIENCE_S = 60.0
PLAIN = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


def fresh_value() -> str:
    """A value with every letter that some encoding spells differently."""
    return f'{secrets.token_urlsafe(9)}+/"ä\\ {secrets.token_hex(5)}'


def spellings(value: str) -> Iterator[bytes]:
    """Raw and encoded by the standard library, also inside longer base64 texts."""
    raw = value.encode()
    yield raw
    yield raw.hex().encode()
    for escaped in (quote(value, safe=""), quote(value), quote_plus(value)):
        yield escaped.encode()
        yield re.sub("%..", lambda escape: escape.group().lower(), escaped).encode()
    yield json.dumps(value)[1:-1].encode()
    yield json.dumps(value, ensure_ascii=False)[1:-1].encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):
            yield encode(b"\0" * shift + raw)[4 : 4 * ((shift + len(raw)) // 3)]


@dataclass
class Managers:
    """Where everything is, and what must never be seen.

    Attributes:
        environ: how copilot's own processes reach the managers.
        refs: what to ask for, by a short name.
        values: the value of each.
        credentials: what copilot itself holds.
        lent: path of the manager that lends accounts.
    """

    environ: dict[str, str]
    refs: dict[str, str]
    values: dict[str, str]
    credentials: list[str]
    lent: str
    mount: str


def write_aws(endpoint: str, name: str, value: str) -> None:
    """One call of moto past boto3."""
    headers = {
        "X-Amz-Target": "secretsmanager.CreateSecret",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": "AWS4-HMAC-SHA256 Credential=t/20260101/eu-west-1/secretsmanager/aws4_request, "
        "SignedHeaders=host, Signature=0",
    }
    with urllib3.PoolManager() as pool:
        body = json.dumps({"Name": name, "SecretString": value}).encode()
        answer = pool.request("POST", endpoint, body=body, headers=headers, retries=False)
        assert answer.status == 200, answer.data


def lends_accounts(bao: OpenBao, postgres: PostgresServer, *, ttl: str = "60s") -> str:
    """A path of OpenBao that lends accounts of the database."""
    mount = bao.mount("database")
    config = {
        "plugin_name": "postgresql-database-plugin",
        "allowed_roles": "*",
        "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{postgres.host}:{postgres.port}/postgres?sslmode=disable",
        "username": postgres.user,
        "password": postgres.password,
    }
    bao.api("POST", f"{mount}/config/pg", config)
    make = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}'"
    bao.api("POST", f"{mount}/roles/app", {"db_name": "pg", "creation_statements": [make], "default_ttl": ttl})
    return f"{mount}/creds/app"


def leases(bao: OpenBao, lent: str) -> list[str]:
    """What is lent at this moment."""
    try:
        return list(bao.api("GET", f"sys/leases/lookup/{lent}?list=true")["data"]["keys"])
    except AssertionError:  # 404: nothing is
        return []


def was_renewed(bao: OpenBao, lease: str) -> bool:
    """Whether the lease of that full name has been given more time."""
    return bao.api("PUT", "sys/leases/lookup", {"lease_id": lease})["data"]["last_renewal"] is not None


def every_manager(
    home: Path,
    *,
    bao: OpenBao,
    postgres: PostgresServer,
    moto: S3Server,
    google: GoogleSecretManager,
    vault: AzureKeyVault,
    kubernetes: KubernetesSecretsApi,
) -> Managers:
    """A secret in each of the seven, all of them reached by variables alone."""
    names = ("aws", "gcp", "azure", "kv", "nested", "k8s", "file", "env")
    values = {name: fresh_value() for name in names}
    tag = secrets.token_hex(4)
    write_aws(moto.endpoint, f"prod/{tag}", json.dumps({"user": "app", "password": values["aws"]}))
    google.put(f"projects/here/secrets/s-{tag}", values["gcp"].encode())
    vault.put(f"s-{tag}", values["azure"])
    mount = bao.mount("kv", options={"version": "2"})
    bao.api("PUT", f"{mount}/data/app", {"data": {"token": values["kv"], "deep": {"password": values["nested"]}}})
    kubernetes.put("team-a", "app", {"key": values["k8s"].encode()})
    (home / "secret-file").write_text(values["file"])
    lent = lends_accounts(bao, postgres)
    rules = f'path "{mount}/*" {{ capabilities = ["read"] }} path "{lent}" {{ capabilities = ["read"] }}'
    token = bao.token(bao.policy(f'{rules} path "sys/leases/revoke" {{ capabilities = ["update"] }}'))
    account = home / "service-account-token"
    account.write_text(kubernetes.service_account("team-a", "default"))
    aws_key = fresh_value()
    environ = {
        "AWS_ENDPOINT_URL": moto.endpoint,
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": aws_key,
        "GOOGLE_CLOUD_PROJECT": "here",
        "SECRET_MANAGER_EMULATOR_HOST": google.address,
        "AZURE_KEYVAULT_URL": vault.url,
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": vault.client_id,
        "AZURE_CLIENT_SECRET": vault.client_secret,
        "AZURE_AUTHORITY_HOST": vault.url,
        "COPILOT_AZURE_VERIFY_CHALLENGE": "false",
        "COPILOT_AZURE_CA_FILE": str(vault.ca_file),
        "VAULT_ADDR": bao.address,
        "VAULT_TOKEN": token,
        "COPILOT_KUBERNETES_API": kubernetes.url,
        "COPILOT_KUBERNETES_NAMESPACE": "team-a",
        "COPILOT_KUBERNETES_TOKEN_FILE": str(account),
        "PLAIN_SECRET": values["env"],
    }
    refs = {
        "aws": f"aws://prod/{tag}#password",
        "gcp": f"gcp://s-{tag}",
        "azure": f"azure://s-{tag}",
        "kv": f"vault://{mount}/app#token",
        "nested": f"vault://{mount}/app#/deep/password",
        "k8s": "k8s://app#key",
        "file": f"file://{home}/secret-file",
        "env": "env://PLAIN_SECRET",
        "lent": f"vault://{lent}#password",
    }
    credentials = [aws_key, vault.client_secret, token, account.read_text()]
    return Managers(environ, refs, values, credentials, lent, mount)


class Onlooker(threading.Thread):
    """Reads every process's arguments and name, again and again, as anybody on the node can."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self._over = threading.Event()

    def run(self) -> None:
        """Until ``stop``."""
        while not self._over.wait(0.01):
            for entry in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "comm", "status"):
                    try:
                        self.seen.add((entry / name).read_bytes())
                    except OSError:
                        continue

    def stop(self) -> bytes:
        """What was seen."""
        self._over.set()
        self.join()
        return b"\n".join(self.seen)


def until(ready: Callable[[], bool], what: str) -> None:
    """Waits, and fails with ``what``."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.005)


@dataclass
class Pod:
    """One pod: a disk, a memory volume, and processes started as a kubelet would.

    Attributes:
        disk: everything that is left on disks.
        memory: the memory volume: the control directory and the task's secrets.
        bucket: where the store is.
        server: the store.
        environ: of copilot's own processes.
    """

    disk: Path
    memory: Path
    server: S3Server
    bucket: str
    environ: Mapping[str, str]
    told: list[bytes] = field(default_factory=list)
    sidecar: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.control, self.inputs, self.outputs = self.memory / "control", self.disk / "inputs", self.disk / "outputs"
        self.secrets, self.cwd = self.memory / "secrets", self.disk / "cwd"
        for path in (self.control, self.outputs, self.cwd):
            path.mkdir(parents=True)
        self.prefix = f"s3://{self.bucket}/out"
        literals = idl.LiteralMap()
        literals.literals["n"].scalar.primitive.integer = 5
        self.server.poke(self.bucket, "inputs.pb", literals.SerializeToString())

    def flags(self, name: str) -> list[str]:
        """Everything is told, and kept."""
        return ["--log-level", "debug", "--log-file", str(self.disk / f"{name}.log"), "--control-dir", str(self.control)]

    def start_sidecar(self, *flags: str, **types: idl.LiteralType) -> None:
        """Returns once it is armed; ``types`` are the outputs it declares."""
        made = idl.TypedInterface()
        for name, literal_type in types.items():
            made.outputs.variables.add(key=name).value.type.CopyFrom(literal_type)
        declared = base64.b64encode(made.SerializeToString()).decode()
        places = ["--outputs", str(self.outputs), "--to", self.prefix, "--raw", f"{self.prefix}/raw", "--interface", declared]
        argv = [
            COPILOT,
            "sidecar",
            *places,
            *self.flags("sidecar"),
            "--termination-log",
            str(self.disk / "sidecar.term"),
            *flags,
        ]
        self.sidecar = subprocess.Popen(
            argv, env=dict(self.environ), cwd=self.cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        until((self.control / "ARMED").exists, "the sidecar is not armed")

    def init(self, *flags: str) -> int:
        """Gives the exit code."""
        argv = [
            COPILOT,
            "init",
            "--inputs",
            f"s3://{self.bucket}/inputs.pb",
            "--to",
            str(self.inputs),
            "--errors-to",
            self.prefix,
        ]
        argv += [*self.flags("init"), "--termination-log", str(self.disk / "init.term"), *flags]
        done = subprocess.run(argv, env=dict(self.environ), cwd=self.cwd, capture_output=True, check=False, timeout=PATIENCE_S)
        self.told += [done.stdout, done.stderr]
        return done.returncode

    def main(self, script: str, *flags: str, **environ: str) -> int:
        """``script`` is Python's; ``OUT`` and ``SECRETS`` are directories. Gives the exit code."""
        argv = [COPILOT, "exec", "--control-dir", str(self.control), *flags, "--", sys.executable, "-c", script]
        places = {"OUT": str(self.outputs), "SECRETS": str(self.secrets)}
        done = subprocess.run(
            argv, env={**PLAIN, **places, **environ}, cwd=self.cwd, capture_output=True, check=False, timeout=PATIENCE_S
        )
        self.told += [done.stdout, done.stderr]
        return done.returncode

    def end(self) -> int:
        """The sidecar's exit code."""
        assert self.sidecar is not None
        out, _ = self.sidecar.communicate(timeout=PATIENCE_S)
        self.told.append(out)
        return self.sidecar.returncode

    def stored(self) -> dict[str, bytes]:
        """Every object but the inputs."""
        listing = self.server.signer.request("GET", f"/{self.bucket}").body.decode()
        keys = [key for key in re.findall(r"<Key>([^<]*)</Key>", listing) if key != "inputs.pb"]
        found = {key: self.server.peek(self.bucket, key) for key in keys}
        return {key.removeprefix("out/"): content for key, content in found.items() if content is not None}

    def left(self, *besides: Path) -> bytes:
        """Everything there is now, names included, but for the task's own secrets and the files ``besides``."""
        parts = [*self.told]
        for root in (self.disk, self.control):
            for path in root.rglob("*"):
                if path not in besides:
                    parts.append(str(path).encode())
                    parts += [path.read_bytes()] if path.is_file() else []
        for key, content in self.stored().items():
            parts += [key.encode(), content]
        return b"\n".join(parts)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log file of one command."""
        return [json.loads(line) for line in (self.disk / f"{name}.log").read_text().splitlines()]


@contextmanager
def killed_at_the_end(pod: Pod) -> Iterator[Pod]:
    """Nothing of it outlives the test."""
    try:
        yield pod
    finally:
        if pod.sidecar is not None and pod.sidecar.poll() is None:
            pod.sidecar.kill()
            pod.sidecar.communicate()
