"""The ASGI application: Flyte's services, our own few endpoints, and an answer for everything else."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from flyteidl2.actions import actions_service_connect
from flyteidl2.auth import auth_service_connect, identity_connect
from flyteidl2.cluster import service_connect as cluster_connect
from flyteidl2.dataproxy import dataproxy_service_connect
from flyteidl2.project import project_service_connect
from flyteidl2.secret import secret_connect
from flyteidl2.task import task_service_connect
from flyteidl2.workflow import run_service_connect

from copilot.control_plane import signing
from copilot.control_plane.api import report_endpoint, secret_endpoint
from copilot.control_plane.api.actions_service import ActionsService
from copilot.control_plane.api.answers import Around
from copilot.control_plane.api.cluster_service import ClusterService
from copilot.control_plane.api.codecs import CODECS, BoundedGzip, too_large
from copilot.control_plane.api.data_proxy_service import DataProxyService
from copilot.control_plane.api.hosts import answers_to
from copilot.control_plane.api.http import App, Message, Receive, Scope, Send, answer, answer_json, header
from copilot.control_plane.api.identity_service import AuthMetadataService, IdentityService
from copilot.control_plane.api.object_endpoint import ObjectEndpoint
from copilot.control_plane.api.project_service import ProjectService
from copilot.control_plane.api.report_endpoint import ReportEndpoint
from copilot.control_plane.api.run_service import RunService
from copilot.control_plane.api.secret_endpoint import SecretEndpoint
from copilot.control_plane.api.secret_service import SecretService
from copilot.control_plane.api.task_service import TaskService
from copilot.control_plane.api.unserved import unserved
from copilot.control_plane.api.watching import CLIENT_GONE
from copilot.control_plane.errors import ControlPlaneError

if TYPE_CHECKING:
    from copilot.control_plane.api.answers import Authenticate
    from copilot.control_plane.office import Office

_FLYTE: Final = "/flyteidl2."
_STRANGER: Final = (
    "without authentication this server answers to localhost only, not to {!r}. Start it with --auth or --public-url."
)
_ENVELOPE_BYTES: Final = 5
"""What a stream's protocols put before a message."""


class Application:
    """One server's ASGI application.

    Args:
        office: what the services work with.
        authenticate: who is asking.
    """

    def __init__(self, office: Office, authenticate: Authenticate) -> None:
        self._office = office
        self._objects = ObjectEndpoint(office)
        self._reports = ReportEndpoint(office)
        self._secrets = SecretEndpoint(office)
        self._services = _services(office, authenticate)
        self._open: set[asyncio.Event] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        asked_as = header(scope, "host")
        if not answers_to(asked_as, self._office.settings):
            await answer_json(send, HTTPStatus.FORBIDDEN, {"code": "permission_denied", "message": _STRANGER.format(asked_as)})
            return
        gone = asyncio.Event()
        CLIENT_GONE.set(gone)
        self._open.add(gone)

        async def listening() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                gone.set()
            return message

        try:
            await self._route(scope["path"])(scope, listening, send)
        finally:
            self._open.discard(gone)

    def let_go(self) -> None:
        """Ends every stream: the server is stopping, and their clients will find another one or this one again."""
        for gone in self._open:
            gone.set()

    @property
    def open_requests(self) -> int:
        """How many requests are being answered."""
        return len(self._open)

    def _route(self, path: str) -> App:
        if path.startswith(_FLYTE):
            return self._services.get(path.rpartition("/")[0], unserved)
        if path.startswith(signing.PATH):
            return self._objects
        if path == report_endpoint.PATH:
            return self._reports
        if path.startswith(secret_endpoint.PATH):
            return self._secrets
        if path in {"/healthz", "/readyz"}:
            return self._ready if path == "/readyz" else _alive
        return _not_here

    async def _ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        try:
            await self._office.database.read(lambda session: session.connection())
        except ControlPlaneError as error:
            await answer(send, HTTPStatus.SERVICE_UNAVAILABLE, error.sentence().encode())
        else:
            await answer_json(send, HTTPStatus.OK, {"status": "ok"})


async def _alive(scope: Scope, receive: Receive, send: Send) -> None:
    del scope, receive
    await answer_json(send, HTTPStatus.OK, {"status": "ok"})


async def _not_here(scope: Scope, receive: Receive, send: Send) -> None:
    del receive
    await answer(send, HTTPStatus.NOT_FOUND, f"nothing is at {scope['path'][:200]}\n".encode())


def _services(office: Office, authenticate: Authenticate) -> dict[str, App]:
    around = Around(authenticate, office.log)
    most = office.settings.limits.max_message_bytes
    parts: list[tuple[Any, Any, object]] = [
        (run_service_connect.RunServiceASGIApplication, run_service_connect.RunService, RunService(office)),
        (
            dataproxy_service_connect.DataProxyServiceASGIApplication,
            dataproxy_service_connect.DataProxyService,
            DataProxyService(office),
        ),
        (actions_service_connect.ActionsServiceASGIApplication, actions_service_connect.ActionsService, ActionsService(office)),
        (task_service_connect.TaskServiceASGIApplication, task_service_connect.TaskService, TaskService(office)),
        (project_service_connect.ProjectServiceASGIApplication, project_service_connect.ProjectService, ProjectService(office)),
        (secret_connect.SecretServiceASGIApplication, secret_connect.SecretService, SecretService(office)),
        (identity_connect.IdentityServiceASGIApplication, identity_connect.IdentityService, IdentityService()),
        (
            auth_service_connect.AuthMetadataServiceASGIApplication,
            auth_service_connect.AuthMetadataService,
            AuthMetadataService(),
        ),
        (cluster_connect.ClusterServiceASGIApplication, cluster_connect.ClusterService, ClusterService()),
    ]
    apps: dict[str, App] = {}
    for application, protocol, service in parts:
        app = application(
            _Served(service, protocol), interceptors=[around], read_max_bytes=most, compressions=[BoundedGzip(most)]
        )
        # The applications take no codecs of their own by their constructor, although their base class does.
        app._codecs = CODECS  # noqa: SLF001
        apps[app.path] = _bounded(app, most)
    return apps


def _bounded(app: App, most: int) -> App:
    """``app``, which takes a body into memory before anybody has looked at it: no more of it than a message may have."""

    async def bounded(scope: Scope, receive: Receive, send: Send) -> None:
        taken = 0

        async def counting() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most + _ENVELOPE_BYTES:
                raise too_large(most)
            return message

        await app(scope, counting, send)

    return bounded


class _Served:
    """A service of ours; what it does not have, the generated protocol refuses as unimplemented."""

    def __init__(self, service: object, protocol: type) -> None:
        self._service = service
        self._rest = type(f"Rest{protocol.__name__}", (protocol,), {})()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a method
        return getattr(self._service if hasattr(self._service, name) else self._rest, name)
