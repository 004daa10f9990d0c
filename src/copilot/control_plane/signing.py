"""Signed URLs of our own, for stores that sign none: one object, one method, one moment of expiry. Pure but for the clock.

::

    <server>/copilot/v1/objects/<base64url of the URI>?method=PUT&expires=…&size=…&md5=…&signature=…

The signature is HMAC-SHA256 over everything else in the URL, under a key that only this installation has.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode

from copilot.control_plane.errors import NotAllowed

PATH: Final = "/copilot/v1/objects/"
_FIELDS: Final = ("method", "expires", "size", "md5")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a URL allows.

    Attributes:
        uri: the object.
        method: ``GET`` or ``PUT``.
        expires: seconds since the epoch.
        max_bytes: the most a ``PUT`` may bring; 0: the server's own limit.
        md5: what a ``PUT``'s content must have, or empty.
    """

    uri: str
    method: str
    expires: int
    max_bytes: int = 0
    md5: bytes = b""


class UrlSigner:
    """Makes and checks URLs.

    Args:
        key: the secret; whoever has it can allow anything.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.sha256(b"copilot-url-signing" + key).digest()

    def url(self, server: str, grant: Grant) -> str:
        """The URL on ``server`` (``http://host:port``)."""
        place = base64.urlsafe_b64encode(grant.uri.encode()).decode().rstrip("=")
        fields = {
            "method": grant.method,
            "expires": str(grant.expires),
            "size": str(grant.max_bytes),
            "md5": base64.urlsafe_b64encode(grant.md5).decode().rstrip("="),
        }
        query = urlencode({**fields, "signature": self._sign(place, fields)})
        return f"{server}{PATH}{place}?{query}"

    def check(self, path: str, query: str, method: str, now_s: float) -> Grant:
        """What a request may do. Raises ``NotAllowed`` for a URL that was changed, is for something else or has expired."""
        place = path.removeprefix(PATH)
        pairs = parse_qsl(query, keep_blank_values=True)
        given = dict(pairs)
        if len(pairs) != len(given) or set(given) != {*_FIELDS, "signature"}:
            raise NotAllowed("the URL is not one of ours")
        fields = {name: given[name] for name in _FIELDS}
        if not hmac.compare_digest(self._sign(place, fields).encode(), given["signature"].encode()):
            raise NotAllowed("the URL's signature does not fit: it was changed, or signed by another server")
        if method != fields["method"] and not (method == "HEAD" and fields["method"] == "GET"):
            raise NotAllowed(f"the URL is good for {fields['method']} only")
        if now_s > int(fields["expires"]):
            raise NotAllowed("the URL has expired", hint="Ask for a new one.")
        return Grant(
            uri=_decode(place).decode(),
            method=fields["method"],
            expires=int(fields["expires"]),
            max_bytes=int(fields["size"]),
            md5=_decode(fields["md5"]),
        )

    def _sign(self, place: str, fields: dict[str, str]) -> str:
        signed = "\n".join([place, *(f"{name}={fields[name]}" for name in _FIELDS)])
        return hmac.new(self._key, signed.encode(), hashlib.sha256).hexdigest()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
