"""The commands that run in pods: ``download``, ``init`` and ``sidecar``. Read without click, so that they start at once."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from copilot.cli.arguments import flags
from copilot.cli.arguments.pflag import Parsed, parse
from copilot.cli.session import Session, open_session
from copilot.config import Configuration
from copilot.core.errors import BadFlag
from copilot.engine import crashpoints

if TYPE_CHECKING:
    from copilot.cli.session import Latch

_MODULES: Final = {
    "download": "copilot.cli.pods.download",
    "init": "copilot.cli.pods.download",
    "sidecar": "copilot.cli.pods.sidecar",
}
#: ``ContainerError.code`` as the reference writes it.
_CODES: Final = {"download": "InputDownloadFailed", "init": "InputDownloadFailed", "sidecar": "OutputUploadFailed"}


def run(command: str, arguments: Sequence[str], latch: Latch, environ: Mapping[str, str], *, drop_in: bool) -> int:
    """Runs one of them; gives the exit code. Never raises: a failure is told in every way the pod has."""
    parsed = parse(arguments, flags.table(command, drop_in=drop_in))
    code = _CODES[command]
    try:
        session = open_session(parsed.values, environ, latch, command=command, drop_in=drop_in)
    except BaseException as exception:  # noqa: BLE001 - the single place where every exception ends
        return _bare(command, latch, environ, drop_in=drop_in).fail(exception, code=code)
    try:
        check(session, parsed)
        crashpoints.arm(environ.get("COPILOT_CRASH_AT", ""))
        use = importlib.import_module(_MODULES[command])
        ended = use.run(session, parsed)
        session.close()
    except BaseException as exception:  # noqa: BLE001 - as above
        return session.fail(exception, code=code, prefix=parsed.last("to-output-prefix"))
    return int(ended)


def _bare(command: str, latch: Latch, environ: Mapping[str, str], *, drop_in: bool) -> Session:
    """A session on the environment alone, to tell of flags or files that cannot be used."""
    try:
        return open_session({}, environ, latch, command=command, drop_in=drop_in)
    except BaseException:  # noqa: BLE001 - the variables are wrong as well; the first failure is told
        failure_exit_code = 137 if drop_in else None
        return Session(Configuration(failure_exit_code=failure_exit_code, drop_in=drop_in), latch, command=command)


def check(session: Session, parsed: Parsed) -> None:
    """Whether the arguments can be understood at all. Values are looked at by the command itself.

    Raises:
        BadFlag: an unknown flag, a missing value; a stray argument (the reference takes no notice of any: nor do we, under its
            name).
    """
    if parsed.mistake is not None:
        raise parsed.mistake
    stray = [*parsed.arguments, *parsed.rest]
    if stray and session.configuration.drop_in:
        session.log.event("flags.stray", level="warning", count=len(stray), hint="Every value belongs to a flag.")
    elif stray:
        raise BadFlag(
            f"{session.command} takes no argument, but there is {stray[0]!r}", op="flags", hint="Every value belongs to a flag."
        )
