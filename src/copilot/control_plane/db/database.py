"""One database: threads for its blocking calls, one transaction a piece of work, and what was committed is published.

SQLite has one writer, so there all writes go through one thread and begin with ``BEGIN IMMEDIATE``; readers see the last commit
(WAL). PostgreSQL takes several writers; rows that move are locked or guarded by their version, and a lost race is run again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from copilot.control_plane.db.migration import migrate, reach
from copilot.control_plane.errors import DatabaseUnavailable, StateChanged
from copilot.core.errors import BadFlag, MissingExtra

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from copilot.control_plane.hub import Hub

T = TypeVar("T")

CHANNEL = "copilot"
_READERS = 4
_WRITERS = 4
_RACES = 8
_MAX_NOTIFY_BYTES = 7_000
# PostgreSQL's serialization_failure and deadlock_detected: the transaction may simply be run again.
_RERUN_STATES = frozenset({"40001", "40P01"})


class Unit:
    """One transaction: its session, and the topics to publish when it is committed."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.topics: set[str] = set()
        self.facts: list[object] = []

    def touch(self, *topics: str) -> None:
        """Publishes ``topics`` once this is committed."""
        self.topics.update(topics)


class Observer(Protocol):
    """Hears of transactions, on whatever thread ran them."""

    def transaction(self, op: str, seconds: float, error: str) -> None:
        """One is over, ``op`` being ``read`` or ``write``: how long its caller waited, and an error's reason or nothing."""
        ...

    def committed(self, facts: Sequence[object]) -> None:
        """These (see ``control_plane.facts``) are true now."""
        ...


