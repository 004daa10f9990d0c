"""One server: its parts put together, started, and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from copilot.control_plane.api import metrics_endpoint
from copilot.control_plane.api.app import Application
from copilot.control_plane.api.hosts import is_loopback
from copilot.control_plane.api.listening import BACKLOG, answering
from copilot.control_plane.api.metrics import ServerMetrics
from copilot.control_plane.api.metrics_endpoint import MetricsEndpoint
from copilot.control_plane.api.metrics_pods import MeasuredPods
from copilot.control_plane.db.database import Database
from copilot.control_plane.db.listener import Listener
from copilot.control_plane.db.models import Project
from copilot.control_plane.executors.bridge import Executor
from copilot.control_plane.hub import Hub
from copilot.control_plane.keys import KeyFile
from copilot.control_plane.lifecycle.leader import Leadership
from copilot.control_plane.lifecycle.scheduler import Scheduler
from copilot.control_plane.objects import Objects
from copilot.control_plane.office import Office
from copilot.control_plane.secret_store import EmbeddedSecrets
from copilot.control_plane.signing import UrlSigner
from copilot.control_plane.tokens import Authenticator, first_token
from copilot.control_plane.vault import open_vault
from copilot.core.errors import BadFlag, LocalIOError

if TYPE_CHECKING:
    from copilot.control_plane.db.database import Unit
    from copilot.control_plane.lifecycle.leader import Lease
    from copilot.control_plane.lifecycle.work import PodMaker
    from copilot.control_plane.office import Presign
    from copilot.control_plane.secret_store import SecretStore
    from copilot.control_plane.settings import ServerSettings
    from copilot.core.ports import Clock, Log, PodApi, Stores

ADMIN_TOKEN: Final = "admin.token"  # noqa: S105 - a file's name
_URL_KEY: Final = "url.key"


class ControlPlane:
    """Everything a server consists of, not yet started.

    Args:
        settings: see there.
        stores: opens URIs.
        pods: runs pods.
        maker: makes them, and judges their ends.
        clock, log: as everywhere.
        presign: the store's own signed URLs, or None.
        lease: what one of several servers holds, which then looks after pods; None: this one always does.
        secrets: who keeps the projects' secrets; None: the server itself, encrypted.

    Raises:
        BadFlag: it would listen beyond loopback without authentication, or the database cannot be understood.
        LocalIOError: with SQLite, another server works in the same directory.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        stores: Stores,
        pods: PodApi,
        maker: PodMaker,
        clock: Clock,
        log: Log,
        presign: Presign | None = None,
        lease: Lease | None = None,
        secrets: SecretStore | None = None,
    ) -> None:
        check_exposure(settings)
        settings.data.mkdir(parents=True, exist_ok=True)
        self._lock = only_server(settings.data) if settings.database_url.startswith("sqlite") else None
        self.settings = settings
        self.log = log
        self.metrics = ServerMetrics(clock.now_s)
        self.metrics_url = ""
        self.database = Database(settings.database_url, Hub(), self.metrics)
        vault = open_vault(settings)
        url_key = settings.url_key.encode() or KeyFile(settings.data / _URL_KEY).read()[0]
        self.office = Office(
            database=self.database,
            objects=Objects(stores, max_bytes=settings.limits.max_inline_bytes),
            executor=Executor(MeasuredPods(pods, self.metrics), settings.namespace, log),
            vault=vault,
            secrets=secrets or EmbeddedSecrets(self.database, vault, clock),
            maker=maker,
            clock=clock,
            log=log,
            settings=settings,
            signer=UrlSigner(url_key),
            presign=presign,
            address=settings.public_url.rstrip("/"),
        )
        self.scheduler = Scheduler(self.office)
        self._leadership = None if lease is None else Leadership(lease, clock=clock, log=log)
        self._leading: asyncio.Task[None] | None = None
        self.app = Application(self.office, Authenticator(self.database, required=settings.require_auth))
        self._listener = None if self.database.sqlite else Listener(self.database, log)
        self.metrics.server(
            leader=lambda: self._leadership is None or self._leadership.leading,
            kept=lambda: self.scheduler.keeping,
            watchers=lambda: self.database.hub.listeners,
            requests=lambda: self.app.open_requests,
            max_pods=settings.limits.max_pods,
        )

    async def start(self) -> None:
        """Migrates the database, makes what the first start makes, takes over what was left, and begins."""
        self.database.hub.bind()
        now = self.office.clock.now_s()
        await asyncio.to_thread(self.database.migrate)
        await self.database.write(self._first_project)
        if self.settings.require_auth and await asyncio.to_thread(
            first_token, self.database, self.settings.data / ADMIN_TOKEN, now=now
        ):
            self.log.event("server.token", path=str(self.settings.data / ADMIN_TOKEN))
        if self._listener is not None:
            self._listener.start()
        if self._leadership is None:
            await self.scheduler.start()
        else:
            work = self._leadership.run(self.scheduler.start, self.scheduler.stop)
            self._leading = asyncio.create_task(work, name="leader")

    async def stop(self) -> None:
        """Stops; pods go on, and what is in flight is found again by the next start."""
        self.app.let_go()
        if self._leading is not None:
            self._leading.cancel()
            await asyncio.gather(self._leading, return_exceptions=True)
        else:
            await self.scheduler.stop()
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Closes what ``__init__`` opened."""
        if self._listener is not None and self._listener.started:
            self._listener.stop()
        self.office.executor.close()
        self.office.objects.close()
        self.database.close()
        if self._lock is not None:
            self._lock.close()

    def _first_project(self, unit: Unit) -> None:
        name = self.settings.default_project
        if name and unit.session.get(Project, name) is None:
            unit.session.add(Project(id=name, name=name, created_at=self.office.clock.now_s()))

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Listens and works; gives the server's own URL."""
        listening = listen(self.settings.host, self.settings.port)
        url = _url(listening)
        self.office.address = self.office.address or url
        async with contextlib.AsyncExitStack() as around:
            await self.start()
            around.push_async_callback(self.stop)
            if self.settings.metrics_port is not None:
                await around.enter_async_context(self._metrics_served())
            level = self.settings.log_level
            await around.enter_async_context(answering(self.app, listening, log_level=level, let_go=self.app.let_go))
            self.log.event("server.listening", url=url, database=self.database.name, store=self.settings.store_base)
            yield url

    @contextlib.asynccontextmanager
    async def _metrics_served(self) -> AsyncIterator[None]:
        listening = listen(self.settings.metrics_host or self.settings.host, self.settings.metrics_port or 0)
        self.metrics_url = f"{_url(listening)}{metrics_endpoint.PATH}"
        endpoint = MetricsEndpoint(self.metrics, self.database, self.office.clock)
        async with answering(endpoint, listening, log_level=self.settings.log_level):
            self.log.event("server.metrics", url=self.metrics_url)
            yield


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{_reachable(shown)}:{port}"


