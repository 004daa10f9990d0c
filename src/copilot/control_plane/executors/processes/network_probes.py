"""Probes over the network: ``httpGet`` and ``tcpSocket`` against a port of this machine."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def network_probe(handler: Mapping[str, Any], timeout_s: float) -> bool:
    """One try: a connection for ``tcpSocket``, a status from 200 to 399 for ``httpGet``; anything else fails."""
    if "tcpSocket" in handler:
        target = handler["tcpSocket"]
        try:
            socket.create_connection((target.get("host") or "127.0.0.1", int(target["port"])), timeout_s).close()
        except (OSError, ValueError):
            return False
        return True
    target = handler.get("httpGet")
    if not target:
        return False
    address, port = target.get("host") or "127.0.0.1", target["port"]
    try:
        if target.get("scheme") == "HTTPS":
            context = ssl._create_unverified_context()  # noqa: S323, SLF001  a kubelet's probe does not verify certificates either
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                address, int(port), timeout=timeout_s, context=context
            )
        else:
            connection = http.client.HTTPConnection(address, int(port), timeout=timeout_s)
        headers = {each["name"]: each["value"] for each in target.get("httpHeaders") or ()}
        connection.request("GET", target.get("path") or "/", headers=headers)
        status = connection.getresponse().status
        connection.close()
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return 200 <= status < 400  # noqa: PLR2004  HTTP's own ranges
