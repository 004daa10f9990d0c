"""The part of Google Cloud Storage's XML API that fake-gcs-server lacks, on top of its JSON API.

As documented at https://cloud.google.com/storage/docs/xml-api/reference-methods: put, multipart upload, list, delete, and the
``If-Match`` of a read. Everything else passes through.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from copilot.testing.servers.listener import Listener
from copilot.testing.servers.process import LOOPBACK

_HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive", "host", "date", "server"})


@contextmanager
def xml_api(backend: str) -> Iterator[str]:  # noqa: C901 - a small class in a closure
    """Listens in front of ``backend`` and gives its own URL."""
    uploads: dict[str, dict[int, bytes]] = {}
    keys: dict[str, tuple[str, str]] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet: two make the peer wait 40 ms

        def do_GET(self) -> None:
            self._dispatch()

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - names of http.server

        def log_message(self, *args: object) -> None:
            """Nothing."""

        def _dispatch(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
            bucket, _, key = unquote(url.path.removeprefix("/")).partition("/")
            if bucket in {"storage", "upload", "download", "batch", "_internal"}:
                self._answer(*_ask(backend, self.command, self.path, body, dict(self.headers)))
            elif "list-type" in query:
                self._answer(*_list(backend, bucket, query))
            elif "uploads" in query and self.command == "GET":
                found = ((key, name) for name, (where, key) in keys.items() if where == bucket)
                listed = "".join(f"<Upload><Key>{escape(key)}</Key><UploadId>{name}</UploadId></Upload>" for key, name in found)
                self._answer(200, {}, f"<ListMultipartUploadsResult>{listed}</ListMultipartUploadsResult>".encode())
            elif "uploads" in query:
                name = secrets.token_hex(8)
                uploads[name] = {}
                keys[name] = (bucket, key)
                answer = f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
                self._answer(200, {}, answer.encode())
            elif "uploadId" in query:
                self._part(bucket, key, query, body)
            elif self.command == "PUT":
                self._answer(*_put(backend, bucket, key, body, self.headers.get("x-goog-if-generation-match")))
            elif self.command == "DELETE":
                self._answer(*_ask(backend, "DELETE", f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}"))
            else:
                self._read(bucket, key)

        def _part(self, bucket: str, key: str, query: Mapping[str, str], body: bytes) -> None:
            name = query["uploadId"]
            if self.command == "DELETE":
                uploads.pop(name, None)
                keys.pop(name, None)
                self._answer(204, {}, b"")
            elif name not in uploads:
                self._answer(404, {}, b"<Error><Code>NoSuchUpload</Code></Error>")
            elif self.command == "PUT":
                uploads[name][int(query["partNumber"])] = body
                self._answer(200, {"ETag": _part_etag(body)}, b"")
            elif self.command == "GET":
                listed = "".join(
                    f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(_part_etag(part))}</ETag><Size>{len(part)}</Size></Part>"
                    for number, part in sorted(uploads[name].items())
                )
                self._answer(200, {}, f"<ListPartsResult>{listed}</ListPartsResult>".encode())
            else:
                parts = uploads[name]
                whole = b"".join(parts[n] for n in sorted(parts))
                status, headers, data = _put(backend, bucket, key, whole, self.headers.get("x-goog-if-generation-match"))
                if status == 200:
                    uploads.pop(name)
                    keys.pop(name)
                    answer = f"<ETag>{escape(headers['ETag'])}</ETag>"
                    data = f"<CompleteMultipartUploadResult>{answer}</CompleteMultipartUploadResult>".encode()
                self._answer(status, headers, data)

        def _read(self, bucket: str, key: str) -> None:
            status, _, data = _ask(backend, "GET", f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}")
            if status != 200:
                code = "NoSuchKey" if _ask(backend, "GET", f"/storage/v1/b/{bucket}")[0] == 200 else "NoSuchBucket"
                self._answer(404, {}, f"<Error><Code>{code}</Code></Error>".encode())
                return
            etag = f'"{json.loads(data)["etag"].strip(chr(34))}"'
            if self.headers.get("If-Match") not in {None, etag}:
                self._answer(412, {}, b"<Error><Code>PreconditionFailed</Code></Error>")
                return
            target = f"/download/storage/v1/b/{bucket}/o/{quote(key, safe='')}?alt=media"
            wanted = {"Range": self.headers["Range"]} if self.headers.get("Range") else {}
            status, headers, data = _ask(backend, "GET", target, b"", wanted)
            meta = json.loads(_ask(backend, "GET", f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}")[2])
            headers = {name: value for name, value in headers.items() if name.lower() not in {"etag", "x-goog-generation"}}
            headers |= {"ETag": etag, "x-goog-generation": str(meta["generation"])}
            self._answer(status, headers, data)

        def _answer(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    with Listener((LOOPBACK, 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{listener.server_address[1]}"
        finally:
            listener.shutdown()
            thread.join()


def _part_etag(part: bytes) -> str:
    return f'"{hashlib.md5(part, usedforsecurity=False).hexdigest()}"'


_Answer = tuple[int, dict[str, str], bytes]


def _ask(backend: str, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> _Answer:
    connection = HTTPConnection(urlsplit(backend).netloc, timeout=60)
    try:
        sent = {name: value for name, value in (headers or {}).items() if name.lower() not in _HOP}
        connection.request(method, target, body, sent)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def _put(backend: str, bucket: str, key: str, body: bytes, generation: str | None) -> _Answer:
    boundary = secrets.token_hex(16)
    meta = json.dumps({"name": key, "contentType": "application/octet-stream"}).encode()
    parts = [b"Content-Type: application/json\r\n\r\n" + meta, b"Content-Type: application/octet-stream\r\n\r\n" + body]
    joined = b"".join(b"--%b\r\n%b\r\n" % (boundary.encode(), part) for part in parts) + b"--%b--\r\n" % boundary.encode()
    condition = f"&ifGenerationMatch={generation}" if generation is not None else ""
    status, _, data = _ask(
        backend,
        "POST",
        f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart{condition}",
        joined,
        {"Content-Type": f"multipart/related; boundary={boundary}"},
    )
    if status != 200:
        code = {404: "NoSuchBucket", 412: "PreconditionFailed"}.get(status, "InternalError")
        return status, {}, f"<Error><Code>{code}</Code></Error>".encode()
    answer = json.loads(data)
    return 200, {"ETag": f'"{answer["etag"].strip(chr(34))}"', "x-goog-generation": str(answer["generation"])}, b""


def _list(backend: str, bucket: str, query: Mapping[str, str]) -> _Answer:
    text = "".join(
        f"&{theirs}={quote(query[ours], safe='')}"
        for ours, theirs in (("prefix", "prefix"), ("delimiter", "delimiter"), ("continuation-token", "pageToken"))
        if query.get(ours)
    )
    status, _, data = _ask(backend, "GET", f"/storage/v1/b/{bucket}/o?maxResults={query.get('max-keys', '1000')}{text}")
    if status != 200:
        return status, {}, b"<Error><Code>NoSuchBucket</Code></Error>"
    answer = json.loads(data)
    items = "".join(
        f"<Contents><Key>{escape(item['name'])}</Key><LastModified>{item['updated']}</LastModified>"
        f"<ETag>&quot;{escape(item['etag'].strip(chr(34)))}&quot;</ETag><Size>{item['size']}</Size></Contents>"
        for item in answer.get("items", [])
    )
    token = answer.get("nextPageToken")
    more = f"<IsTruncated>{str(bool(token)).lower()}</IsTruncated>"
    if token:
        more += f"<NextContinuationToken>{escape(token)}</NextContinuationToken>"
    return 200, {"Content-Type": "application/xml"}, f"<ListBucketResult>{more}{items}</ListBucketResult>".encode()
