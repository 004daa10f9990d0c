"""Opens S3 buckets for ``object_store``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from copilot.core.errors import BadConfig
from copilot.stores.object_store import Bucket, Identity, ObjectStore
from copilot.stores.s3_listing import s3_lister
from copilot.stores.s3_multipart import S3Multiparts
from copilot.stores.signed_requests import EXPIRES_S, Signed, SignedRequests

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Credential

    from copilot.core.uri import Uri
    from copilot.stores.settings import S3Settings, StoreSettings

NO_RETRIES: RetryConfig = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}
DEFAULT_REGION = "us-east-1"


def open_s3(uri: Uri, settings: S3Settings, process: StoreSettings) -> ObjectStore:
    """One bucket.

    Raises:
        BadConfig: an endpoint that is none, half a pair of keys, an option obstore does not know.
        MissingExtra: the profile asks for something only boto3 can do.
    """
    from copilot.stores.aws_profile import load_profile  # noqa: PLC0415 - only for S3

    profile = load_profile(settings.profile, process.environ)
    region = _first(settings.region, *(process.environ.get(n) for n in ("AWS_REGION", "AWS_DEFAULT_REGION")), profile.region)
    endpoint = _endpoint(settings, process, profile.endpoint, region or DEFAULT_REGION)
    config: dict[str, Any] = {"region": region or DEFAULT_REGION, **settings.options}
    ask = _credentials(settings, process, profile.provider)
    identity = Identity(ask) if ask is not None else None
    if settings.anonymous:
        config["skip_signature"] = True
    unsigned = endpoint.startswith("https://") if settings.unsigned_payload is None else settings.unsigned_payload

    def build(root: str = "", **extra: object) -> Any:  # noqa: ANN401 - obstore's classes cannot be imported here
        from obstore.store import S3Store  # noqa: PLC0415 - 40 ms, only when a bucket is opened

        where = _root(endpoint, uri.authority, root, path_style=settings.path_style is not False)
        try:
            return S3Store(
                where.pop("bucket"),
                config={**config, "unsigned_payload": unsigned, **where, **extra},  # type: ignore[arg-type]  # options by name
                client_options=client_options(process, endpoint, verify_tls=settings.verify_tls),
                retry_config=NO_RETRIES,
                credential_provider=identity,
            )
        except Exception as error:
            raise BadConfig(
                f"The settings of {uri.scheme}://{uri.authority} cannot be used",
                op="open",
                subject=f"{uri.scheme}://{uri.authority}",
                hint="Check the endpoint and the options of the store.",
            ) from error

    def multiparts(store: ObjectStore) -> S3Multiparts:
        def root_of(key: str, query: str) -> str:
            # The last parameter swallows the "/" that obstore puts behind every root; S3 ignores it, its own clients send it.
            return f"{'/' if key else ''}{quote(key, safe='/-._~')}?{query}&x-id="

        def sign(method: str, key: str, query: str) -> Signed:
            root = root_of(key, query)
            if not settings.anonymous:
                return Signed(store.sign(build(root), method, "", EXPIRES_S))
            where = _root(endpoint, uri.authority, root, path_style=settings.path_style is not False)
            bucket = "" if where["virtual_hosted_style_request"] else f"/{where['bucket']}"
            return Signed(f"{where['aws_endpoint_url_s3']}{bucket}")

        name = f"{uri.scheme}://{uri.authority}"
        requests = SignedRequests(sign, endpoint=endpoint, bucket=name, process=process, verify_tls=settings.verify_tls)

        def send(key: str, query: str, data: bytes | bytearray) -> str:
            return store.put_rooted(root_of(key, query), key, data)

        return S3Multiparts(requests, store.head, {"If-None-Match": "*"}, send)

    return ObjectStore(
        Bucket(
            uri=f"{uri.scheme}://{uri.authority}",
            multiparts=multiparts,
            clear_text=endpoint.startswith("http://"),
            host=urlsplit(endpoint).hostname or "",
            handle=build(),
            checked=cache(lambda: build(unsigned_payload=False, checksum_algorithm="SHA256")),
            rooted=build,
            lister=s3_lister,
            identity=identity,
        )
    )


def client_options(process: StoreSettings, endpoint: str, *, verify_tls: bool = True) -> ClientConfig:
    """Time limits for a connection and for silence; none for a whole transfer, which may take hours and be well."""
    return {
        "allow_http": endpoint.startswith("http://"),
        "allow_invalid_certificates": not verify_tls,
        "connect_timeout": timedelta(seconds=process.connect_timeout_s),
        "read_timeout": timedelta(seconds=process.read_timeout_s),
        "timeout": timedelta(days=30),
        "pool_idle_timeout": timedelta(seconds=20),
        "pool_max_idle_per_host": str(process.max_connections),
        "user_agent": "copilot",
    }


def checked_endpoint(text: str, subject: str, *, disable_ssl: bool = False) -> str:
    """An endpoint with its scheme and without a ``/`` at its end.

    Raises:
        BadConfig: it has no host, or a scheme that is not http or https.
    """
    if "://" not in text:
        text = f"{'http' if disable_ssl else 'https'}://{text}"
    try:
        url = urlsplit(text)
        valid = url.scheme in {"http", "https"} and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise BadConfig(
            f"The endpoint of {subject} is no http(s) URL", op="open", subject=subject, hint="Write it as https://HOST:PORT."
        )
    return text.rstrip("/")


def _endpoint(settings: S3Settings, process: StoreSettings, profile: str | None, region: str) -> str:
    environ = process.environ
    text = _first(settings.endpoint, environ.get("AWS_ENDPOINT_URL_S3"), environ.get("AWS_ENDPOINT_URL"), profile)
    if text is None:
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return f"https://s3.{region}.{suffix}"
    return checked_endpoint(text, "S3", disable_ssl=settings.disable_ssl)


def _root(endpoint: str, bucket: str, root: str, *, path_style: bool) -> dict[str, Any]:
    # aws_endpoint_url_s3 beats every other spelling, also one obstore finds in the environment.
    if path_style:
        return {"bucket": f"{bucket}{root}", "aws_endpoint_url_s3": endpoint, "virtual_hosted_style_request": False}
    url = urlsplit(endpoint)
    hosted = urlunsplit(url._replace(netloc=f"{bucket}.{url.netloc}"))
    return {"bucket": bucket, "aws_endpoint_url_s3": f"{hosted}{root}", "virtual_hosted_style_request": True}


def _credentials(
    settings: S3Settings, process: StoreSettings, profile: Callable[[], S3Credential] | None
) -> Callable[[], S3Credential] | None:
    """Who we are, where obstore's own chain (environment, web identity, container, instance) is not to decide."""
    if settings.anonymous:
        return None
    if settings.access_key_id or settings.secret_access_key:
        if not (settings.access_key_id and settings.secret_access_key):
            raise BadConfig("Only one of the access key and its secret is given", op="open", hint="Give both, or none.")
        given: S3Credential = {
            "access_key_id": settings.access_key_id,
            "secret_access_key": settings.secret_access_key,
            "token": settings.session_token or None,
            "expires_at": None,
        }
        # Not as plain settings: a session token of the environment would be mixed in.
        return lambda: given
    in_environment = any(process.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"))
    if in_environment and settings.profile is None:
        return None
    return profile


def _first(*texts: str | None) -> str | None:
    return next((text for text in texts if text), None)
