"""Secrets that our own server keeps: ``copilot://NAME[#key]``, read by the pod of an attempt with that attempt's own token.

The server gives what the attempt's task declares, of the nearest scope (its project, its domain, everybody), and only while the
attempt goes on: the token is good for nothing else and ends with it.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from copilot.core.errors import (
    BadSecretRef,
    CopilotError,
    SecretDenied,
    SecretExpiredToken,
    SecretFault,
    SecretNoIdentity,
    SecretNotFound,
    SecretRefused,
    SecretThrottled,
    SecretUnreachable,
)
from copilot.core.secret_refs import describe_ref
from copilot.secrets.providers.grouping import LastingSecrets, check_options, no_version, silence
from copilot.secrets.providers.tls import not_accepted
from copilot.secrets.values import Payload

if TYPE_CHECKING:
    import urllib3

    from copilot.core.ports import CancelToken
    from copilot.core.secret_ports import SecretRef
    from copilot.secrets.registry import ProviderContext

_MOST_NAME = 253


class ServerSecrets(LastingSecrets):
    """Reads over HTTP from the server that made this pod."""

    max_batch = 1

    def __init__(self, context: ProviderContext) -> None:
        """See the class."""
        silence("urllib3")
        self._settings = context.settings.server
        if self._settings.token:
            context.known(self._settings.token.encode())
        self._pool: urllib3.PoolManager | None = None
        self._lock = threading.Lock()

    def close(self, cancel: CancelToken) -> None:
        """Closes the connections."""
        cancel.check()
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.clear()

    def whoami(self, cancel: CancelToken) -> str:
        """The attempt, as far as it is known here: the server knows it by the token."""
        cancel.check()
        return f"the attempt that {urlsplit(self._where('copilot://')).netloc} gave this pod its token for"

    def _where(self, subject: str) -> str:
        if not self._settings.url or not self._settings.token:
            raise SecretNoIdentity(
                "this process is not in a pod that our server made",
                op="resolve",
                subject=subject,
                hint="copilot:// is for such pods; COPILOT_REPORT_URL and COPILOT_REPORT_TOKEN come with them.",
            )
        return self._settings.url

    def _read(self, ref: SecretRef) -> Payload:
        import urllib3  # noqa: PLC0415 - only where there is something to ask

        check_options(ref, ())
        no_version(ref)
        subject = describe_ref(ref)
        url = self._where(subject)
        if not ref.name or len(ref.name) > _MOST_NAME or "/" in ref.name or ref.name in {".", ".."}:
            raise BadSecretRef("our server cannot have a secret of this name", op="parse", subject=subject)
        with self._lock:
            pool = self._pool = self._pool or urllib3.PoolManager(maxsize=8, retries=False)
        try:
            answer = pool.request(
                "GET",
                url + quote(ref.name, safe=""),
                headers={"Authorization": f"Bearer {self._settings.token}"},
                timeout=urllib3.Timeout(total=self._settings.timeout_s),
                redirect=False,
            )
        except urllib3.exceptions.SSLError as cause:
            raise not_accepted(
                "the server that keeps the secret", op="resolve", subject=subject, variable="SSL_CERT_FILE"
            ) from cause
        except (urllib3.exceptions.HTTPError, OSError) as cause:
            raise SecretUnreachable(
                "the server that keeps the secret does not answer", op="resolve", subject=subject
            ) from cause
        if answer.status != HTTPStatus.OK:
            raise _refusal(answer.status, subject, answer.headers.get("Retry-After", ""))
        try:
            raw = base64.b64decode(json.loads(answer.data)["value"], validate=True)
        except (ValueError, KeyError, TypeError, binascii.Error):
            # The exception would carry the answer.
            raise SecretFault("the server answered what is no answer", op="resolve", subject=subject) from None
        return Payload(raw=raw)


def _refusal(status: int, subject: str, retry_after: str) -> CopilotError:
    if status == HTTPStatus.NOT_FOUND:
        return SecretNotFound(
            f"there is no secret called {subject.partition('://')[2]}",
            op="resolve",
            subject=subject,
            hint="Create it: flyte create secret NAME, or copilot secrets set NAME.",
        )
    if status == HTTPStatus.FORBIDDEN:
        return SecretDenied(
            "the task does not declare this secret", op="resolve", subject=subject, hint="Name it among the task's secrets."
        )
    if status == HTTPStatus.UNAUTHORIZED:
        return SecretExpiredToken(
            "the attempt has ended, and its token with it", op="resolve", subject=subject, hint="A new attempt has its own."
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        after = float(retry_after) if retry_after.isdecimal() else None
        return SecretThrottled("the server asks us to slow down", op="resolve", subject=subject, retry_after_s=after)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return SecretFault(f"the server failed with {status}", op="resolve", subject=subject)
    return SecretRefused(f"the server refused the request with {status}", op="resolve", subject=subject)
