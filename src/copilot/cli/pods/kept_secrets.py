"""Secrets in ``copilot sidecar``: from flags to ``secrets.custody``. Loads little: most pods have no secrets to keep."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copilot.cli.arguments import flags
from copilot.cli.arguments.values import seconds_of
from copilot.core import podfiles
from copilot.core.errors import BadFlag
from copilot.secrets.custody import Custody, KeepRequest

if TYPE_CHECKING:
    from copilot.cli.arguments.pflag import Parsed
    from copilot.cli.session import Session
    from copilot.core.ports import CancelToken, Log
    from copilot.secrets.notify import Notify
    from copilot.secrets.resolver import Resolver

GRACE_S: Final = 10.0
"""Seconds for giving everything back."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """The sidecar's side.

    Attributes:
        custody: what keeps the secrets.
        policy: of ``--leak-guard``.
        asked: flags ask for it, so the sidecar stays even where there are no outputs.
    """

    custody: Custody
    policy: str
    asked: bool

    def guard(self, directory: Path) -> Callable[[CancelToken], None]:
        """Looks into ``directory`` before anything of it leaves the pod."""

        def look(cancel: CancelToken) -> None:
            self.custody.guard([directory], self.policy, cancel)

        return look


@contextmanager
def kept(session: Session, parsed: Parsed) -> Iterator[Keeping | None]:
    """Keeps what init hands over while the body runs, and gives it back afterwards, however that ended.

    Yields None where there is no control directory: nothing can be handed over then.

    Raises:
        BadFlag: the flags cannot be understood.
    """
    control = session.configuration.control_dir
    asked = any(parsed.given(flag.name) for flag in flags.SECRETS_OF_SIDECAR)
    if control is None:
        if asked:
            raise BadFlag(
                "secrets come to the sidecar in the control directory, and there is none",
                op="flags",
                hint="Set COPILOT_CONTROL_DIR to a memory volume that init mounts as well.",
            )
        yield None
        return
    over = [control / podfiles.READY, control / podfiles.RUNNING]
    request = KeepRequest(
        control / podfiles.SECRETS,
        interval_s=seconds_of(parsed.last("secrets-interval") or "5m", "--secrets-interval") or None,
        notify=_notify(session.log, parsed, session.configuration.environ),
        nothing_comes=lambda: any(path.exists() for path in over),
    )

    def resolver() -> Resolver:
        from copilot.cli.pods.secrets import resolver_of  # noqa: PLC0415 - only a pod with secrets pays for it
        from copilot.secrets.hardening import forbid_core_dumps  # noqa: PLC0415 - as above

        forbid_core_dumps()
        return resolver_of(session)

    custody = Custody(request, resolver, clock=session.clock, log=session.log)
    custody.begin()
    try:
        yield Keeping(custody, parsed.last("leak-guard") or "warn", asked)
    finally:
        custody.finish(session.token().grace(GRACE_S))


def _notify(log: Log, parsed: Parsed, environ: Mapping[str, str]) -> Notify | None:
    name, command = parsed.last("secrets-signal"), parsed.last("secrets-command")
    process, pid_file = parsed.last("secrets-process"), parsed.last("secrets-pid-file")
    if not (name or command or process or pid_file):
        return None
    from copilot.secrets.notify import by_command, by_signal, pid_in, processes_called  # noqa: PLC0415 - as above

    if command:
        if name or process or pid_file:
            raise BadFlag("the app is told by a signal or by a command, not by both", op="flags", subject="--secrets-command")
        import shlex  # noqa: PLC0415 - as above

        try:
            words = shlex.split(command)
        except ValueError as cause:
            raise BadFlag("--secrets-command has a quote that does not end", op="flags", subject="--secrets-command") from cause
        return by_command(words, log, environ=environ)
    if bool(process) == bool(pid_file):
        raise BadFlag(
            "the signal needs one who gets it",
            op="flags",
            subject="--secrets-signal",
            hint="Give --secrets-process NAME (with a shared process namespace) or --secrets-pid-file PATH.",
        )
    find = processes_called(process) if process else pid_in(Path(pid_file))
    return by_signal(_signal(name or "HUP"), find, log)


def _signal(name: str) -> signal.Signals:
    text = name.upper()
    try:
        return (
            signal.Signals(int(text)) if text.isdecimal() else signal.Signals[text if text.startswith("SIG") else f"SIG{text}"]
        )
    except (KeyError, ValueError) as cause:
        raise BadFlag(
            f"there is no signal {name}", op="flags", subject="--secrets-signal", hint="Write HUP, or USR1."
        ) from cause
