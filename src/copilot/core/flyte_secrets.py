"""Flyte's ``core.Secret``: which reference it means with each secret manager, and where a Flyte task looks for the value.

The managers are those of Flyte's webhook (``secretManagerTypes``); the names of files and variables are theirs. Where Flyte's
webhook refuses a variable (AWS, GCP, Azure, Vault), the value is delivered under the name the Kubernetes manager gives it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from copilot.core.errors import BadSecretRef
from copilot.core.secret_ports import SecretRef

ANY, ENV_VAR, FILE = 0, 1, 2  # core.Secret.MountType
VAULT_FIELD = "value"
"""The field of a KV secret that holds the value of an embedded secret."""


class SecretMessage(Protocol):
    """The fields of ``flyteidl2.core.Secret``."""

    @property
    def group(self) -> str:
        """The manager's name of the secret, or of several."""
        ...

    @property
    def group_version(self) -> str:
        """The version of the group."""
        ...

    @property
    def key(self) -> str:
        """The secret inside its group."""
        ...

    @property
    def mount_requirement(self) -> int:
        """``ANY``, ``ENV_VAR`` or ``FILE``."""
        ...

    @property
    def env_var(self) -> str:
        """A variable of the task's choice."""
        ...


@dataclass(frozen=True, slots=True)
class FlyteSecrets:
    """How the platform keeps Flyte's secrets.

    Attributes:
        manager: ``embedded``, ``k8s``, ``aws``, ``gcp``, ``azure``, ``vault`` or ``global``.
        embedded_in: what holds the embedded manager's secrets: ``k8s``, ``aws``, ``gcp`` or ``azure`` as with Flyte; further
            ``vault``, and ``copilot`` for our own server, which knows the scope by the pod's token.
        namespace: the Kubernetes namespace of the embedded manager's secrets.
        org: the scope's organisation.
        domain: the scope's domain.
        project: the scope's project.
        gcp_project: the Google project of the embedded manager's secrets.
        azure_vault: the Key Vault of the embedded manager's secrets, a host or a URL.
        aws_region: the region of the embedded manager's secrets; empty: the process's own.
        vault_path: the KV mount of the embedded manager's secrets, and a path in it if wanted.
        env_prefix: what the variables' names begin with.
        directory: where the files are.
        vault_kv: the KV version of Vault paths whose ``group_version`` does not say: ``kv1`` or ``kv2``.
    """

    manager: str = "embedded"
    embedded_in: str = "k8s"
    namespace: str = "flyte"
    org: str = "flyte"
    domain: str = ""
    project: str = ""
    gcp_project: str = ""
    azure_vault: str = ""
    aws_region: str = ""
    vault_path: str = "secret"
    env_prefix: str = "_UNION_"
    directory: str = "/etc/flyte/secrets"
    vault_kv: str = "kv2"


@dataclass(frozen=True, slots=True)
class FlyteDelivery:
    """One ``core.Secret``, mapped.

    Attributes:
        candidates: references in the order to try; the first that is found is the value.
        files: absolute paths the value is written to.
        variables: names that get the value.
        constants: variables that say where things are; equal for every secret but those with an ``env_var`` of their own.
    """

    candidates: tuple[SecretRef, ...]
    files: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    constants: dict[str, str] = field(default_factory=dict)


def map_secret(secret: SecretMessage, platform: FlyteSecrets) -> FlyteDelivery:
    """Where to read ``secret`` and where a Flyte task expects it.

    Raises:
        BadSecretRef: a part the manager needs is empty, or the manager is not known.
    """
    managers: dict[str, Callable[[SecretMessage, FlyteSecrets], tuple[SecretRef, ...]]] = {
        "embedded": _embedded,
        "k8s": _kubernetes,
        "aws": _aws,
        "gcp": _gcp,
        "azure": _azure,
        "vault": _vault,
        "global": _global,
    }
    if platform.manager not in managers:
        raise BadSecretRef(
            f"there is no secret manager called {platform.manager}", op="map", hint=f"It is one of {', '.join(managers)}."
        )
    candidates = managers[platform.manager](secret, platform)
    in_file = secret.mount_requirement == FILE or (
        secret.mount_requirement == ANY and platform.manager not in {"embedded", "global"}
    )
    return (_as_files if in_file else _as_variables)(secret, platform, candidates)


def storage_name(org: str, domain: str, project: str, name: str) -> str:
    """The name under which Flyte's secret service keeps a secret of that scope."""
    return f"u__org__{org}__domain__{domain}__project__{project}__key__{name}"


