"""What other servers commit to the same PostgreSQL, published here: one connection a server."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from copilot.control_plane.db.database import CHANNEL, Database

if TYPE_CHECKING:
    from copilot.core.ports import Log

_LOOK_S = 1.0
_AGAIN_S = 0.5


class Listener:
    """A thread that listens. After every reconnect all watchers are woken, for what was said meanwhile is lost."""

    def __init__(self, database: Database, log: Log) -> None:
        self._database = database
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="db-listen", daemon=True)

    @property
    def started(self) -> bool:
        """``start`` was called."""
        return self._thread.ident is not None

    def start(self) -> None:
        """Begins to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, within a second or so."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        import psycopg  # noqa: PLC0415 - PostgreSQL alone needs it

        url = self._database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        while not self._stop.is_set():
            try:
                with psycopg.connect(url, autocommit=True, connect_timeout=5, application_name="copilot-listen") as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._database.hub.wake_all()
                    while not self._stop.is_set():
                        for notice in connection.notifies(timeout=_LOOK_S):
                            self._database.hub.publish(notice.payload.split("\n"))
            except psycopg.Error as error:
                self._log.event("database.listen.lost", level="warning", error=type(error).__name__)
                self._stop.wait(_AGAIN_S)
