"""What ours and somebody's main share: secrets, and the user or group by which each reads what the other wrote. Pure."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from copilot.control_plane.pods.directories import directory
from copilot.control_plane.pods.refusal import refused
from copilot.core.secret_refs import parse_ref

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SECRETS_VOLUME: Final = "copilot-secrets"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SMALL: Final = frozenset({"emptyDir", "secret", "configMap", "projected", "downwardAPI", "hostPath", "image", "nfs"})


@dataclass(frozen=True, slots=True)
class AskedSecrets:
    """The secrets' directories with their volumes, whether there are variables, and whether the API server is asked for any."""

    volumes: Mapping[str, str] = field(default_factory=dict)
    variables: bool = False
    of_cluster: bool = False


def asked_secrets(secrets: Sequence[str]) -> AskedSecrets:
    """Every directory of a secret file gets a memory volume of its own."""
    directories, variables, of_cluster = dict[str, str](), False, False
    for text in secrets:
        target, _, reference = text.partition("=")
        of_cluster |= parse_ref(reference).provider == "k8s"
        if not target.startswith("/"):
            if not _VARIABLE.fullmatch(target):
                raise refused("secrets", f"has {target!r}, which is no name of a variable", hint="A file begins with /.")
            variables = True
            continue
        file = posixpath.normpath(target.partition(":")[0])
        place = directory(posixpath.dirname(file), f"the directory of the secret {file}")
        directories.setdefault(place, f"{SECRETS_VOLUME}-{len(directories)}")
    return AskedSecrets({volume: place for place, volume in directories.items()}, variables, of_cluster)


def named_user(spec: Mapping[str, Any], main: Mapping[str, Any]) -> int | None:
    """Main's own user, where it is told: what it writes for itself alone can then be read."""
    for context in (main.get("securityContext", {}), spec.get("securityContext", {})):
        if "runAsUser" in context:
            return int(context["runAsUser"])
    return None


def for_the_group(secret: str) -> str:
    """A secret file that main, whose user is not known here, can read by the group they share; a mode that is told stays."""
    target, _, reference = secret.partition("=")
    return f"{target}:0440={reference}" if target.startswith("/") and ":" not in target else secret


def shared_group(spec: Mapping[str, Any], group: int, *, keeps_data: bool) -> dict[str, Any]:
    """The pod's security context, so that main reads what our containers write, and they what it does.

    ``fsGroup`` changes the owner of everything on the volumes of others as well, which may take long, and which a database
    does not forgive: a pod that has such volumes gets the group beside its own instead.
    """
    context = spec.get("securityContext", {})
    if "fsGroup" in context:
        return dict(context)
    if keeps_data or any(not _SMALL.intersection(each) for each in spec.get("volumes", ())):
        return {**context, "supplementalGroups": [*(g for g in context.get("supplementalGroups", ()) if g != group), group]}
    return {"fsGroup": group, **context}
