"""Google's bearer tokens, for the requests obstore has no words for: from the metadata server, or through google-auth."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from copilot.core.errors import BadCredentials, MissingExtra, Unsupported

if TYPE_CHECKING:
    from obstore.store import GCSCredential

    from copilot.stores.settings import GcsSettings, StoreSettings

_METADATA: Final = "metadata.google.internal"
_TOKEN_PATH: Final = "/computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105 - a path
_EARLY_S: Final = 240.0
_SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_write"


@dataclass(frozen=True, slots=True)
class Token:
    """A token and when it ends, in seconds since the epoch."""

    text: str
    ends_at_s: float


class Tokens:
    """One identity's token, asked for again shortly before it ends."""

    def __init__(self, ask: Callable[[], Token]) -> None:
        """``ask`` raises ``StoreError``."""
        self._ask = ask
        self._lock = threading.Lock()
        self._held: Token | None = None

    def header(self) -> dict[str, str]:
        """``Authorization``."""
        with self._lock:
            if self._held is None or self._held.ends_at_s - time.time() < _EARLY_S:
                self._held = self._ask()
            return {"Authorization": f"Bearer {self._held.text}"}


def tokens_for(settings: GcsSettings, process: StoreSettings, identity: Callable[[], GCSCredential] | None) -> Tokens:
    """Where the tokens of these settings come from. Nothing is asked before the first is needed."""
    if identity is not None:
        return Tokens(lambda: _of_identity(identity()))
    if settings.service_account_json or settings.service_account_file or process.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return Tokens(_by_google_auth(settings, process))
    return Tokens(lambda: _from_metadata(process))


def _of_identity(credential: Mapping[str, Any] | GCSCredential) -> Token:
    ends = credential["expires_at"]
    return Token(credential["token"], ends.timestamp() if ends is not None else time.time() + 2 * _EARLY_S)


def _from_metadata(process: StoreSettings) -> Token:
    import urllib3  # noqa: PLC0415 - only where uploads are gone on with

    host = process.environ.get("GCE_METADATA_HOST", _METADATA)
    try:
        response = urllib3.PoolManager(retries=False, timeout=process.connect_timeout_s).request(
            "GET", f"http://{host}{_TOKEN_PATH}", headers={"Metadata-Flavor": "Google"}
        )
        answer = json.loads(response.data) if response.status == 200 else {}  # noqa: PLR2004 - HTTP's OK
        return Token(str(answer["access_token"]), time.time() + float(answer["expires_in"]))
    except (urllib3.exceptions.HTTPError, ValueError, KeyError) as error:
        raise Unsupported(
            "There is no token for requests of our own: the metadata server gave none",
            op="open",
            hint="Attach a service account to the pod, or install 'copilot[gcp]' and give a key file.",
        ) from error


def _by_google_auth(settings: GcsSettings, process: StoreSettings) -> Callable[[], Token]:
    held: list[Any] = []

    def ask() -> Token:
        try:
            import google.auth  # noqa: PLC0415 - an extra
            from google.auth.transport.requests import Request  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtra(
                "Tokens from a key file need google-auth", op="open", hint="pip install 'copilot[gcp]'"
            ) from error
        if not held:
            path = settings.service_account_file or process.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
            text = settings.service_account_json or Path(path).read_text(encoding="utf-8")
            load: Any = google.auth.load_credentials_from_dict
            held.append(load(json.loads(text), scopes=[_SCOPE])[0])
        try:
            held[0].refresh(Request())
        except Exception as error:
            raise BadCredentials(f"The Google credentials gave no token ({type(error).__name__})", op="open") from error
        expiry = held[0].expiry
        return Token(held[0].token, expiry.replace(tzinfo=UTC).timestamp() if expiry else time.time() + 2 * _EARLY_S)

    return ask
