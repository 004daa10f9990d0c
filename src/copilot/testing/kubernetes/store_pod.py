"""An S3 server inside a cluster: pods of a real cluster cannot reach one on the machine that the tests run on."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from copilot.testing.kubernetes.real import fitted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from copilot.testing.kubernetes.real import ClusterRoom

PORT: Final = 8333
BUCKET: Final = "tests"
_ARGV: Final = (
    "/bin/weed", "-logtostderr=true", "server", "-ip=127.0.0.1", "-ip.bind=0.0.0.0", "-dir=/data",
    "-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=20",
    "-filer", "-filer.localSocket=/data/filer.sock",
    "-s3", f"-s3.port={PORT}", "-s3.config=/config/s3.json", "-s3.localSocket=/data/s3.sock",
    "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=true",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StorePod:
    """SeaweedFS in a pod.

    Attributes:
        prefix: the URI below which everything lies; a bucket of its own.
        keys: the Secret with the variables that lead a program here.
    """

    prefix: str
    keys: str


def start_store(room: ClusterRoom, image: str) -> StorePod:
    """Starts it, and waits until it listens. It goes with the room.

    Args:
        room: where.
        image: one with ``/bin/weed`` (``scripts/image test`` makes it).

    Raises:
        ClusterUnfit: the image is not there, or the store never listened.
    """
    room.needs(image, ("/bin/weed", "version"))
    name = f"store-{secrets.token_hex(4)}"
    access_key, secret_key = "copilot", secrets.token_hex(16)
    identity = {
        "name": access_key,
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    pod = room.create("pods", fitted(_pod(room.namespace, name), image))
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    room.create("secrets", _secret(f"{name}-config", owner, {"s3.json": json.dumps({"identities": [identity]})}))
    address = room.address(name)
    keys = {
        "AWS_ENDPOINT_URL": f"http://{f'[{address}]' if ':' in address else address}:{PORT}",
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_REGION": "us-east-1",
    }
    room.create("secrets", _secret(f"{name}-keys", owner, keys))
    return StorePod(f"s3://{BUCKET}", f"{name}-keys")


def _pod(namespace: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "config", "secret": {"secretName": f"{name}-config"}}],
            "containers": [
                {
                    "name": "weed",
                    "command": list(_ARGV),
                    "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
                    "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                    "volumeMounts": [
                        {"name": "data", "mountPath": "/data"},
                        {"name": "data", "mountPath": "/tmp", "subPath": "tmp"},  # noqa: S108 - its sockets; the image has none
                        {"name": "config", "mountPath": "/config", "readOnly": True},
                    ],
                }
            ],
        },
    }


def _secret(name: str, owner: Mapping[str, str], values: Mapping[str, str]) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "ownerReferences": [owner]}, "data": data}