def _reachable(host: str) -> str:
    """Where to reach a server that listens everywhere, from its own machine."""
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ``LocalIOError``, with who may have the port already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
        opened.listen(BACKLOG)
    except OSError as cause:
        opened.close()
        raise LocalIOError(
            f"cannot listen on {host} port {port}: {cause.strerror}",
            hint="Choose another --port, or stop the program that has it."
            if cause.errno == errno.EADDRINUSE
            else "Choose another --host or --port.",
        ) from cause
    return opened


def only_server(data: Path) -> IO[bytes]:
    """Holds the directory for this process, as long as the file is open. Raises ``LocalIOError`` if another server has it."""
    lock = (data / "server.lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        lock.close()
        raise LocalIOError(
            f"another server works in {data}", hint="Stop it, give another --data, or use PostgreSQL for several servers."
        ) from cause
    return lock


def check_exposure(settings: ServerSettings) -> None:
    """Raises ``BadFlag`` for a server that others could reach without saying who they are."""
    if not is_loopback(settings.host) and not settings.require_auth and not settings.insecure:
        raise BadFlag(
            f"listening on {settings.host} without authentication would let anybody run anything here",
            hint="Add --auth, or say --insecure-no-auth if that is what you want.",
        )


def run_server(
    plane: ControlPlane,
    *,
    ready: Callable[[str], None],
    asked: Callable[[], bool] = lambda: False,
    stop: asyncio.Event | None = None,
) -> None:
    """Serves until SIGINT or SIGTERM, or until ``stop`` is set. Blocking.

    Args:
        plane: the server.
        ready: called with the URL once requests are answered.
        asked: whether a signal came before ours are handled, while the server was put together.
        stop: another reason to stop, for tests.
    """
    import signal  # noqa: PLC0415 - the server's own handlers, on its own loop

    async def main() -> None:
        end = stop or asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end.set)
        if asked():
            await asyncio.to_thread(plane.close)
            return
        async with plane.serving() as url:
            ready(url)
            await end.wait()

    asyncio.run(main())
