"""Multipart uploads that outlive a process, in S3's own protocol, which Google's XML API speaks as well.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html,
https://cloud.google.com/storage/docs/multipart-uploads. A part's receipt is its etag: the MD5 of its bytes, where the store
does not encrypt with keys of its own.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from copilot.core.errors import ObjectNotFound, ServerFault
from copilot.core.ports import ContentFacts, ObjectInfo, Part
from copilot.stores.sources import collected
from copilot.stores.xml_entries import NotThatDocument, read_entries

if TYPE_CHECKING:
    from collections.abc import Callable

    from copilot.core.ports import Source
    from copilot.stores.signed_requests import SignedRequests

MIN_PART_BYTES: Final = 5 * 1024 * 1024
_MD5: Final = re.compile(r"[0-9a-f]{32}")
_PARTS: Final = frozenset({"ListPartsResult", "ListPartsResponse"})  # the second is moto's spelling
_STARTED: Final = frozenset({"InitiateMultipartUploadResult"})
_UPLOADS: Final = frozenset({"ListMultipartUploadsResult"})
_DONE: Final = frozenset({"CompleteMultipartUploadResult"})
_FAILED: Final = frozenset({"Error"})


def first_part(requests: SignedRequests, key: str) -> ContentFacts:
    """How long an object's parts were: a HEAD of the first one says its length, as if it were an object of its own.

    A server that takes no notice of ``partNumber`` says the object's length; who knows the number of parts sees that.
    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
    """
    reply = requests.ask("HEAD", key, "partNumber=1", op="head")
    length = reply.headers.get("Content-Length", "")
    return ContentFacts(part_bytes=int(length) if length.isdecimal() else None)


@dataclass(frozen=True, slots=True)
class S3Multiparts:
    """The multipart uploads of one bucket.

    Attributes:
        requests: how the bucket is reached.
        head: ``Store.head``, for an upload whose last answer was lost.
        create_headers: what makes a completion one that never replaces an object.
        send: sends a part (key, query, bytes) and gives its etag, where obstore can do that: it hashes the bytes into its
            signature without TLS, in half the time an MD5 takes. None sends them with their MD5.
        facts: asks for what is known of a content.
    """

    requests: SignedRequests
    head: Callable[[str], ObjectInfo]
    create_headers: Mapping[str, str]
    send: Callable[[str, str, bytes | bytearray], str] | None = None
    facts: Callable[[SignedRequests, str], ContentFacts] = first_part

    min_part_bytes = MIN_PART_BYTES

    def open(self, key: str, upload_id: str | None) -> S3Upload:
        """A new upload, or the one with that id. Raises ``StoreError``."""
        if upload_id is None:
            top, _ = self.document("POST", key, "uploads=", _STARTED, "Upload")
            upload_id = top["UploadId"]
        return S3Upload(self, key, upload_id)

    def pending(self, prefix: str) -> Iterator[tuple[str, str]]:
        """``(key, upload_id)`` of the unfinished uploads whose key starts with ``prefix``."""
        marker = ""
        while True:
            query = f"uploads=&prefix={_quoted(prefix)}{marker}"
            top, entries = self.document("GET", "", query, _UPLOADS, "Upload", op="list")
            for entry in entries:
                # Not every server takes notice of the prefix.
                if entry.get("Key", "").startswith(prefix) and entry.get("UploadId"):
                    yield entry["Key"], entry["UploadId"]
            if top.get("IsTruncated") != "true":
                return
            marker = f"&key-marker={_quoted(top['NextKeyMarker'])}&upload-id-marker={_quoted(top['NextUploadIdMarker'])}"

    def content_facts(self, key: str) -> ContentFacts:
        """See ``ports.StatesContent``."""
        return self.facts(self.requests, key)

    def document(
        self,
        method: str,
        key: str,
        query: str,
        roots: frozenset[str],
        entry: str,
        *,
        op: str = "put",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[dict[str, str], list[dict[str, str]]]:
        """An answer in XML. Raises ``ServerFault`` when it is another document."""
        reply = self.requests.ask(method, key, query, op=op, body=body, headers=headers)
        try:
            top, entries = read_entries(reply.body, roots | _FAILED, entry)
        except NotThatDocument as error:
            raise ServerFault(f"The store's answer about uploads of {key} is of no known form", op=op, subject=key) from error
        if "Code" in top:
            # A completion is answered before it is done: its failure comes as a success.
            raise self.requests.refused(HTTPStatus.INTERNAL_SERVER_ERROR, reply.body, op, key)
        return top, entries


@dataclass(frozen=True, slots=True)
class S3Upload:
    """See ``ports.MultipartUpload``."""

    uploads: S3Multiparts
    key: str
    upload_id: str

    def parts(self) -> Sequence[Part]:
        """See the port."""
        found: dict[int, Part] = {}
        marker = ""
        while True:
            top, entries = self.uploads.document("GET", self.key, f"{self._query}{marker}", _PARTS, "Part", op="list")
            for entry in entries:
                number = int(entry["PartNumber"])
                found[number] = Part(number, int(entry["Size"]), _bare(entry["ETag"]))
            if top.get("IsTruncated") != "true" or not entries:
                return [found[number] for number in sorted(found)]
            marker = f"&part-number-marker={max(found)}"

    def put_part(self, number: int, source: Source, start: int, end: int) -> Part:
        """See the port. The store compares with the digest it is sent."""
        data = collected(source, start, end)
        query = f"partNumber={number}&{self._query}"
        if self.uploads.send is not None:
            return Part(number, len(data), _bare(self.uploads.send(self.key, query, data)))
        digest = hashlib.md5(data, usedforsecurity=False)
        headers = {"Content-MD5": b64encode(digest.digest()).decode()}
        reply = self.uploads.requests.ask("PUT", self.key, query, body=data, headers=headers)
        return Part(number, len(data), _bare(reply.headers.get("ETag", "")))

    def complete(self, parts: Sequence[Part], *, if_absent: bool = False) -> ObjectInfo:
        """See the port. When the upload is gone and the object is what it would have become, an earlier answer was lost."""
        ordered = sorted(parts, key=lambda part: part.number)
        listed = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{_text(part.receipt)}</ETag></Part>" for part in ordered
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        size_bytes = sum(part.size_bytes for part in ordered)
        try:
            top, _ = self.uploads.document(
                "POST",
                self.key,
                self._query,
                _DONE,
                "Part",
                body=body,
                headers={"Content-Type": "application/xml", **(self.uploads.create_headers if if_absent else {})},
            )
        except ObjectNotFound:
            info = self.uploads.head(self.key)
            if info.size_bytes == size_bytes and _bare(info.etag or "") == composite(ordered):
                return info
            raise
        return ObjectInfo(self.key, size_bytes, top.get("ETag") or None)

    def abort(self) -> None:
        """See the port."""
        try:
            self.uploads.requests.ask("DELETE", self.key, self._query)
        except ObjectNotFound:
            return

    @property
    def _query(self) -> str:
        return f"uploadId={_quoted(self.upload_id)}"


def composite(parts: Sequence[Part]) -> str:
    """The etag S3 gives to an object of these parts: the MD5 of their MD5s, and their number. Empty where one is no MD5."""
    if not all(_MD5.fullmatch(part.receipt) for part in parts):
        return ""
    whole = hashlib.md5(b"".join(bytes.fromhex(part.receipt) for part in parts), usedforsecurity=False)
    return f"{whole.hexdigest()}-{len(parts)}"


def _text(receipt: str) -> str:
    # As an etag in XML. The standard library's own function would bring urllib.request and ssl along.
    return f'"{receipt}"'.replace("&", "&amp;").replace("<", "&lt;")


def _bare(etag: str) -> str:
    return etag.strip().strip('"')


def _quoted(text: str) -> str:
    return quote(text, safe="-._~")
