"""A task's secrets: what the init container fetches, and where the main container finds it. Pure.

No value is here, and none is in the pod's manifest or in any object beside it: the pod itself fetches them onto volumes in
memory, with its own identity from a secret manager, or with its attempt's token from the server.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from copilot.core.flyte_secrets import FlyteSecrets, map_secret
from copilot.core.idl_security import SecurityContext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from copilot.control_plane.lifecycle.work import AttemptWork
    from copilot.control_plane.pods.settings import PodSettings


@dataclass(frozen=True, slots=True)
class TaskSecrets:
    """What a task asks for.

    Attributes:
        arguments: of ``copilot init``; empty: nothing is asked for.
        constants: variables that tell the task where its secrets are; nothing of them is secret.
        variables: names of variables with values, which only ``copilot exec`` can give to main.
        directory: where files are in the main container; empty: there are none.
    """

    arguments: tuple[str, ...] = ()
    constants: Mapping[str, str] = field(default_factory=dict)
    variables: tuple[str, ...] = ()
    directory: str = ""

    def __bool__(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.arguments)


def task_secrets(work: AttemptWork, settings: PodSettings) -> TaskSecrets:
    """The secrets of ``security_context``, delivered as Flyte's embedded manager does: by name, by file, or both.

    Raises:
        BadSecretRef: an entry without a key, or one that cannot be a file.
    """
    asked = work.spec.task_template.security_context.secrets
    if not asked:
        return TaskSecrets()
    platform = replace(settings.secrets, project=work.project, domain=work.domain)
    deliveries = [map_secret(secret, platform) for secret in asked]
    encoded = base64.b64encode(SecurityContext(secrets=asked).SerializeToString(deterministic=True)).decode()
    directory = platform.directory if any(each.files for each in deliveries) else ""
    arguments = ["--secrets-flyte", encoded]
    for each in fields(FlyteSecrets):
        value = getattr(platform, each.name)
        # Where the files are is always said: a path that is not on the command line cannot be another one on this machine.
        if value != each.default or (directory and each.name == "directory"):
            arguments += ["--secrets-platform", f"{each.name.replace('_', '-')}={value}"]
    return TaskSecrets(
        tuple(arguments),
        {name: value for each in deliveries for name, value in each.constants.items()},
        tuple(dict.fromkeys(name for each in deliveries for name in each.variables)),
        directory,
    )
