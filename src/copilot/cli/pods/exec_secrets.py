"""References for ``copilot exec``: resolved with everything copilot has, for a wrapper that by itself loads next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from copilot.cli.pods.secrets import GRACE_S, resolver_of
from copilot.cli.session import Session, open_session
from copilot.config import Configuration
from copilot.core.errors import CopilotError
from copilot.core.secret_refs import parse_ref
from copilot.engine.cancel import Token
from copilot.secrets.hardening import forbid_core_dumps
from copilot.secrets.inject import as_variable

if TYPE_CHECKING:
    from copilot.secrets.resolver import Resolver

_CODE: Final = "SecretsFailed"


@dataclass(frozen=True, slots=True)
class Resolved:
    """What came of it.

    Attributes:
        exit_code: 0, or what to end with: why was told already.
        variables: name → value.
        known: every value that must not be seen in the command's kept output.
        lent: something is to be given back.
        close: ends its renewal and gives it back, and tells the log when that fails. Never raises.
    """

    exit_code: int = 0
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    known: tuple[bytes, ...] = field(default=(), repr=False)
    lent: bool = False
    close: Callable[[], None] = lambda: None


class Asked:
    """Signals that wait to be taken: the wrapper has blocked them."""

    def __init__(self, pending: Callable[[], int]) -> None:
        """``pending`` gives the number of one that asks us to stop, or 0."""
        self.again = 0
        self.received_s = 0.0  # nobody here counts from it
        self._pending = pending

    @property
    def received(self) -> int:
        """Its number, 0 before it."""
        return self._pending()

    def is_set(self) -> bool:
        """Whether one came."""
        return self._pending() != 0

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - a session's latch has it
        """Does not wait: nobody here sleeps on it."""
        return self._pending() != 0


def resolve(references: Mapping[str, str], environ: Mapping[str, str], pending: Callable[[], int]) -> Resolved:
    """The values of ``NAME → reference``. Never raises: a failure is told on standard error and in the termination message.

    Args:
        references: what to resolve.
        environ: how the managers are reached.
        pending: the number of a signal that asks us to stop, or 0.
    """
    forbid_core_dumps()
    latch = Asked(pending)
    try:
        session = open_session({}, environ, latch, command="exec", drop_in=False)
    except CopilotError as error:
        return Resolved(Session(Configuration(), latch, command="exec").fail(error, code=_CODE))
    resolver = resolver_of(session)
    try:
        refs = {name: parse_ref(text) for name, text in references.items()}
        values = resolver.resolve(refs.values(), session.token())
        variables = {name: as_variable(name, values[ref], ref) for name, ref in refs.items()}
    except BaseException as error:  # noqa: BLE001 - the single place where every exception ends
        _close(resolver, session)
        return Resolved(session.fail(error, code=_CODE))
    known = tuple(value.reveal() for value in values.values())
    if resolver.lends():
        return Resolved(0, variables, known, lent=True, close=_keep(resolver, session))
    _close(resolver, session)
    return Resolved(0, variables, known)


def _keep(resolver: Resolver, session: Session) -> Callable[[], None]:
    """Has the leases renewed from now on; gives what ends that."""
    from copilot.secrets.renewing import renewing  # noqa: PLC0415 - only who was lent something pays for it

    kept = ExitStack()
    kept.callback(_close, resolver, session)
    kept.enter_context(renewing(resolver, clock=session.clock, log=session.log))
    return kept.close


def _close(resolver: Resolver, session: Session) -> None:
    try:
        resolver.close(Token(session.clock, timeout_s=GRACE_S))
    except CopilotError as error:
        session.log.event("secret.close_failed", level="warning", reason=error.reason, error=error.message)
