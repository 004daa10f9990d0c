"""Opens Google Cloud Storage buckets for ``object_store``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from copilot.core.errors import BadConfig
from copilot.stores.object_store import Bucket, ObjectStore
from copilot.stores.s3 import NO_RETRIES, checked_endpoint, client_options

if TYPE_CHECKING:
    from obstore.store import GCSCredential

    from copilot.core.uri import Uri
    from copilot.stores.settings import GcsSettings, StoreSettings

GOOGLE = "https://storage.googleapis.com"


def open_gcs(uri: Uri, settings: GcsSettings, process: StoreSettings) -> ObjectStore:
    """One bucket.

    Raises:
        BadConfig: an endpoint that is none, a key file that is none, an option obstore does not know.
    """
    name = f"{uri.scheme}://{uri.authority}"
    emulator = process.environ.get("STORAGE_EMULATOR_HOST")
    endpoint = checked_endpoint(settings.endpoint or emulator or GOOGLE, name, disable_ssl=bool(emulator))
    anonymous = settings.anonymous or (emulator is not None and settings.endpoint is None)
    config: dict[str, Any] = dict(settings.options)
    if settings.service_account_json:
        config["service_account_key"] = settings.service_account_json
    elif settings.service_account_file:
        config["service_account"] = settings.service_account_file
    if anonymous:
        config["skip_signature"] = True

    def build(root: str = "") -> Any:  # noqa: ANN401 - obstore's classes cannot be imported here
        from obstore.store import GCSStore  # noqa: PLC0415 - 40 ms, only when a bucket is opened

        # obstore encodes the bucket's name: of a root, its last segment stands there and the rest in the URL.
        where, _, last = f"{uri.authority}{root}".rpartition("/")
        try:
            return GCSStore(
                unquote(last) if root else last,
                config={**config, "base_url": f"{endpoint}/{where}" if where else endpoint},  # type: ignore[arg-type]  # by name
                client_options=client_options(process, endpoint),
                retry_config=NO_RETRIES,
                credential_provider=_nobody if anonymous else None,
            )
        except Exception as error:
            raise BadConfig(
                f"The settings of {name} cannot be used",
                op="open",
                subject=name,
                hint="Check the service account's key file and the options of the store.",
            ) from error

    return ObjectStore(Bucket(uri=name, host=urlsplit(endpoint).hostname or "", handle=build(), rooted=build))


def _nobody() -> GCSCredential:
    """For writes without a signature: obstore asks for a token all the same, and would go and look for one."""
    return {"token": "anonymous", "expires_at": None}
