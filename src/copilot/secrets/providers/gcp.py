"""Google Secret Manager: ``gcp://[project/]name[#key][?version=NUMBER|latest|ALIAS]``, or the full ``projects/…`` name.

Every value's CRC32C is compared with the one Google states. The option ``location`` reads a regional secret.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import google_crc32c

from copilot.core.errors import (
    BadSecretRef,
    CopilotError,
    SecretCorrupt,
    SecretDenied,
    SecretFault,
    SecretNoIdentity,
    SecretNotFound,
    SecretRefused,
    SecretThrottled,
    SecretUnreachable,
)
from copilot.core.secret_refs import describe_ref
from copilot.secrets.providers.grouping import LastingSecrets, check_options, classifying, silence
from copilot.secrets.values import Payload

if TYPE_CHECKING:
    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef
    from copilot.secrets.registry import ProviderContext


class GcpSecrets(LastingSecrets):
    """Reads with application default credentials (Workload Identity in a pod). One client a location."""

    max_batch = 1

    def __init__(self, context: ProviderContext) -> None:
        """See the class."""
        import google.cloud.secretmanager_v1  # noqa: F401, PLC0415 - says at once whether the client is installed

        silence("google", "grpc", "urllib3")
        self._settings = context.settings.gcp
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def close(self, cancel: CancelToken) -> None:
        """There is no session to end."""

    def whoami(self, cancel: CancelToken) -> str:
        """The service account, where the credentials say it."""
        cancel.check()
        if self._settings.plaintext:
            return "nobody (an emulator without credentials)"
        import google.auth  # noqa: PLC0415 - clients are imported when used
        import google.auth.transport.requests  # noqa: PLC0415 - as above

        with classifying(classified, "whoami", "gcp://"):
            credentials, project = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
            if getattr(credentials, "service_account_email", "") in {"", "default"}:
                credentials.refresh(google.auth.transport.requests.Request())  # type: ignore[no-untyped-call] # google-auth's
        email = getattr(credentials, "service_account_email", "") or "an account without an address"
        return f"{email} (project {project or self._settings.project or 'unknown'})"

    def _read(self, ref: SecretRef) -> Payload:
        check_options(ref, ("location",))
        name, location = self.full_name(ref)
        with classifying(classified, "resolve", describe_ref(ref)):
            answer = self.client(location).access_secret_version(
                request={"name": name}, retry=None, timeout=self._settings.timeout_s
            )
        data = bytes(answer.payload.data)
        if answer.payload.data_crc32c is not None and google_crc32c.value(data) != answer.payload.data_crc32c:
            raise SecretCorrupt(
                "the secret arrived with another checksum than Google Secret Manager states",
                op="resolve",
                subject=describe_ref(ref),
            )
        return Payload(raw=data, version=str(answer.name).rsplit("/", 1)[-1])

    def full_name(self, ref: SecretRef) -> tuple[str, str]:
        """The resource's name with its version, and its location (empty: global)."""
        parts = ref.name.strip("/").split("/")
        project, location, version = self._settings.project or "", ref.options.get("location", ""), ref.version
        match parts:
            case [secret]:
                pass
            case [project, secret]:
                pass
            case ["projects", project, "secrets", secret]:
                pass
            case ["projects", project, "secrets", secret, "versions", named]:
                version = version or named
            case ["projects", project, "locations", location, "secrets", secret]:
                pass
            case ["projects", project, "locations", location, "secrets", secret, "versions", named]:
                version = version or named
            case _:
                secret = ""
        if not secret or not project:
            raise BadSecretRef(
                "the reference does not name a project and a secret",
                op="parse",
                subject=describe_ref(ref),
                hint="Write gcp://PROJECT/NAME, or set GOOGLE_CLOUD_PROJECT.",
            )
        where = f"projects/{project}/locations/{location}" if location else f"projects/{project}"
        return f"{where}/secrets/{secret}/versions/{version or 'latest'}", location

    def client(self, location: str) -> Any:  # noqa: ANN401 - the client is typed where it is imported
        """The client of a location; of the global one where it is empty."""
        with self._lock:
            if location not in self._clients:
                self._clients[location] = self._connect(location)
            return self._clients[location]

    def _connect(self, location: str) -> Any:  # noqa: ANN401 - as above
        from google.cloud import secretmanager_v1 as api  # noqa: PLC0415 - clients are imported when used

        if self._settings.plaintext:
            import grpc  # noqa: PLC0415 - as above
            from google.cloud.secretmanager_v1.services.secret_manager_service import transports  # noqa: PLC0415 - as above

            channel = grpc.insecure_channel(self._settings.endpoint)
            return api.SecretManagerServiceClient(transport=transports.SecretManagerServiceGrpcTransport(channel=channel))
        endpoint = self._settings.endpoint or (f"secretmanager.{location}.rep.googleapis.com" if location else None)
        return api.SecretManagerServiceClient(client_options={"api_endpoint": endpoint} if endpoint else None)


def classified(cause: Exception, op: str, subject: str) -> CopilotError:
    """What the client raised, as one of ours: by its class."""
    from google.api_core import exceptions as api  # noqa: PLC0415 - clients are imported when used
    from google.auth import exceptions as auth  # noqa: PLC0415 - as above

    table: tuple[tuple[type[Exception] | tuple[type[Exception], ...], CopilotError], ...] = (
        (
            api.NotFound,
            SecretNotFound(
                "Google Secret Manager has no such secret, or no such version of it",
                op=op,
                subject=subject,
                hint="Check the project, the name and the version.",
            ),
        ),
        (
            api.Unauthenticated,
            SecretNoIdentity("Google does not accept the credentials we show", op=op, subject=subject),
        ),
        (
            api.Forbidden,
            SecretDenied(
                "the identity may not read this secret",
                op=op,
                subject=subject,
                hint="Grant it roles/secretmanager.secretAccessor on the secret.",
            ),
        ),
        (api.TooManyRequests, SecretThrottled("Google asks us to slow down", op=op, subject=subject)),
        (
            api.FailedPrecondition,
            SecretRefused("this version of the secret is disabled or destroyed", op=op, subject=subject, hint="Enable it."),
        ),
        (api.BadRequest, BadSecretRef("Google cannot have a secret of this name or version", op=op, subject=subject)),
        (
            (api.ServiceUnavailable, api.GatewayTimeout, api.RetryError, auth.TransportError, OSError),
            SecretUnreachable("Google Secret Manager does not answer", op=op, subject=subject),
        ),
        (api.ServerError, SecretFault("Google Secret Manager failed", op=op, subject=subject)),
        (api.GoogleAPICallError, SecretRefused("Google refused the request", op=op, subject=subject)),
        (
            auth.GoogleAuthError,
            SecretNoIdentity(
                "there are no usable Google credentials",
                op=op,
                subject=subject,
                hint="Give the pod a Workload Identity, or set GOOGLE_APPLICATION_CREDENTIALS.",
            ),
        ),
    )
    for classes, error in table:
        if isinstance(cause, classes):
            return error
    raise cause
