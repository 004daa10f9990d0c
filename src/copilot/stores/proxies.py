"""Proxies as the environment's usual variables name them: ``http_proxy``, ``https_proxy``, ``all_proxy``, ``no_proxy``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy's URL without user and password, and the headers that carry them."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def proxy_for(scheme: str, host: str, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for ``host[:port]``, or None for a direct connection."""
    text = _variable(environ, f"{scheme}_proxy") or _variable(environ, "all_proxy")
    if not text or _bypassed(host, _variable(environ, "no_proxy")):
        return None
    if "://" not in text:
        text = f"http://{text}"
    url = urlsplit(text)
    user, _, address = url.netloc.rpartition("@")
    headers: dict[str, str] = {}
    if user:
        from urllib3 import make_headers  # noqa: PLC0415 - rare

        headers = make_headers(proxy_basic_auth=unquote(user))
    return Proxy(f"{url.scheme}://{address}", headers)


def _variable(environ: Mapping[str, str], name: str) -> str:
    # In a CGI program HTTP_PROXY in capitals may come from a request's header; the other names are taken in both spellings.
    if name == "http_proxy" and "REQUEST_METHOD" in environ:
        return environ.get(name, "")
    return environ.get(name) or environ.get(name.upper(), "")


def _bypassed(host: str, exceptions: str) -> bool:
    name = (urlsplit(f"//{host}").hostname or "").lower()
    for word in exceptions.replace(",", " ").lower().split():
        pattern = word.removeprefix("*").removeprefix(".")
        if word == "*" or name == pattern or host.lower() == pattern or (pattern and name.endswith(f".{pattern}")):
            return True
        try:
            if "/" in word and ip_address(name) in ip_network(word, strict=False):
                return True
        except ValueError:
            continue
    return False
