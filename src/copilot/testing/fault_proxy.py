"""A TCP proxy between a client and a real HTTP server that breaks things on purpose, exactly when it was told to.

It reads requests as they pass (also several on one connection) and asks a *script* what to do with each: nothing, or one of the
faults below. A script is any callable from ``Request`` to ``Fault | None``; ``once`` and ``every`` make the usual ones. A
``Link`` gives every connection a round trip and a rate, as a distant store has.

The server sees the client's own ``Host`` header, so that signatures stay valid.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from copilot.testing.http_wire import Reader, body, flipped, parse, without_expect

_NO_BODY = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it passed.

    Attributes:
        number: from 0, over all connections, in the order of arrival.
        connection: from 0.
        method: ``GET``, ``PUT`` …
        path: with the query, as sent.
        headers: names in lower case.
    """

    number: int
    connection: int
    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset after ``after_bytes`` of the response's body (None: before the request is passed on)."""

    after_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Truncate:
    """The connection ends in order after ``after_bytes`` of the response's body."""

    after_bytes: int


@dataclass(frozen=True, slots=True)
class Stall:
    """After ``after_bytes`` of the response's body nothing more comes, until the proxy ends."""

    after_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Drip:
    """The response's body comes at ``bytes_per_s``, in pieces of ``piece_bytes``."""

    bytes_per_s: float
    piece_bytes: int = 1024


