"""Which database a server has: a flag, a variable, or a file. A URL with a password belongs on no command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.core.errors import BadConfig
from copilot.engine.atomic import local_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

DATABASE: Final = "COPILOT_DATABASE"
DATABASE_FILE: Final = "COPILOT_DATABASE_FILE"
HELP: Final = (
    f"sqlite:////path, or postgresql://user@host/name. With a password rather in {DATABASE}, or in a file named by "
    f"{DATABASE_FILE}: everybody on a machine can read its command lines."
)


def database_url(flag: str | None, environ: Mapping[str, str]) -> str:
    """The URL; empty: the embedded database.

    Args:
        flag: of the command line, which goes first.
        environ: the environment.

    Raises:
        LocalIOError: the file cannot be read.
        BadConfig: there is nothing in it.
    """
    if flag:
        return flag
    if environ.get(DATABASE):
        return environ[DATABASE].strip()
    name = environ.get(DATABASE_FILE, "")
    if not name:
        return ""
    with local_errors(Path(name), op="read"):
        url = Path(name).read_text("utf-8").strip()
    if not url:
        raise BadConfig(f"the file that {DATABASE_FILE} names is empty", op="config", subject=name)
    return url
