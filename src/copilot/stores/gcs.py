"""Opens Google Cloud Storage buckets for ``object_store``."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from copilot.core.errors import BadConfig, BadCredentials, MissingExtra
from copilot.core.ports import ContentFacts
from copilot.stores.gcs_token import tokens_for
from copilot.stores.object_store import Bucket, Identity, ObjectStore
from copilot.stores.s3 import NO_RETRIES, checked_endpoint, client_options
from copilot.stores.s3_multipart import S3Multiparts
from copilot.stores.signed_requests import Signed, SignedRequests

if TYPE_CHECKING:
    from obstore.store import GCSCredential

    from copilot.core.uri import Uri
    from copilot.stores.settings import GcsSettings, StoreSettings

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
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
    identity = None if anonymous else federated(settings, process)
    if identity is not None:
        pass
    elif settings.service_account_json:
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
                credential_provider=_nobody if anonymous else identity,
            )
        except Exception as error:
            raise BadConfig(
                f"The settings of {name} cannot be used",
                op="open",
                subject=name,
                hint="Check the service account's key file and the options of the store.",
            ) from error

    def multiparts(store: ObjectStore) -> S3Multiparts:
        tokens = None if anonymous else tokens_for(settings, process, identity)

        def sign(method: str, key: str, query: str) -> Signed:
            del method  # a token is good for every request
            where = f"{endpoint}/{uri.authority}{'/' if key else ''}{quote(key, safe='/-._~')}?{query}"
            return Signed(where, tokens.header() if tokens is not None else {})

        requests = SignedRequests(sign, endpoint=endpoint, bucket=name, process=process)
        return S3Multiparts(requests, store.head, {"x-goog-if-generation-match": "0"}, facts=stated_hashes)

    return ObjectStore(
        Bucket(
            uri=name,
            host=urlsplit(endpoint).hostname or "",
            handle=build(),
            rooted=build,
            identity=identity,
            multiparts=multiparts,
            clear_text=endpoint.startswith("http://"),
        )
    )


def stated_hashes(requests: SignedRequests, key: str) -> ContentFacts:
    """The CRC-32C that Google keeps of every object; an MD5 it has only of those that came in one piece.

    Source: https://cloud.google.com/storage/docs/xml-api/reference-headers#xgooghash
    """
    reply = requests.ask("HEAD", key, "", op="head")
    pairs = (pair.strip().partition("=") for pair in reply.headers.get("x-goog-hash", "").split(","))
    stated = {name: value for name, _, value in pairs}
    try:
        return ContentFacts(crc32c=int.from_bytes(b64decode(stated["crc32c"], validate=True)))
    except (KeyError, ValueError):
        return ContentFacts()


def federated(settings: GcsSettings, process: StoreSettings) -> Identity | None:
    """Credentials of the kinds obstore does not know (workload identity federation, impersonation), through google-auth.

    None for a service account's key, a user's, and for none at all: obstore reads those, and asks the metadata server.

    Raises:
        BadConfig: the credentials are no JSON.
        MissingExtra: google-auth is not installed.
    """
    path = settings.service_account_file or process.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    text = settings.service_account_json
    try:
        if text is None and path:
            text = Path(path).read_text(encoding="utf-8")
        document = json.loads(text) if text else None
    except (OSError, ValueError) as error:
        where = "the settings" if settings.service_account_json else str(path)
        raise BadConfig(
            f"The Google credentials of {where} cannot be read",
            op="open",
            subject=where,
            hint="Give the path of a JSON key file.",
        ) from error
    if document is None or (isinstance(document, dict) and document.get("type") in {"service_account", "authorized_user"}):
        return None
    try:
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415 - an extra
        from google.auth.transport.requests import Request  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("These Google credentials need google-auth", op="open", hint="pip install 'copilot[gcp]'") from error
    try:
        load = _loader(document)
        credentials: Any = load(document, scopes=[SCOPE])
    except (GoogleAuthError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise BadConfig("These Google credentials are of no known kind", op="open", hint="Give a JSON key file.") from error

    def ask() -> GCSCredential:
        try:
            credentials.refresh(Request())
        except Exception as error:
            raise BadCredentials(
                f"The Google credentials gave no token ({type(error).__name__})",
                op="open",
                hint="Check the identity pool and its file.",
            ) from error
        expiry = credentials.expiry
        return {"token": credentials.token, "expires_at": expiry.replace(tzinfo=UTC) if expiry else None}

    return Identity(ask)


def _loader(document: dict[str, Any]) -> Any:  # noqa: ANN401 - a factory of an extra's classes
    """The class for a kind of credentials; google-auth's own loader would ask Google for the project on the way."""
    import importlib  # noqa: PLC0415 - rare

    source = document.get("credential_source", {})
    kind, name = document["type"], "from_info"
    if kind == "external_account":
        aws = str(source.get("environment_id", "")).startswith("aws")
        module = "aws" if aws else "pluggable" if "executable" in source else "identity_pool"
    elif kind == "external_account_authorized_user":
        module = kind
    elif kind == "impersonated_service_account":
        module, name = "impersonated_credentials", "from_impersonated_service_account_info"
    else:
        raise KeyError(kind)
    return getattr(importlib.import_module(f"google.auth.{module}").Credentials, name)


def _nobody() -> GCSCredential:
    """For writes without a signature: obstore asks for a token all the same, and would go and look for one."""
    return {"token": "anonymous", "expires_at": None}