def stored_ref(platform: FlyteSecrets, project: str, domain: str, key: str) -> SecretRef:
    """Where the embedded manager keeps a secret of that scope; what is written there is what a pod reads.

    Raises:
        BadSecretRef: the embedded manager does not keep secrets there.
    """
    return _stored(platform, domain, project, key)


def stored_scope(platform: FlyteSecrets, name: str) -> tuple[str, str, str] | None:
    """``(project, domain, key)`` of a secret by the last segment of its stored name; None: it is none of this platform's."""
    if platform.embedded_in == "azure":
        return _azure_scope(platform, name)
    found = _STORED.fullmatch(name)
    if found is None or found["org"] != platform.org:
        return None
    return found["project"], found["domain"], found["key"]


_STORED = re.compile(r"u__org__(?P<org>.*?)__domain__(?P<domain>.*?)__project__(?P<project>.*?)__key__(?P<key>.+)", re.DOTALL)
_AZURE_STORED = re.compile(r"1-(?P<org>[^-]*)-(?P<domain>[^-]*)-(?P<project>[^-]*)-(?P<key>[A-Za-z2-7]+)")


# --- where to read -----------------------------------------------------------------------------------------------------


def _embedded(secret: SecretMessage, platform: FlyteSecrets) -> tuple[SecretRef, ...]:
    """The scopes from the narrowest to the widest; the group means nothing here."""
    _need(secret, "key")
    if platform.embedded_in == "copilot":
        return (SecretRef("copilot", secret.key),)
    scopes = {(platform.domain, platform.project), (platform.domain, ""), ("", "")}
    if platform.project and not platform.domain:
        raise BadSecretRef("a project's secret needs the project's domain as well", op="map", subject=secret.key)
    ordered = sorted(scopes, key=lambda scope: (not scope[1], not scope[0]))
    return tuple(_stored(platform, domain, project, secret.key) for domain, project in ordered)


def _stored(platform: FlyteSecrets, domain: str, project: str, key: str) -> SecretRef:
    name = storage_name(platform.org, domain, project, key)
    if platform.embedded_in == "aws":
        return SecretRef("aws", name, options={"region": platform.aws_region} if platform.aws_region else {})
    if platform.embedded_in == "vault":
        return SecretRef("vault", f"{platform.vault_path.strip('/')}/{name}", VAULT_FIELD)
    if platform.embedded_in == "gcp":
        return SecretRef("gcp", f"{platform.gcp_project}/{name}" if platform.gcp_project else name)
    if platform.embedded_in == "azure":
        stored = "-".join(["1", *(_azure_part(part) for part in (platform.org, domain, project)), _base32(key)])
        prefix = f"{platform.azure_vault.rstrip('/')}/" if platform.azure_vault else ""
        # Key Vault keeps text only, so Flyte wraps every value in {"type": …, "value": …}.
        return SecretRef("azure", prefix + stored, options={"unwrap": "flyte"})
    if platform.embedded_in == "k8s":
        return SecretRef("k8s", f"{platform.namespace}/{_md5(name)}", name)
    raise BadSecretRef(
        f"the embedded manager does not keep secrets in {platform.embedded_in}",
        op="map",
        hint="It is k8s, aws, gcp, azure, vault or copilot.",
    )


def _kubernetes(secret: SecretMessage, _: FlyteSecrets) -> tuple[SecretRef, ...]:
    _need(secret, "key")
    return (SecretRef("k8s", secret.group or _md5(secret.key), secret.key),)


def _aws(secret: SecretMessage, _: FlyteSecrets) -> tuple[SecretRef, ...]:
    """Flyte joins group and key to one ARN; a group that is no ARN is a name, and the key a field of it."""
    _need(secret, "group", "key")
    if secret.group.startswith("arn:"):
        return (SecretRef("aws", f"{secret.group.rstrip(':')}:{secret.key.lstrip(':')}", version=secret.group_version or None),)
    return (SecretRef("aws", secret.group, secret.key, secret.group_version or None),)


def _gcp(secret: SecretMessage, _: FlyteSecrets) -> tuple[SecretRef, ...]:
    """The group is ``projects/<p>/secrets/<s>``; the SDK cannot set a version, so none means the latest."""
    _need(secret, "group")
    return (SecretRef("gcp", secret.group, version=secret.group_version or "latest"),)


def _azure(secret: SecretMessage, _: FlyteSecrets) -> tuple[SecretRef, ...]:
    _need(secret, "group")
    return (SecretRef("azure", secret.group.rstrip("/"), version=secret.group_version or None),)


