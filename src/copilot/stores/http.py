"""``http://`` and ``https://``: objects of plain web servers. Read only.

What RFC 9110 says of ranges and conditions is used where the server takes part, and checked where it does not: only an answer
of 200 or 206 is ever data.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import mktime_tz, parsedate_tz
from http import HTTPStatus
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import urllib3
from urllib3 import exceptions as failures

from copilot.core.errors import (
    AccessDenied,
    BadCredentials,
    BadStoreRequest,
    ObjectChanged,
    ObjectNotFound,
    ServerFault,
    Stalled,
    StoreError,
    Throttled,
    Truncated,
    Unreachable,
    Unsupported,
)
from copilot.core.ports import Capabilities, Checksum, MultipartUpload, ObjectInfo, Source
from copilot.core.uri import Uri
from copilot.stores.content_encoding import DECODED, Undecodable, compression, decoded
from copilot.stores.proxies import proxy_for
from copilot.stores.streams import ChunkStream

if TYPE_CHECKING:
    from copilot.stores.settings import HttpSettings, StoreSettings

CHUNK_BYTES = 256 * 1024
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MODIFIED = "modified:"
_MD5_BYTES = 16
# Servers that know no HEAD; and presigned URLs, which are good for GET alone.
_NO_HEAD = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.BAD_REQUEST})


def open_http(uri: Uri, settings: HttpSettings, process: StoreSettings) -> HttpStore:
    """One host."""
    return HttpStore(uri, settings, process)


class HttpStore:
    """One web server. See ``ports.Store``; a key is path and query as in the URL."""

    def __init__(self, uri: Uri, settings: HttpSettings, process: StoreSettings) -> None:
        self.capabilities = Capabilities(writable=False, listable=False, if_absent=False, clear_text=uri.scheme == "http")
        self._scheme = uri.scheme
        user, _, self._host = uri.authority.rpartition("@")
        headers = {"User-Agent": "copilot", "Accept-Encoding": "identity", **settings.headers}
        if user:
            headers |= urllib3.make_headers(basic_auth=unquote(user))
        self._pool = _pool(uri.scheme, self._host, headers, settings, process)

    def head(self, key: str) -> ObjectInfo:
        """See the port."""
        with self._request("HEAD", key, {}) as response:
            if response.status == HTTPStatus.OK:
                return _info(key, response)
            if response.status not in _NO_HEAD:
                raise self._refused(response, key, "head")
        with self._request("GET", key, {"Range": "bytes=0-0"}) as response:
            if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return ObjectInfo(key, 0, _validator(response))
            if response.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
                raise self._refused(response, key, "head")
            return _info(key, response)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See the port: the web has no listings."""
        raise Unsupported(
            f"{self._name(prefix)} cannot be listed", op="list", subject=self._name(prefix), hint="Name one object."
        )

    def get(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> ChunkStream:
        """See the port. A server that ignores ranges is read from the beginning, and the rest thrown away."""
        if end is not None and end <= start:
            info = self.head(key)
            if if_match is not None and info.etag != if_match:
                raise ObjectChanged(f"{self._name(key)} is not the object it was", op="get", subject=self._name(key))
            return ChunkStream(info, iter(()), expected=0, subject=self._name(key))
        headers = _conditions(if_match)
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        response = self._open("GET", key, headers)
        try:
            return self._body(response, key, start, end, if_match)
        except _NotDecodable:
            response.close()
            headers.pop("Range")
            response = self._open("GET", key, headers)
            return self._body(response, key, start, end, if_match)
        except BaseException:
            response.close()
            raise

    def put(self, key: str, source: Source, *, checksum: Checksum | None = None, if_absent: bool = False) -> ObjectInfo:
        """See the port: the web is read only."""
        del source, checksum, if_absent
        raise self._read_only(key)

    def multipart(self, key: str, upload_id: str | None = None) -> MultipartUpload:
        """See the port: the web is read only."""
        del upload_id
        raise self._read_only(key)

    def pending_uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        """See the port."""
        del prefix
        return iter(())

    def _body(
        self, response: urllib3.BaseHTTPResponse, key: str, start: int, end: int | None, if_match: str | None
    ) -> ChunkStream:
        if response.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            raise self._refused(response, key, "get")
        info, name = _info(key, response), self._name(key)
        if if_match is not None and info.etag != if_match:
            raise ObjectChanged(f"{name} is not the object it was", op="get", subject=name)
        encoding = _compression(response)
        first, expected = 0, info.size_bytes
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            if encoding:
                raise _NotDecodable
            first, last = _range(response)
            if first != start:
                raise BadStoreRequest(f"{name} was asked for from byte {start} and came from {first}", op="get", subject=name)
            expected = last - first
        elif encoding and encoding not in DECODED:
            hint = "Let the server send it as it is: the request says Accept-Encoding: identity."
            raise BadStoreRequest(
                f"{name} comes compressed ({encoding}), which is not decoded", op="get", subject=name, hint=hint
            )
        elif info.size_bytes is not None and start and start >= info.size_bytes:
            raise BadStoreRequest(f"{name} has {info.size_bytes} bytes, none at {start}", op="get", subject=name)
        elif expected is not None:
            expected = (expected if end is None else min(end, expected)) - start
        chunks = self._read(response, name, skip=start - first, limit=None if end is None else end - start)
        return ChunkStream(info, chunks, expected=expected, subject=name, on_close=response.close)

    def _read(self, response: urllib3.BaseHTTPResponse, name: str, *, skip: int, limit: int | None) -> Iterator[memoryview]:
        with self._failures("get", name):
            encoding, body = _compression(response), response.stream(CHUNK_BYTES, decode_content=False)
            for chunk in decoded(body, encoding) if encoding else body:
                view = memoryview(chunk)
                dropped = min(skip, len(view))
                view, skip = view[dropped:], skip - dropped
                if limit is not None:
                    view = view[:limit]
                    limit -= len(view)
                if view:
                    yield view
                if limit == 0:
                    break
            else:
                response.release_conn()
                return
            # Read on to the end where it is the end, so that the connection can serve again.
            if response.length_remaining == 0:
                response.release_conn()
            else:
                response.close()

    @contextmanager
    def _request(self, method: str, key: str, headers: Mapping[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        response = self._open(method, key, headers)
        try:
            yield response
        finally:
            if method == "HEAD":
                response.release_conn()
            response.close()

    def _open(self, method: str, key: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        with self._failures(method.lower(), self._name(key)):
            return self._pool(method, f"{self._scheme}://{self._host}/{encoded(key)}", headers)

    @contextmanager
    def _failures(self, op: str, name: str) -> Iterator[None]:
        try:
            yield
        except failures.HTTPError as error:
            raise classified_failure(error, op, name) from error
        except Undecodable as error:
            raise Truncated(f"{name} is compressed, and is cut off or damaged", op=op, subject=name) from error

    def _refused(self, response: urllib3.BaseHTTPResponse, key: str, op: str) -> StoreError:
        return of_status(response.status, op, self._name(key), retry_after_s=_retry_after(response))

    def _read_only(self, key: str) -> Unsupported:
        name = self._name(key)
        return Unsupported(f"{name} cannot be written: web servers are read only", op="put", subject=name, hint="Use a bucket.")

    def _name(self, key: str) -> str:
        return Uri(self._scheme, self._host, key).redacted()


class _NotDecodable(Exception):
    """A range of a compressed body: cannot be decoded, must be asked for whole."""


_Ask = Callable[[str, str, Mapping[str, str]], urllib3.BaseHTTPResponse]


def _pool(scheme: str, host: str, headers: Mapping[str, str], settings: HttpSettings, process: StoreSettings) -> _Ask:
    at_home = urllib3.Retry.DEFAULT_REMOVE_HEADERS_ON_REDIRECT | {name.lower() for name in settings.headers}
    retries = urllib3.Retry(
        remove_headers_on_redirect=at_home,  # a token for one server is nothing for another
        total=None,
        connect=0,
        read=0,
        status=0,
        other=0,
        redirect=settings.max_redirects,
        respect_retry_after_header=False,
    )
    manager = pool_manager(f"{scheme}://{host}", process, retries=retries, verify_tls=settings.verify_tls)

    def ask(method: str, url: str, more: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        return manager.request(method, url, headers={**headers, **more}, preload_content=False, decode_content=False)

    return ask


def pool_manager(
    endpoint: str, process: StoreSettings, *, retries: urllib3.Retry | bool, verify_tls: bool = True
) -> urllib3.PoolManager:
    """Connections to ``endpoint``, through a proxy where the environment names one."""
    options: dict[str, Any] = {
        "maxsize": process.max_connections,
        "retries": retries,
        "timeout": urllib3.Timeout(connect=process.connect_timeout_s, read=process.read_timeout_s),
        "cert_reqs": "CERT_REQUIRED" if verify_tls else "CERT_NONE",
    }
    url = urlsplit(endpoint)
    proxy = proxy_for(url.scheme, url.netloc, process.environ)
    if proxy is not None:
        return urllib3.ProxyManager(proxy.url, proxy_headers=dict(proxy.headers), **options)
    return urllib3.PoolManager(**options)


def _info(key: str, response: urllib3.BaseHTTPResponse) -> ObjectInfo:
    size: int | None = None
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        size = int(match[3]) if match and match[3] != "*" else None
    elif not _compression(response):
        text = response.headers.get("Content-Length", "")
        size = int(text) if text.isdecimal() else None
    modified = parsedate_tz(response.headers.get("Last-Modified", ""))
    modified_at_s = float(mktime_tz(modified)) if modified else None
    return ObjectInfo(key, size, _validator(response), None, modified_at_s, _stated_md5(response))


def _stated_md5(response: urllib3.BaseHTTPResponse) -> str | None:
    """The MD5 of a whole body that comes as it is (RFC 1864), where the server says one."""
    stated = response.headers.get("Content-MD5", "")
    if response.status != HTTPStatus.OK or _compression(response):
        return None
    try:
        digest = b64decode(stated, validate=True)
    except ValueError:
        return None
    return digest.hex() if len(digest) == _MD5_BYTES else None


def _validator(response: urllib3.BaseHTTPResponse) -> str | None:
    """What tells one content from another: a strong ETag, else the date, else a weak ETag."""
    etag = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    modified = response.headers.get("Last-Modified")
    return f"{_MODIFIED}{modified}" if modified else etag


def _conditions(if_match: str | None) -> dict[str, str]:
    if if_match is None or if_match.startswith("W/"):  # a weak tag never satisfies If-Match; it is compared here
        return {}
    if if_match.startswith(_MODIFIED):
        return {"If-Unmodified-Since": if_match.removeprefix(_MODIFIED)}
    return {"If-Match": if_match}


def _compression(response: urllib3.BaseHTTPResponse) -> str:
    header = "" if response.headers.get("Content-Length") == "0" else response.headers.get("Content-Encoding", "")
    return compression(header)


def _range(response: urllib3.BaseHTTPResponse) -> tuple[int, int]:
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    return (int(match[1]), int(match[2]) + 1) if match else (-1, -1)


def _retry_after(response: urllib3.BaseHTTPResponse) -> float | None:
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    date = parsedate_tz(text)
    return max(0.0, mktime_tz(date) - time()) if date else None


def encoded(key: str) -> str:
    """A key as it goes over the wire: what a URL cannot hold is percent-encoded, what is encoded already stays as it is."""
    return _BARE_PERCENT.sub("%25", quote(key, safe="/?%!$&'()*+,;=:@-._~"))


def of_status(status: int, op: str, name: str, *, retry_after_s: float | None = None) -> StoreError:
    """The error for an answer that is no data."""
    at = f"{name} was answered with {status}"
    match status:
        case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
            return ObjectNotFound(f"There is nothing at {name} ({status})", op=op, subject=name, hint="Check the URL.")
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            return BadCredentials(at, op=op, subject=name, hint="Give credentials the server accepts.")
        case HTTPStatus.FORBIDDEN:
            return AccessDenied(at, op=op, subject=name, hint="A signed URL may have expired; ask for a new one.")
        case HTTPStatus.PRECONDITION_FAILED:
            return ObjectChanged(f"{name} is not the object it was", op=op, subject=name)
        case HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.TOO_EARLY:
            return Throttled(at, op=op, subject=name, retry_after_s=retry_after_s)
        case HTTPStatus.REQUEST_TIMEOUT:
            return Stalled(at, op=op, subject=name)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServerFault(at, op=op, subject=name, retry_after_s=retry_after_s, hint="The server failed: try again later.")
    return BadStoreRequest(at, op=op, subject=name, hint="Only an answer of 200 is data: check the URL.")


def classified_failure(error: failures.HTTPError, op: str, name: str) -> StoreError:
    """The error for a request without an answer, or with half of one."""
    reason: BaseException | None = error
    if isinstance(error, failures.MaxRetryError) and error.reason is not None:
        reason = error.reason
    match reason:
        case failures.ResponseError():
            return BadStoreRequest(f"{name} redirects too often", op=op, subject=name, hint="Give the URL it should end at.")
        case failures.NameResolutionError():
            return Unreachable(f"The host of {name} is not known", op=op, subject=name, hint="Check the name and the DNS.")
        case failures.ConnectTimeoutError() | failures.NewConnectionError() | failures.ProxyError():
            return Unreachable(f"No connection for {name}", op=op, subject=name, hint="Check host, port, proxy and network.")
        case failures.SSLError():
            return Unreachable(f"No TLS connection for {name}", op=op, subject=name, hint="Check the server's certificate.")
        case failures.ReadTimeoutError():
            return Stalled(f"{name} sent nothing for too long", op=op, subject=name)
        case failures.LocationValueError():
            return BadStoreRequest(f"{name} is no URL that can be asked for", op=op, subject=name, hint="Check the URL.")
    return Truncated(f"The connection broke while {name} was moving", op=op, subject=name)
