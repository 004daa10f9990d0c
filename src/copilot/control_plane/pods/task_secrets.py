"""A task's secrets: a Secret object that comes with its pod, and how the main container finds the values in it. Pure."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from copilot.core.errors import SecretNotFound
from copilot.core.flyte_secrets import FlyteSecrets, map_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from copilot.control_plane.lifecycle.work import AttemptWork

VOLUME: Final = "flyte-secrets"
MAX_NAME: Final = 253


@dataclass(frozen=True, slots=True)
class TaskSecrets:
    """What the pod gets: the Secret object (None without secrets), variables, a volume and its mount."""

    manifest: Mapping[str, Any] | None = None
    env: list[dict[str, Any]] = field(default_factory=list)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    mounts: list[dict[str, Any]] = field(default_factory=list)


def task_secrets(work: AttemptWork) -> TaskSecrets:
    """The secrets of ``security_context``, delivered as Flyte's embedded manager does: by name, by file, or both.

    Raises:
        SecretNotFound: a value that the task asks for is not there.
        BadSecretRef: an entry without a key.
    """
    asked = work.spec.task_template.security_context.secrets
    if not asked:
        return TaskSecrets()
    platform = FlyteSecrets(project=work.project, domain=work.domain)
    name = f"{work.pod_name}-secrets"[:MAX_NAME]
    data: dict[str, str] = {}
    env: dict[str, dict[str, Any]] = {}
    items: dict[str, dict[str, Any]] = {}
    for number, secret in enumerate(asked):
        delivery = map_secret(secret, platform)
        if secret.key not in work.secrets:
            raise SecretNotFound(
                f"there is no secret called {secret.key}",
                op="pod",
                subject=secret.key,
                hint=f"Create it: flyte create secret {secret.key} --project {work.project} --domain {work.domain}.",
            )
        key = f"s{number}"
        data[key] = base64.b64encode(work.secrets[secret.key]).decode()
        for variable in delivery.variables:
            env[variable] = {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
        for variable, value in delivery.constants.items():
            env[variable] = {"name": variable, "value": value}
        root = platform.directory.rstrip("/") + "/"
        for file in delivery.files:
            items[file] = {"key": key, "path": file.removeprefix(root)}
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": name, "namespace": work.namespace},
        "data": data,
    }
    if not items:
        return TaskSecrets(manifest, list(env.values()))
    volume = {"name": VOLUME, "secret": {"secretName": name, "items": list(items.values()), "defaultMode": 0o444}}
    mount = {"name": VOLUME, "mountPath": platform.directory, "readOnly": True}
    return TaskSecrets(manifest, list(env.values()), [volume], [mount])
