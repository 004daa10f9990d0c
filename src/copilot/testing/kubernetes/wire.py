"""The API double on the wire: HTTP/1.1, chunked streams, bearer tokens."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from copilot.control_plane.executors.processes.log_files import read_log
from copilot.testing.kubernetes.errors import ApiError, bad_request
from copilot.testing.kubernetes.requests import Call, Target, answer, target_of
from copilot.testing.kubernetes.resources import discovery
from copilot.testing.kubernetes.selectors import selector
from copilot.testing.kubernetes.watching import Dropped, Watch, check_watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from copilot.testing.kubernetes.double import KubernetesDouble

_VERBS: Final = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class ApiHttpServer(ThreadingHTTPServer):
    """One listening socket of a double."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, double: KubernetesDouble) -> None:
        """Binds to a free port of loopback."""
        self.double = double
        self.going = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  the standard library's signature
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: without this each answer takes 40 ms
    server: ApiHttpServer

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def _serve(self) -> None:
        double, url = self.server.double, urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length) if length else b""
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        try:
            self._authenticate()
            found = discovery(url.path) if self.command == "GET" else None
            if found is not None:
                self._send(200, found)
                return
            if url.path in {"/healthz", "/readyz", "/livez"}:
                self._raw(200, b"ok", "text/plain")
                return
            target = target_of(unquote(url.path))
            self._count(target, query)
            if self.command == "GET" and target.subresource == "log":
                self._log(target, query)
            elif self.command == "GET" and query.get("watch") in {"1", "true"}:
                self._watch(target, query)
            else:
                body = json.loads(raw) if raw else None
                content_type = self.headers.get("Content-Type", "application/json")
                self._send(*answer(double.storage, Call(self.command, target, query, body, content_type)))
        except ApiError as error:
            self._send(error.code, error.status(), error.retry_after_s)
        except json.JSONDecodeError as error:
            self._send(400, bad_request(f"the body is no JSON: {error.msg}").status())
        except Dropped:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(2)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  the standard library's names

    def _authenticate(self) -> None:
        token = self.server.double.token
        if token and self.headers.get("Authorization") != f"Bearer {token}":
            raise ApiError(401, "Unauthorized", "Unauthorized")

    def _count(self, target: Target, query: Mapping[str, str]) -> None:
        verb = _VERBS[self.command]
        if verb == "get" and not target.name:
            verb = "watch" if query.get("watch") in {"1", "true"} else "list"
        self.server.double.faults.meet(verb, target.counted)

    # --- answers ----------------------------------------------------------------------------------------------------------

    def _send(self, code: int, body: Any, retry_after_s: int | None = None) -> None:  # noqa: ANN401  any JSON
        self._raw(code, json.dumps(body).encode(), "application/json", retry_after_s)

    def _raw(self, code: int, body: bytes, content_type: str, retry_after_s: int | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if retry_after_s is not None:
            self.send_header("Retry-After", str(retry_after_s))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, pieces: Iterator[bytes], content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        for piece in pieces:
            if piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _watch(self, target: Target, query: Mapping[str, str]) -> None:
        check_watch(query)
        double = self.server.double
        fields = query.get("fieldSelector", "")
        if target.name:
            fields = f"metadata.name={target.name}"
        watch = Watch(
            storage=double.storage,
            faults=double.faults,
            resource=target.resource,
            namespace=target.namespace,
            wanted=selector(query.get("labelSelector", ""), fields),
            query=query,
            bookmark_s=double.bookmark_s,
            going=self.server.going,
        )
        self._stream(
            (b"" if each is None else json.dumps(each).encode() + b"\n" for each in watch.events()), "application/json"
        )

    def _log(self, target: Target, query: Mapping[str, str]) -> None:
        double = self.server.double
        pod = double.storage.get("pods", target.namespace, target.name)
        containers = [each["name"] for each in pod["spec"]["containers"]]
        every = [*containers, *(each["name"] for each in pod["spec"].get("initContainers") or [])]
        container = query.get("container") or (containers[0] if len(containers) == 1 else "")
        if not container:
            raise bad_request(f"a container name must be specified for pod {target.name}, choose one of: {every}")
        if container not in every:
            raise bad_request(f"container {container} is not valid for pod {target.name}")
        if not pod["spec"].get("nodeName"):
            # There is nobody to ask: the real API server's answer is no answer.
            self._raw(204, b"", "text/plain")
            return
        file = double.kubelet.log_file(pod, container, previous=query.get("previous") == "true")
        if file is None:
            raise bad_request(f'container "{container}" in pod "{target.name}" is waiting to start: PodInitializing')
        follow = query.get("follow") == "true"

        def more() -> bool:
            if not follow or self.server.going.wait(0.02):
                return False
            return double.kubelet.writes(pod, container)

        lines = read_log(file, timestamps=query.get("timestamps") == "true", more=more)
        if query.get("tailLines"):
            kept = b"".join(lines).splitlines(keepends=True)[-int(query["tailLines"]) :]
            lines = iter([b"".join(kept)])
        self._stream(_cut(lines) if double.faults.breaks_log() else lines, "text/plain")


def _cut(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The first piece with something in it. Raises ``Dropped`` after it."""
    yield next(filter(None, pieces), b"")
    raise Dropped