class Database:
    """A connected database. ``read`` and ``write`` run their work on threads; the work must not touch anything but its session.

    Args:
        url: ``sqlite:////path`` or ``postgresql://user:password@host/database``.
        hub: where commits are told.
        observer: who counts and times them, or None.
    """

    def __init__(self, url: str, hub: Hub, observer: Observer | None = None) -> None:
        try:
            self.url = make_url(url)
        except ArgumentError as cause:
            raise BadFlag(f"the database URL {url.rsplit('@', maxsplit=1)[-1]!r} cannot be read", hint=_URL_HINT) from cause
        self.hub = hub
        self._observer = observer
        backend = self.url.get_backend_name()
        if backend not in {"sqlite", "postgresql"}:
            raise BadFlag(f"there is no support for the database {backend!r}", hint=_URL_HINT)
        self.sqlite = backend == "sqlite"
        self._reading, self._writing = self._open_sqlite() if self.sqlite else self._open_postgresql()
        self._readers = ThreadPoolExecutor(_READERS, "db-read")
        self._writers = ThreadPoolExecutor(1 if self.sqlite else _WRITERS, "db-write")

    @property
    def name(self) -> str:
        """The URL without its password, for people."""
        return self.url.render_as_string(hide_password=True)

    def _open_sqlite(self) -> tuple[Engine, Engine]:
        if not self.url.database or self.url.database == ":memory:":
            raise BadFlag("SQLite needs a file: several connections share it", hint=_URL_HINT)
        Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        reading = create_engine(self.url, pool_size=_READERS, max_overflow=0, connect_args={"check_same_thread": False})
        writing = create_engine(self.url, pool_size=1, max_overflow=0, connect_args={"check_same_thread": False})
        for engine, begin in ((reading, "BEGIN"), (writing, "BEGIN IMMEDIATE")):
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", lambda connection, begin=begin: connection.exec_driver_sql(begin))
        return reading, writing

    def _open_postgresql(self) -> tuple[Engine, Engine]:
        try:
            engine = create_engine(
                self.url.set(drivername="postgresql+psycopg"),
                pool_size=_READERS + _WRITERS,
                max_overflow=0,
                pool_pre_ping=True,
                pool_timeout=10,
                connect_args={"connect_timeout": 5, "options": "-c statement_timeout=30000 -c lock_timeout=10000"},
            )
        except ModuleNotFoundError as cause:
            raise MissingExtra("PostgreSQL needs the package psycopg", hint="pip install 'copilot[server]'.") from cause
        return engine, engine

    async def read(self, work: Callable[[Session], T]) -> T:
        """What ``work`` returns, from one consistent look at the database. Raises ``DatabaseUnavailable``."""
        with self._timed("read"):
            return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, work)

    async def write(self, work: Callable[[Unit], T]) -> T:
        """What ``work`` returns, committed, and its topics published. ``work`` may be run more than once.

        Raises:
            DatabaseUnavailable: nothing was changed, or it is not known whether it was.
            StateChanged: somebody else was faster, again and again.
        """
        with self._timed("write"):
            return await asyncio.get_running_loop().run_in_executor(self._writers, self.write_now, work)

    @contextlib.contextmanager
    def _timed(self, op: str) -> Iterator[None]:
        """Waiting for a thread counts: SQLite has one for all writes, and who waits for it waits for the database."""
        began, error = time.perf_counter(), ""
        try:
            yield
        except (DatabaseUnavailable, StateChanged) as cause:
            error = cause.reason
            raise
        finally:
            if self._observer is not None:
                self._observer.transaction(op, time.perf_counter() - began, error)

    def read_now(self, work: Callable[[Session], T]) -> T:
        """As ``read``, blocking."""
        try:
            return self._read_once(work)
        except DatabaseUnavailable as error:
            # A connection that was cut under us is no outage yet: reading again changes nothing, and the pool has others.
            if not (isinstance(error.__cause__, DBAPIError) and error.__cause__.connection_invalidated):
                raise
        return self._read_once(work)

    def _read_once(self, work: Callable[[Session], T]) -> T:
        with _told(), Session(self._reading, expire_on_commit=False) as session:
            return work(session)

    def write_now(self, work: Callable[[Unit], T]) -> T:
        """As ``write``, blocking."""
        for race in range(_RACES):
            try:
                with _told(), Session(self._writing, expire_on_commit=False) as session:
                    unit = Unit(session)
                    with session.begin():
                        result = work(unit)
                        session.flush()
                        if unit.topics and not self.sqlite:
                            _notify(session, unit.topics)
                self.hub.publish(unit.topics)
                if unit.facts and self._observer is not None:
                    self._observer.committed(unit.facts)
            except StateChanged:
                if race == _RACES - 1:
                    raise
            else:
                return result
        raise StateChanged("the row was changed by others again and again")

    def migrate(self) -> None:
        """Brings the tables to this version's. Raises what ``migration.migrate`` raises."""
        migrate(self._writing, self.name)

    def reach(self) -> None:
        """Raises what ``migration.reach`` raises."""
        reach(self._writing, self.name)

    def close(self) -> None:
        """Waits for the work at hand and closes every connection."""
        self._readers.shutdown()
        self._writers.shutdown()
        self._reading.dispose()
        self._writing.dispose()


_URL_HINT = "Give sqlite:////path/to/file.db or postgresql://user:password@host/database."


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # The driver's own idea of when a transaction begins is turned off: the "begin" event says it.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=15000", "temp_store=MEMORY"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _notify(session: Session, topics: set[str]) -> None:
    lines: list[str] = []
    size = 0
    for topic in sorted(topics):
        if size + len(topic) > _MAX_NOTIFY_BYTES:
            session.execute(text("SELECT pg_notify(:channel, :topics)"), {"channel": CHANNEL, "topics": "\n".join(lines)})
            lines, size = [], 0
        lines.append(topic)
        size += len(topic) + 1
    session.execute(text("SELECT pg_notify(:channel, :topics)"), {"channel": CHANNEL, "topics": "\n".join(lines)})


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The driver's errors as ours."""
    try:
        yield
    except StaleDataError as cause:
        raise StateChanged("the row was changed by somebody else") from cause
    except IntegrityError as cause:
        # Every constraint is looked up before it is relied on, so this is a lost race: the next look finds the other's row.
        raise StateChanged("somebody else wrote the same row first") from cause
    except (OperationalError, InterfaceError, PoolTimeout) as cause:
        if isinstance(cause, DBAPIError) and getattr(cause.orig, "sqlstate", None) in _RERUN_STATES:
            raise StateChanged("the transaction lost a race") from cause
        raise DatabaseUnavailable("the database does not answer") from cause
