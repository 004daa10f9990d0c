"""Requests of the clouds' own protocols that obstore has no words for: signed for obstore's identity, sent by urllib3.

Why: docs/decisions/0042-uploads-that-are-gone-on-with.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from copilot.stores.obstore_errors import Subject, of_status

if TYPE_CHECKING:
    from copilot.core.errors import StoreError
    from copilot.stores.settings import StoreSettings

EXPIRES_S = 3600.0
_PIECE_BYTES = 32 * 1024
_CODE = re.compile(rb"<Code>(\w+)</Code>")


@dataclass(frozen=True, slots=True)
class Signed:
    """Where to send a request, and what must stand in its headers."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is a success. Header names are matched without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


# method, key, query (encoded) -> where. Raises StoreError when there is nothing to sign with.
Sign = Callable[[str, str, str], Signed]


class SignedRequests:
    """One bucket, reached by requests of our own.

    Args:
        sign: makes a request ours.
        endpoint: for proxies and messages.
        bucket: the bucket's URI, for messages.
        process: time limits, proxies.
        verify_tls: whether certificates are checked.
    """

    def __init__(self, sign: Sign, *, endpoint: str, bucket: str, process: StoreSettings, verify_tls: bool = True) -> None:
        """See the class."""
        self._sign = sign
        self._endpoint = endpoint
        self._bucket = bucket
        self._process = process
        self._verify_tls = verify_tls
        self._pool: Any = None

    def ask(
        self,
        method: str,
        key: str,
        query: str,
        *,
        op: str = "put",
        body: bytes | bytearray = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Sends one request, once.

        Raises:
            StoreError: every answer that is no success, by its status and the store's own code; no answer at all.
        """
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - only for what obstore cannot do

        from copilot.stores.http import classified_failure  # noqa: PLC0415

        signed = self._sign(method, key, query)
        name = f"{self._bucket}/{key}"
        length = {} if method in {"GET", "HEAD"} else {"Content-Length": str(len(body))}
        try:
            response = self._manager().request(
                method,
                signed.url,
                body=_pieces(body) if body else None,
                headers={"User-Agent": "copilot", **length, **signed.headers, **(headers or {})},
                redirect=False,
                retries=False,
            )
        except HTTPError as error:
            raise classified_failure(error, op, name) from error
        if HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            return Reply(response.status, response.headers, response.data)
        raise self.refused(response.status, response.data, op, key)

    def refused(self, status: int, document: bytes, op: str, key: str) -> StoreError:
        """The error for an answer that is no success."""
        code = _CODE.search(document[:4096])
        subject = Subject(f"{self._bucket}/{key}", self._bucket, urlsplit(self._endpoint).hostname or "")
        return of_status(status, code[1].decode() if code else "", op, subject)

    def _manager(self) -> Any:  # noqa: ANN401 - urllib3 is imported when it is used
        if self._pool is None:
            from copilot.stores.http import pool_manager  # noqa: PLC0415 - as above

            self._pool = pool_manager(self._endpoint, self._process, retries=False, verify_tls=self._verify_tls)
        return self._pool


def _pieces(body: bytes | bytearray) -> Iterator[memoryview]:
    """A body piece by piece: the time limit of a socket is for one call, and a slow connection is no dead one."""
    view = memoryview(body)
    for at in range(0, len(view), _PIECE_BYTES):
        yield view[at : at + _PIECE_BYTES]
