"""A web server that does as a table says: status codes, redirects, ranges, gzip, no length, bodies that stop short."""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from copilot.testing.servers.listener import Listener
from copilot.testing.servers.process import LOOPBACK

CHUNK = 16 * 1024
_RANGE = re.compile(r"bytes=(\d+)-(\d*)$")


@dataclass(frozen=True, slots=True)
class Page:
    """What one path answers.

    Attributes:
        body: the content.
        status: the status of a whole answer.
        headers: on top of those below.
        etag: with its quotes; honoured by ``If-Match``, ``If-Range``, ``If-None-Match``.
        modified: ``Last-Modified``; honoured by ``If-Unmodified-Since`` and ``If-Range``.
        ranges: whether ``Range`` is honoured.
        conditions: whether the conditions above are honoured.
        length: whether ``Content-Length`` is sent; without it the body is chunked, or ended by closing (``close``).
        close: ends the body by closing the connection.
        compress: sends gzip whatever was asked for.
        stop_after: sends so many bytes of the body and then closes, whatever was promised.
        gate: waited for before the second half of the body is sent.
        head: whether HEAD is known; else 405.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str | None = None
    modified: str | None = None
    ranges: bool = True
    conditions: bool = True
    length: bool = True
    close: bool = False
    compress: bool = False
    stop_after: int | None = None
    gate: threading.Event | None = None
    head: bool = True


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class WebServer:
    """A running web server.

    Attributes:
        url: ``http://127.0.0.1:PORT``.
        pages: path with query, as on the wire (percent-encoded), to what it answers; a function is asked anew each time.
        requests: all requests so far.
        default: what every other path answers.
    """

    url: str
    pages: dict[str, Page | Callable[[Request], Page]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    default: Page = field(default_factory=lambda: Page(b"<html>no such page</html>", status=404))

    def answer(self, request: Request) -> Page:
        """The page for a request."""
        self.requests.append(request)
        page = self.pages.get(request.path, self.default)
        return page(request) if callable(page) else page


@contextmanager
def web_server() -> Iterator[WebServer]:  # noqa: C901 - a small class in a closure
    """The server, on a thread of this process."""
    server: WebServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet: two make the peer wait 40 ms

        def do_GET(self) -> None:
            self._serve(body=True)

        def do_HEAD(self) -> None:
            self._serve(body=False)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._serve(body=True)

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._send(Page(status=405), body=True)

        def _serve(self, *, body: bool) -> None:
            page = server.answer(Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            self._send(page if body or page.head else Page(status=405), body=body)

        def _send(self, page: Page, *, body: bool) -> None:
            status, extra, data = _decide(page, self.headers.get)
            self.send_response(status)
            for name, value in {**page.headers, **extra}.items():
                self.send_header(name, value)
            chunked = not page.length and not page.close
            if page.length:
                self.send_header("Content-Length", str(len(data)))
            elif chunked:
                self.send_header("Transfer-Encoding", "chunked")
            if page.close or page.stop_after is not None:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            if body:
                try:
                    self._body(page, data, chunked=chunked)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        def _body(self, page: Page, data: bytes, *, chunked: bool) -> None:
            limit = len(data) if page.stop_after is None else page.stop_after
            half = limit // 2
            for start, end in ((0, half), (half, limit)):
                if start and page.gate is not None:
                    self.wfile.flush()
                    page.gate.wait(30)
                for at in range(start, end, CHUNK):
                    piece = data[at : min(at + CHUNK, end)]
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if chunked and page.stop_after is None:
                self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *args: object) -> None:
            """Nothing: the table remembers the requests."""

    with Listener((LOOPBACK, 0), Handler) as listener:
        server = WebServer(f"http://{LOOPBACK}:{listener.server_address[1]}")
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()


def _decide(page: Page, asked: Callable[[str], str | None]) -> tuple[int, dict[str, str], bytes]:  # noqa: C901 - as many cases as the RFC has
    """Status, further headers and body, as RFC 9110 says for conditions and ranges."""
    headers: dict[str, str] = {}
    if page.etag:
        headers["ETag"] = page.etag
    if page.modified:
        headers["Last-Modified"] = page.modified
    data = page.body
    if page.compress:
        data = gzip.compress(data)
        headers["Content-Encoding"] = "gzip"
    if page.status != 200:
        return page.status, headers, data
    if page.conditions:
        if asked("If-Match") not in {None, page.etag, "*"}:
            return 412, headers, b""
        if asked("If-Unmodified-Since") not in {None, page.modified}:
            return 412, headers, b""
    match = _RANGE.match(asked("Range") or "") if page.ranges and not page.compress else None
    if page.conditions and asked("If-Range") not in {None, page.etag, page.modified}:
        match = None
    if match is None:
        return 200, headers, data
    first, last = int(match[1]), int(match[2]) if match[2] else len(data) - 1
    if first >= len(data):
        return 416, {**headers, "Content-Range": f"bytes */{len(data)}"}, b""
    last = min(last, len(data) - 1)
    return 206, {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"}, data[first : last + 1]