def _vault(secret: SecretMessage, platform: FlyteSecrets) -> tuple[SecretRef, ...]:
    """The group is a path of Vault's API (``secret/data/app`` for KV v2), as its agent takes it."""
    _need(secret, "group", "key")
    shape = secret.group_version or platform.vault_kv
    return (SecretRef("vault", secret.group, secret.key, options={"engine": "api-kv2" if shape == "kv2" else "api"}),)


def _global(secret: SecretMessage, _: FlyteSecrets) -> tuple[SecretRef, ...]:
    _need(secret, "group", "key")
    return (
        SecretRef("env", f"FLYTE_SECRET_{secret.group}_{secret.key}".upper()),
        SecretRef("file", f"/etc/secrets/{secret.group}/{secret.key}".lower()),
    )


# --- where the task looks -------------------------------------------------------------------------------------------------


def _as_variables(secret: SecretMessage, platform: FlyteSecrets, candidates: tuple[SecretRef, ...]) -> FlyteDelivery:
    prefix = platform.env_prefix
    if platform.manager == "embedded":
        names = [secret.env_var or prefix + secret.key.upper()]
    else:
        names = [_variable(prefix + _short_group(secret, platform) + "_" + secret.key)]
        if secret.env_var and platform.manager != "global":
            names.append(secret.env_var)
    return FlyteDelivery(candidates, variables=tuple(dict.fromkeys(names)), constants={"FLYTE_SECRETS_ENV_PREFIX": prefix})


def _as_files(secret: SecretMessage, platform: FlyteSecrets, candidates: tuple[SecretRef, ...]) -> FlyteDelivery:
    group, key, version = secret.group, secret.key, secret.group_version
    if platform.manager == "embedded":
        # The case is kept in the file's name and lost in the variable that points to it: both names are there.
        names = [key, key.lower()]
        if group:
            names.append(f"{group}/{key}")
        pointed = key.lower()
    elif platform.manager == "gcp":
        pointed = f"{group}/{version or 'latest'}".lower()
        names = [pointed]
    elif platform.manager == "azure":
        pointed = "/".join([_short_group(secret, platform), *([version] if version else [])]).lower()
        names = [pointed]
    elif platform.manager == "vault":
        pointed = f"{group}/{key}"
        names = [pointed]
    else:
        pointed = f"{group}/{key}".lower().lstrip("/")
        names = [pointed]
    root = platform.directory.rstrip("/")
    constants = {"FLYTE_SECRETS_DEFAULT_DIR": root, "FLYTE_SECRETS_FILE_PREFIX": ""}
    if secret.env_var:
        constants[secret.env_var] = f"{root}/{_inside(pointed, secret)}"
    files = tuple(dict.fromkeys(f"{root}/{_inside(name, secret)}" for name in names))
    return FlyteDelivery(candidates, files=files, constants=constants)


def _inside(name: str, secret: SecretMessage) -> str:
    if any(step in {"", ".", ".."} for step in name.split("/")) or "\0" in name:
        raise BadSecretRef(
            "the secret's group and key do not make a path below the secrets' directory",
            op="map",
            subject=f"{secret.group}/{secret.key}",
            hint="Leave out empty steps, . and ...",
        )
    return name


def _short_group(secret: SecretMessage, platform: FlyteSecrets) -> str:
    """The group, or for a Key Vault URI the secret's name in it."""
    if platform.manager != "azure":
        return secret.group
    steps = [step for step in urlsplit(secret.group).path.split("/") if step]
    return steps[-1] if steps else secret.group


_ODD = re.compile(r"[^A-Z0-9_]")


def _variable(name: str) -> str:
    return _ODD.sub("_", name.upper())


def _need(secret: SecretMessage, *parts: str) -> None:
    for part in parts:
        if not getattr(secret, part):
            raise BadSecretRef(f"the secret's {part} is empty, and its manager needs it", op="map", subject=secret.key)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _base32(text: str) -> str:
    return base64.b32encode(text.encode()).decode().rstrip("=")


def _azure_scope(platform: FlyteSecrets, name: str) -> tuple[str, str, str] | None:
    found = _AZURE_STORED.fullmatch(name)
    if found is None or found["org"] != _azure_part(platform.org):
        return None
    text = found["key"].upper()
    try:
        key = base64.b32decode(text + "=" * (-len(text) % 8)).decode()
    except ValueError:
        return None
    return _azure_text(found["project"]), _azure_text(found["domain"]), key


def _azure_text(part: str) -> str:
    return re.sub("0(.)", lambda pair: {"0": "0", "1": "-"}.get(pair.group(1), pair.group(0)), part)


def _azure_part(text: str) -> str:
    """Flyte's escape for Key Vault names, which take letters, digits and hyphens: ``0`` is ``00``, ``-`` is ``01``."""
    return text.replace("0", "00").replace("-", "01")
