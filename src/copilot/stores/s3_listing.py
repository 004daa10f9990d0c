"""S3's own listing, keys verbatim: obstore's drops the ``/`` of directory markers and refuses ``a//b``.

Source of the format: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus

from copilot.core.errors import ServerFault
from copilot.core.ports import ObjectInfo
from copilot.stores.xml_entries import read_entries

if TYPE_CHECKING:
    from copilot.stores.object_store import Lister, ObjectStore

PAGE = 1000
_ROOT = frozenset({"ListBucketResult"})


def s3_lister(store: ObjectStore) -> Lister:
    """The listing of one bucket."""

    def keys(prefix: str) -> Iterator[ObjectInfo]:
        token: str | None = ""
        while token is not None:
            # The last parameter swallows the "/" that obstore puts behind every root; S3 ignores it, its own clients send it.
            query = f"?list-type=2&encoding-type=url&max-keys={PAGE}&prefix={quote(prefix, safe='-._~')}"
            if token:
                query += f"&continuation-token={quote(token, safe='-._~')}"
            with store.errors("list", prefix):
                document = store.read_rooted(f"{query}&x-id=")
            page = parse_page(document, f"{store.bucket.uri}/{prefix}")
            yield from page.objects
            token = page.next_token

    return keys


@dataclass(slots=True)
class Page:
    """One page of a listing; ``next_token`` is None on the last."""

    objects: list[ObjectInfo] = field(default_factory=list)
    next_token: str | None = None


def parse_page(document: bytes, subject: str) -> Page:
    """Reads ``ListBucketResult``.

    Raises:
        ServerFault: it is no such document.
    """
    try:
        top, entries = read_entries(document, _ROOT, "Contents")
        encoded = top.get("EncodingType", "url") == "url"
        page = Page([_object(entry, encoded=encoded) for entry in entries])
    except (KeyError, ValueError) as error:
        raise ServerFault(f"The listing of {subject} is no listing", op="list", subject=subject) from error
    if top.get("IsTruncated") == "true":
        page.next_token = top.get("NextContinuationToken") or None
        if page.next_token is None:
            raise ServerFault(f"The listing of {subject} stops in the middle", op="list", subject=subject)
    return page


def _object(entry: dict[str, str], *, encoded: bool) -> ObjectInfo:
    key = unquote_plus(entry["Key"]) if encoded else entry["Key"]
    modified = entry.get("LastModified", "")
    return ObjectInfo(
        key,
        int(entry["Size"]),
        entry.get("ETag") or None,
        modified_at_s=datetime.fromisoformat(modified).timestamp() if modified else None,
    )
