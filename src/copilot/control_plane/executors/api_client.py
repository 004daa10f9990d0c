"""The Kubernetes API on the wire: requests, errors by their status code, streams of lines."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlencode

import urllib3

from copilot.control_plane.executors.cluster import KeptToken
from copilot.core.errors import (
    PodApiUnavailable,
    PodConflict,
    PodError,
    PodExists,
    PodListExpired,
    PodNotFound,
    PodQuotaExceeded,
    PodRefused,
    PodUnauthenticated,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from copilot.control_plane.executors.cluster import Cluster

CONNECT_S: Final = 10.0
READ_S: Final = 30.0
STREAM_READ_S: Final = 90.0  # a watch has a bookmark every minute
CONNECTIONS: Final = 32
_QUOTA: Final = "exceeded quota: "  # the API server's quota admission says so, and nothing else of its answer does
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"


class LineStream:
    """The lines of a response that does not end by itself."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        """See the class."""
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        """Raises ``PodApiUnavailable`` when the connection breaks."""
        rest = b""
        try:
            for block in self._response.stream(65536, decode_content=True):
                *lines, rest = (rest + block).split(b"\n")
                yield from (line + b"\n" for line in lines)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as cause:
            raise PodApiUnavailable("the connection to the Kubernetes API broke", op="stream") from cause
        if rest:
            yield rest

    def interrupt(self) -> None:
        """Ends the stream for the thread that reads it; may be called from another."""
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            self._response.shutdown()

    def close(self) -> None:
        """Frees the connection. Not while another thread reads."""
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class ApiClient:
    """One API server. Safe from many threads.

    Args:
        cluster: where, and who we are.
    """

    def __init__(self, cluster: Cluster) -> None:
        """See the class."""
        self.cluster = cluster
        certificate, key = cluster.client_certificate or (None, None)
        self._pool = urllib3.PoolManager(
            maxsize=CONNECTIONS,
            block=False,
            retries=False,
            ca_certs=cluster.ca_file,
            cert_reqs="CERT_REQUIRED" if cluster.verify else "CERT_NONE",
            cert_file=certificate,
            key_file=key,
        )

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,  # noqa: ANN401  any JSON
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """One request and its object.

        Raises:
            PodError: the one of its kinds that the status code means.
        """
        response = self._send(method, path, query, body, content_type, read_s=READ_S, stream=False)
        try:
            found = json.loads(response.data or b"{}")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise PodApiUnavailable(
                "what answers in place of the Kubernetes API sends no JSON",
                op=method.lower(),
                subject=self.cluster.url,
                hint="Is there a proxy in between, or another server at this address?",
            )
        return found

    def stream(self, path: str, query: Mapping[str, str]) -> LineStream:
        """A response of lines. Raises as ``call``."""
        return LineStream(self._send("GET", path, query, None, "", read_s=STREAM_READ_S, stream=True))

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,  # noqa: ANN401  any JSON
        content_type: str,
        *,
        read_s: float,
        stream: bool,
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json, */*", "User-Agent": "copilot"}
        if self.cluster.token is not None:
            headers["Authorization"] = f"Bearer {self.cluster.token()}"
        if body is not None:
            headers["Content-Type"] = content_type
        url = f"{self.cluster.url}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            response = self._pool.request(
                method,
                url,
                headers=headers,
                body=None if body is None else json.dumps(body).encode(),
                timeout=urllib3.Timeout(connect=CONNECT_S, read=read_s),
                preload_content=not stream,
                redirect=False,
            )
        except urllib3.exceptions.SSLError as cause:
            raise PodApiUnavailable(
                "the certificate of the Kubernetes API is not accepted here",
                op=method.lower(),
                subject=self.cluster.url,
                hint="Is its authority the one that is given here, and this address among its names?",
            ) from cause
        except (urllib3.exceptions.HTTPError, OSError) as cause:
            raise PodApiUnavailable(
                "the Kubernetes API does not answer",
                op=method.lower(),
                subject=self.cluster.url,
                hint="Is the cluster reachable from here?",
            ) from cause
        if response.status == 401 and isinstance(self.cluster.token, KeptToken):  # noqa: PLR2004  HTTP: unauthorized
            self.cluster.token.forget()
        if response.status >= 300:  # noqa: PLR2004  HTTP: what is no success
            raise _error(response, method, path)
        return response


def _error(response: urllib3.BaseHTTPResponse, method: str, path: str) -> PodError:
    """The status code decides; the server's own sentence is passed on to people."""
    try:
        status = json.loads(response.data)
        said, reason = str(status.get("message") or ""), str(status.get("reason") or "")
    except (ValueError, AttributeError):
        said, reason = "", ""
    message, op, subject = said or f"the Kubernetes API answered {response.status}", method.lower(), path
    kinds: dict[int, type[PodError]] = {401: PodUnauthenticated, 404: PodNotFound, 410: PodListExpired}
    hints = {
        401: "The credentials for the cluster are missing, wrong or expired.",
        403: "Grant this server's service account the right, or change what the cluster's policy forbids.",
    }
    code = response.status
    if code == 409:  # noqa: PLR2004  HTTP: conflict, of two kinds
        return (PodExists if reason == "AlreadyExists" else PodConflict)(message, op=op, subject=subject)
    if code == 403 and _QUOTA in message:  # noqa: PLR2004  HTTP: forbidden, by whom only the text tells
        return PodQuotaExceeded(message, op=op, subject=subject)
    if code == 429 or code >= 500:  # noqa: PLR2004  HTTP: ask again
        after = response.headers.get("Retry-After", "")
        wait_s = float(after) if after.isdigit() else None
        return PodApiUnavailable(message, op=op, subject=subject, retry_after_s=wait_s)
    return kinds.get(code, PodRefused)(message, op=op, subject=subject, hint=hints.get(code, ""))
