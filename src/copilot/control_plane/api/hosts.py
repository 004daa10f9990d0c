"""Which names a server without authentication answers to: a page in this machine's browser must not speak to it.

A page may point a name of its own at 127.0.0.1 (DNS rebinding) and is then, for the browser, of the same origin as the server:
it could submit anything. What it cannot do is send another ``Host`` than its own name.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from copilot.control_plane.settings import ServerSettings


def is_loopback(host: str) -> bool:
    """``host`` is an address or a name of this machine that nobody else can reach or have."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def answers_to(header: str, settings: ServerSettings) -> bool:
    """Whether a request with this ``Host`` header is answered; one without the header comes from no browser."""
    if not header or settings.require_auth or settings.insecure:
        return True
    named = _name(f"//{header}")
    ours = is_loopback(named) or named.endswith(".localhost")
    return ours or (bool(named) and named == _name(settings.public_url))


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
