"""``copilot server --secrets``: who keeps the secrets of projects, and where the pods of tasks read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from copilot.core.errors import BadFlag
from copilot.core.flyte_secrets import FlyteSecrets

if TYPE_CHECKING:
    from copilot.cli.session import Session
    from copilot.control_plane.secret_store import SecretStore

EMBEDDED: Final = "embedded"
#: The field of the platform that is said after ``://``.
_DETAIL: Final[Mapping[str, str]] = {
    "aws": "aws_region",
    "gcp": "gcp_project",
    "azure": "azure_vault",
    "vault": "vault_path",
}
HELP: Final = (
    "Who keeps the secrets of projects: embedded (this server, encrypted), aws[://REGION], gcp[://PROJECT], azure[://VAULT] or "
    "vault[://MOUNT]. Pods read them there with their own identity."
)

#: How pods reach a manager. What logs this server in (VAULT_TOKEN, a secret id) stays here: its identity writes, theirs reads.
_FOR_PODS: Final = (
    "SECRET_MANAGER_EMULATOR_HOST",
    *(f"{maker}_{name}" for maker in ("VAULT", "BAO") for name in ("ADDR", "NAMESPACE", "CACERT", "SKIP_VERIFY")),
    "COPILOT_VAULT_AUTH",
    "COPILOT_VAULT_AUTH_MOUNT",
    "COPILOT_VAULT_ROLE",
    "COPILOT_VAULT_JWT_FILE",
    "COPILOT_VAULT_TOKEN_FILE",
    "COPILOT_AZURE_MANAGED_IDENTITY",
    "COPILOT_AZURE_VERIFY_CHALLENGE",
    "COPILOT_AZURE_CA_FILE",
)


@dataclass(frozen=True, slots=True)
class SecretsKept:
    """Who keeps secrets.

    Attributes:
        store: None: the server itself.
        platform: how pods find them.
        pod_env: further variables of our own containers.
    """

    store: SecretStore | None
    platform: FlyteSecrets
    pod_env: Mapping[str, str]


def secrets_platform(text: str, environ: Mapping[str, str]) -> FlyteSecrets:
    """What ``--secrets`` means.

    Raises:
        BadFlag: it is nothing of that kind, or lacks what cannot be guessed.
    """
    name, scheme, detail = text.partition("://")
    detail = detail.strip("/")
    if name == EMBEDDED and not detail:
        return FlyteSecrets(embedded_in="copilot")
    if name not in _DETAIL or (scheme and not detail):
        raise BadFlag(
            f"no secrets can be kept in {text!r}",
            op="flags",
            subject="--secrets",
            hint=f"Say {EMBEDDED}, {', '.join(f'{each}[://…]' for each in _DETAIL)}.",
        )
    guesses = {
        "aws": ("AWS_REGION", "AWS_DEFAULT_REGION"),
        "gcp": ("GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT", "GCLOUD_PROJECT"),
        "azure": ("AZURE_KEYVAULT_URL", "AZURE_KEY_VAULT_URL", "COPILOT_AZURE_VAULT"),
        "vault": (),
    }[name]
    # Said in as many words, since pods may have other variables than this process.
    detail = detail or next((environ[each] for each in guesses if environ.get(each)), "")
    if not detail and name in {"gcp", "azure"}:
        what = "project" if name == "gcp" else "vault"
        raise BadFlag(
            f"--secrets {name} needs a {what}",
            op="flags",
            subject="--secrets",
            hint=f"Write {name}://{what.upper()}, or set {guesses[0]}.",
        )
    given = {_DETAIL[name]: detail} if detail else {}
    return FlyteSecrets(embedded_in=name, **given)


def keep_secrets(session: Session, text: str) -> SecretsKept:
    """Opens what keeps secrets.

    Raises:
        BadFlag: see ``secrets_platform``.
        MissingExtra: the manager's client is not installed.
    """
    environ = session.configuration.environ
    platform = secrets_platform(text, environ)
    if platform.embedded_in == "copilot":
        return SecretsKept(None, platform, {})
    from copilot.control_plane.managed_secrets import ManagedSecrets  # noqa: PLC0415 - a manager's client, when it is wanted
    from copilot.secrets.registry import ProviderContext  # noqa: PLC0415 - as above
    from copilot.secrets.settings import settings_from  # noqa: PLC0415 - as above
    from copilot.secrets.writers.registry import open_writer  # noqa: PLC0415 - as above

    context = ProviderContext(settings_from(environ), session.clock, session.redactor.register)
    writer = open_writer(platform.embedded_in, context)
    store = ManagedSecrets(writer, platform, clock=session.clock, log=session.log)
    return SecretsKept(store, platform, {name: environ[name] for name in _FOR_PODS if environ.get(name)})
