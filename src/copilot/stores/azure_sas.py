"""Signatures for Azure requests of our own: a token that is given, one made from the account's key, or a user's delegation.

Source of the format: https://learn.microsoft.com/rest/api/storageservices/create-service-sas (version 2020-12-06 and later).
"""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import b64decode, b64encode
from typing import Final
from urllib.parse import quote, urlencode

VERSION: Final = "2021-12-02"
_BACKWARDS_S: Final = 900.0
_PERMISSIONS: Final = "rcwl"


def container_sas(account: str, key: str, container: str, *, now_s: float, expires_s: float) -> str:
    """A query that allows to read, write and list one container.

    Args:
        account: the account's name.
        key: its key, base64.
        container: the container's name.
        now_s: seconds since the epoch; the token begins a quarter of an hour earlier, for clocks that differ.
        expires_s: how long it is good, in seconds.
    """
    begins, ends = (
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)) for moment in (now_s - _BACKWARDS_S, now_s + expires_s)
    )
    fields = [_PERMISSIONS, begins, ends, f"/blob/{account}/{container}", "", "", "", VERSION, "c", *[""] * 7]
    signature = hmac.new(b64decode(key), "\n".join(fields).encode(), hashlib.sha256).digest()
    query = {"sv": VERSION, "sr": "c", "sp": _PERMISSIONS, "st": begins, "se": ends, "sig": b64encode(signature).decode()}
    return urlencode(query, quote_via=quote)
