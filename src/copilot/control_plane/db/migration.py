"""A database brought to this version's tables; and what is said of one that cannot be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError

from copilot.control_plane.errors import DatabaseUnavailable
from copilot.core.errors import BadConfig

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


def migrate(engine: Engine, name: str) -> None:
    """Several servers may do it at once: one does, the others wait.

    Raises:
        DatabaseUnavailable: it does not answer, or not to us.
        BadConfig: it is another version's, or no database.
    """
    from alembic import command  # noqa: PLC0415 - 100 ms that only a start needs
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with _said_of(name), engine.connect() as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('copilot-migrations'))"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def reach(engine: Engine, name: str) -> None:
    """Asks the database for nothing, so that what keeps us from it is said. Raises as ``migrate``."""
    with _said_of(name), engine.connect() as connection:
        connection.execute(text("SELECT 1"))


@contextlib.contextmanager
def _said_of(name: str) -> Iterator[None]:
    from alembic.util.exc import CommandError  # noqa: PLC0415 - as in migrate

    try:
        yield
    except (OperationalError, InterfaceError) as cause:
        raise DatabaseUnavailable(
            f"the database {name} does not answer ({_reason(cause)})",
            hint="See that it runs, and that the URL has the right host, user, password and database.",
        ) from cause
    except DatabaseError as cause:
        raise BadConfig(
            f"the database {name} cannot be used ({_reason(cause)})", hint="See that it is one, and that it may be written."
        ) from cause
    except CommandError as cause:
        raise BadConfig(
            f"the database {name} was made by another version of copilot ({cause})", hint="Start the version that made it."
        ) from cause


def _reason(error: DatabaseError | InterfaceError) -> str:
    """The driver's own words, on one line; it repeats no password."""
    lines = [line.strip() for line in str(error.orig).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error.orig).__name__
