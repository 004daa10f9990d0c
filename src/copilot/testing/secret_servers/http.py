"""A small threaded HTTP server whose answers are a function, and that can be told to answer otherwise for a while."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import urllib3


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came.

    Attributes:
        method: in capitals.
        target: path and query, undecoded.
        headers: by lower-case name.
        body: all of it.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The decoded path."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        """The first value of every parameter."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def bearer(self) -> str:
        """The token of the ``Authorization`` header, or nothing."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme.lower() == "bearer" else ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpServer:
    """See the module. ``requests`` keeps what came; ``answer_next`` queues answers that are given before any other."""

    def __init__(self, handle: Callable[[Request], Answer], *, tls: ssl.SSLContext | None = None) -> None:
        """Listens at once; serves inside ``serving()``."""
        self.requests: list[Request] = []
        self.connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._handle = handle
        self._scripted: deque[Answer] = deque()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = outer.answer(Request(self.command, self.path, headers, self.rfile.read(length)))
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_LIST = answer  # noqa: N815 - http.server's own names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's signature
                """Says nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 64

            def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
                if isinstance(request, socket.socket):
                    outer.connections.add(request)
                super().process_request(request, client_address)

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that went away in mid-answer is its own affair."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            # The handshake belongs to the connection's own thread, not to the one that accepts.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def answer_next(self, *answers: Answer) -> None:
        """The next requests get these instead."""
        with self._lock:
            self._scripted.extend(answers)

    def clear(self) -> None:
        """Forgets what ``answer_next`` was told."""
        with self._lock:
            self._scripted.clear()

    def answer(self, request: Request) -> Answer:
        """What ``request`` gets."""
        with self._lock:
            self.requests.append(request)
            if self._scripted:
                return self._scripted.popleft()
        return self._handle(request)

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Serves until the end of the block."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            for connection in list(self.connections):  # kept alive by clients, who should see that we are gone
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextlib.contextmanager
def in_front_of(upstream: str) -> Iterator[HttpServer]:
    """A server that hands every request to ``upstream`` as it is, but for what it is told to answer itself."""
    with urllib3.PoolManager(maxsize=8) as pool:

        def forward(request: Request) -> Answer:
            kept = {name: value for name, value in request.headers.items() if name not in {"content-length", "connection"}}
            got = pool.request(
                request.method, upstream + request.target, body=request.body, headers=kept, retries=False, redirect=False
            )
            hop = {"content-length", "transfer-encoding", "connection", "content-encoding"}
            return Answer(got.status, got.data, {name: value for name, value in got.headers.items() if name.lower() not in hop})

        server = HttpServer(forward)
        with server.serving():
            yield server
