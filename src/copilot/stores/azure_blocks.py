"""Azure's blocks as an upload that outlives a process.

Azure has no upload ids: blocks belong to the blob's name until a list of them is committed, and are thrown away after a week.
A block's id holds its number and its content's MD5, so that whoever comes later knows what is there.
Source: https://learn.microsoft.com/rest/api/storageservices/put-block
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from copilot.core.errors import BadStoreRequest, ObjectNotFound, ServerFault
from copilot.core.ports import ContentFacts, ObjectInfo, Part
from copilot.stores.sources import collected
from copilot.stores.xml_entries import NotThatDocument, read_entries

if TYPE_CHECKING:
    from collections.abc import Callable

    from copilot.core.ports import Source
    from copilot.stores.signed_requests import SignedRequests

UPLOAD_ID: Final = "blocks"
_ID: Final = re.compile(r"(\d{5})-([0-9a-f]{32})")
_BOM: Final = b"\xef\xbb\xbf"
_VERSION: Final = {"x-ms-version": "2021-12-02"}


@dataclass(frozen=True, slots=True)
class AzureBlocks:
    """The unfinished blobs of one container.

    Attributes:
        requests: how the container is reached.
        blobs: ``Store.list``, to tell names that are blobs from names that only have blocks; None where we may not list.
    """

    requests: SignedRequests
    blobs: Callable[[str], Iterator[ObjectInfo]] | None

    min_part_bytes = 1

    def open(self, key: str, upload_id: str | None) -> BlockUpload:
        """Nothing is asked of Azure: every blob can be given blocks."""
        if upload_id not in {None, UPLOAD_ID}:
            raise ObjectNotFound(f"There is no upload {upload_id} of {key}", op="put", subject=key)
        return BlockUpload(self, key)

    def content_facts(self, key: str) -> ContentFacts:
        """The MD5 of the content, which Azure takes itself of blobs put in one piece and keeps for others if it was told."""
        reply = self.requests.ask("HEAD", key, "", op="head", headers=_VERSION)
        stated = reply.headers.get("Content-MD5", "")
        return ContentFacts(md5_hex=b64decode(stated).hex() if stated else None)

    def pending(self, prefix: str) -> Iterator[tuple[str, str]]:
        """``(key, upload_id)`` of the names that have blocks and no blob."""
        if self.blobs is None:
            return
        committed = {info.key for info in self.blobs(prefix)}
        marker = ""
        while True:
            query = f"restype=container&comp=list&include=uncommittedblobs&prefix={quote(prefix, safe='')}{marker}"
            reply = self.requests.ask("GET", "", query, op="list", headers=_VERSION)
            try:
                top, entries = read_entries(reply.body.removeprefix(_BOM), frozenset({"EnumerationResults"}), "Blob")
            except NotThatDocument as error:
                raise ServerFault(f"The blobs below {prefix} are told in no known form", op="list", subject=prefix) from error
            for entry in entries:
                if entry["Name"] not in committed:
                    yield entry["Name"], UPLOAD_ID
            if not top.get("NextMarker"):
                return
            marker = f"&marker={quote(top['NextMarker'], safe='')}"


@dataclass(frozen=True, slots=True)
class BlockUpload:
    """See ``ports.MultipartUpload``."""

    blocks: AzureBlocks
    key: str

    upload_id = UPLOAD_ID

    def parts(self) -> Sequence[Part]:
        """See the port. No blocks, no upload: ``ObjectNotFound``, also when none has been put yet."""
        reply = self.blocks.requests.ask(
            "GET", self.key, "comp=blocklist&blocklisttype=uncommitted", op="list", headers=_VERSION
        )
        try:
            _, entries = read_entries(reply.body.removeprefix(_BOM), frozenset({"BlockList"}), "Block")
            found = {part.number: part for entry in entries if (part := _part(entry)) is not None}
        except (NotThatDocument, KeyError, ValueError) as error:
            raise ServerFault(f"The blocks of {self.key} are told in no known form", op="list", subject=self.key) from error
        if not found:
            raise ObjectNotFound(f"There is no unfinished upload of {self.key}", op="list", subject=self.key)
        return [found[number] for number in sorted(found)]

    def put_part(self, number: int, source: Source, start: int, end: int) -> Part:
        """See the port. Azure compares the bytes with the MD5 it is sent."""
        data = collected(source, start, end)
        digest = hashlib.md5(data, usedforsecurity=False)
        query = f"comp=block&blockid={quote(_block_id(number, digest.hexdigest()), safe='')}"
        headers = {"Content-MD5": b64encode(digest.digest()).decode(), **_VERSION}
        self.blocks.requests.ask("PUT", self.key, query, body=data, headers=headers)
        return Part(number, len(data), digest.hexdigest())

    def complete(self, parts: Sequence[Part], *, if_absent: bool = False) -> ObjectInfo:
        """See the port. ``Latest`` finds a block also when an earlier commit, whose answer was lost, has taken it."""
        ordered = sorted(parts, key=lambda part: part.number)
        names = "".join(f"<Latest>{_block_id(part.number, part.receipt)}</Latest>" for part in ordered)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{names}</BlockList>'.encode()
        headers = {"Content-Type": "application/xml", **_VERSION, **({"If-None-Match": "*"} if if_absent else {})}
        try:
            reply = self.blocks.requests.ask("PUT", self.key, "comp=blocklist", body=body, headers=headers)
        except BadStoreRequest as error:
            # A block that is not there (400 InvalidBlockList): somebody else has committed this name.
            raise ObjectNotFound(f"The blocks of {self.key} are gone", op="put", subject=self.key) from error
        return ObjectInfo(self.key, sum(part.size_bytes for part in ordered), reply.headers.get("ETag"))

    def abort(self) -> None:
        """See the port: Azure has no such request, and frees blocks a week after the last one."""


def _block_id(number: int, md5_hex: str) -> str:
    # All ids of a blob have one length.
    return b64encode(f"{number:05d}-{md5_hex}".encode()).decode()


def _part(entry: dict[str, str]) -> Part | None:
    known = _ID.fullmatch(b64decode(entry["Name"]).decode("latin-1"))
    return Part(int(known[1]), int(entry["Size"]), known[2]) if known else None