@dataclass(frozen=True, slots=True)
class Flip:
    """The lowest bit of byte ``at_byte`` of the body is another: of the response's, or of the request's."""

    at_byte: int
    in_request: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The proxy answers itself: a 503 storm, a 429 with ``Retry-After``."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """The request is passed on and done; its answer never arrives: the connection is reset instead."""


Fault = Reset | Truncate | Stall | Drip | Flip | Answer | LoseAnswer
Script = Callable[[Request], Fault | None]


@dataclass(frozen=True, slots=True)
class Link:
    """How far away the server seems.

    Attributes:
        round_trip_s: added to every request.
        bytes_per_s: of one connection, each way; None for no limit.
    """

    round_trip_s: float = 0.0
    bytes_per_s: float | None = None


def never(_request: Request) -> Fault | None:
    """Nothing goes wrong."""
    return None


def once(fault: Fault, when: Callable[[Request], bool], *, times: int = 1) -> Script:
    """The first ``times`` requests for which ``when`` holds meet ``fault``."""
    lock, left = threading.Lock(), [times]

    def script(request: Request) -> Fault | None:
        if not when(request):
            return None
        with lock:
            left[0] -= 1
            return fault if left[0] >= 0 else None

    return script


def every(fault: Fault, when: Callable[[Request], bool]) -> Script:
    """All requests for which ``when`` holds meet ``fault``."""
    return lambda request: fault if when(request) else None


class FaultProxy:
    """The proxy. Use ``fault_proxy(…)``.

    Attributes:
        requests: what passed so far.
        script: what happens to the next request; may be set at any time.
        up: bytes of requests' bodies that were passed on, by method.
        down: bytes of responses' bodies that were passed on, by the method of their request.
    """

    def __init__(self, endpoint: str, script: Script = never, link: Link | None = None) -> None:
        """``endpoint`` is the server's, as ``http://host:port``."""
        parts = urlsplit(endpoint)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.script = script
        self._link = link or Link()
        self.requests: list[Request] = []
        self.up: Counter[str] = Counter()
        self.down: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._connections = 0
        self._stopped = threading.Event()
        self._open: set[socket.socket] = set()
        self._listener = self._listen(0)
        self._port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="fault-proxy", daemon=True)
        self._acceptor.start()

    @property
    def endpoint(self) -> str:
        """What the client is given instead of the server's own."""
        return f"http://127.0.0.1:{self._port}"

    def refuse(self) -> None:
        """From now on connections are refused, and those that are there are reset. ``accept_again`` ends that."""
        self._listener.close()
        self._acceptor.join()
        self._reset_all()

    def accept_again(self) -> None:
        """Takes connections again, on the same port."""
        self._listener = self._listen(self._port)
        self._acceptor = threading.Thread(target=self._accept, name="fault-proxy", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Ends everything."""
        self._stopped.set()
        self._listener.close()
        self._acceptor.join()
        self._reset_all()

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(256)
        listener.settimeout(0.05)  # a closed listener wakes nobody who waits in accept
        return listener

    def _reset_all(self) -> None:
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _reset(connection)

    def _accept(self) -> None:
        listener = self._listener
        while True:
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with self._lock:
                number = self._connections
                self._connections += 1
                self._open.add(client)
            client.settimeout(None)
            threading.Thread(target=self._serve, args=(client, number), name=f"fault-proxy-{number}", daemon=True).start()

    def _serve(self, client: socket.socket, number: int) -> None:
        with suppress(OSError, EOFError), client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with socket.create_connection(self._server) as server:
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                incoming, answering = Reader(client), Reader(server)
                while self._exchange(incoming, answering, number):
                    pass
        with self._lock:
            self._open.discard(client)

    def _exchange(self, incoming: Reader, answering: Reader, connection: int) -> bool:
        """One request and its answer; whether another may follow on this connection."""
        head = incoming.head()
        if head is None:
            return False
        first, headers = parse(head)
        method, path = first[0], first[1]
        with self._lock:
            request = Request(len(self.requests), connection, method, path, headers)
            self.requests.append(request)
        fault = self.script(request)
        client, server = incoming.socket, answering.socket
        if self._link.round_trip_s:
            self._stopped.wait(self._link.round_trip_s)
        if isinstance(fault, Reset) and fault.after_bytes is None:
            _reset(client)
            return False
        continue_sent = headers.get("expect", "").lower() == "100-continue"
        if continue_sent:
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        passing = body(incoming, headers, has_body=True)
        if isinstance(fault, Answer):
            for _ in passing:
                pass
            client.sendall(_answer(fault, method))
            return True
        server.sendall(without_expect(head) if continue_sent else head)
        for chunk in self._paced(flipped(passing, fault.at_byte if isinstance(fault, Flip) and fault.in_request else None)):
            server.sendall(chunk)
            self._count(self.up, method, len(chunk))
        return self._respond(client, answering, method, fault)

    def _respond(self, client: socket.socket, answering: Reader, method: str, fault: Fault | None) -> bool:
        head = answering.head()
        if head is None:
            return False
        first, headers = parse(head)
        status = int(first[1])
        passing = body(answering, headers, has_body=method != "HEAD" and status not in _NO_BODY)
        if isinstance(fault, LoseAnswer):
            for _ in passing:
                pass
            _reset(client)
            return False
        client.sendall(head)
        if isinstance(fault, Drip):
            passing = self._dripped(passing, fault)
        elif isinstance(fault, Flip) and not fault.in_request:
            passing = flipped(passing, fault.at_byte)
        limit = fault.after_bytes if isinstance(fault, Reset | Truncate | Stall) else None
        for chunk in self._paced(passing):
            if limit is not None and len(chunk) >= limit:
                client.sendall(chunk[:limit])
                return self._break(client, fault)
            client.sendall(chunk)
            self._count(self.down, method, len(chunk))
            limit = None if limit is None else limit - len(chunk)
        if limit is not None:
            return self._break(client, fault)
        return headers.get("connection", "").lower() != "close"

    def _count(self, counter: Counter[str], method: str, size_bytes: int) -> None:
        with self._lock:
            counter[method] += size_bytes

    def _break(self, client: socket.socket, fault: Fault | None) -> bool:
        if isinstance(fault, Reset):
            _reset(client)
        elif isinstance(fault, Stall):
            self._stopped.wait()
            _reset(client)
        return False

    def _dripped(self, body: Iterator[bytes], fault: Drip) -> Iterator[bytes]:
        for chunk in body:
            for at in range(0, len(chunk), fault.piece_bytes):
                piece = chunk[at : at + fault.piece_bytes]
                yield piece
                if self._stopped.wait(len(piece) / fault.bytes_per_s):
                    return

    def _paced(self, body: Iterator[bytes]) -> Iterator[bytes]:
        rate = self._link.bytes_per_s
        if rate is None:
            yield from body
            return
        due_s = time.monotonic()
        for chunk in body:
            yield chunk
            due_s += len(chunk) / rate
            left_s = due_s - time.monotonic()
            if left_s > 0:
                time.sleep(left_s)


@contextmanager
def fault_proxy(endpoint: str, script: Script = never, link: Link | None = None) -> Iterator[FaultProxy]:
    """A running proxy in front of ``endpoint``, ended with the block."""
    proxy = FaultProxy(endpoint, script, link)
    try:
        yield proxy
    finally:
        proxy.close()


def _answer(fault: Answer, method: str) -> bytes:
    headers = {"Content-Length": str(len(fault.body)), **fault.headers}
    lines = [f"HTTP/1.1 {fault.status} Scripted", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + (b"" if method == "HEAD" else fault.body)


def _reset(connection: socket.socket) -> None:
    """Ends a connection with RST: what a crashed peer or a firewall does."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Another thread may be reading: closing alone would not wake it, and would give its descriptor to somebody else.
        connection.shutdown(socket.SHUT_RD)
    with suppress(OSError):
        connection.close()
