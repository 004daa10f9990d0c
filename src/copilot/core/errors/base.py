"""The root of the tree, whose fault an error is, and the exit codes."""

from __future__ import annotations

from enum import Enum
from typing import ClassVar


class Kind(Enum):
    """Whose fault it is, as ``core.ContainerError.Kind`` and the retry budgets see it."""

    USER = "user"
    SYSTEM = "system"


class ExitCode:
    """What a process under the name ``copilot`` ends with. Printed in ``docs/errors.md``."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    STORE = 10
    NOT_FOUND = 11
    DENIED = 12
    UNREACHABLE = 13
    INPUT = 20
    OUTPUT = 21
    LOCAL = 22
    TASK = 23
    SECRET = 24
    UNPROVEN = 25
    DEADLINE = 26
    CONTROL_PLANE = 30
    INTERRUPTED = 130
    TERMINATED = 143


class CopilotError(Exception):
    """The root. One clear sentence, and what is needed to act on it.

    Args:
        message: what happened, one sentence, without a trailing full stop, never with a secret in it.
        op: the operation that failed (``get``, ``list``, ``plan``, ``publish`` …).
        subject: the URI, path or variable it was about; credentials and query strings already removed.
        hint: the next thing to try, a sentence in the imperative.
        retry_after_s: how long the other side asked us to wait, in seconds.
    """

    reason: ClassVar[str] = "Internal"
    exit_code: ClassVar[int] = ExitCode.INTERNAL
    kind: ClassVar[Kind] = Kind.SYSTEM
    transient: ClassVar[bool] = False
    default_hint: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        op: str = "",
        subject: str = "",
        hint: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        """See the class."""
        super().__init__(message)
        self.message = message
        self.op = op
        self.subject = subject
        self.hint = hint or self.default_hint
        self.retry_after_s = retry_after_s

    def sentence(self) -> str:
        """``what: where (why)``, then the hint: what a person reads, on one line."""
        text = self.message.rstrip(".")
        cause = self.__cause__
        if isinstance(cause, CopilotError):
            text = f"{text}: {cause.message.rstrip('.')}"
        return f"{text}. {self.hint}".rstrip() if self.hint else f"{text}."


class InternalError(CopilotError):
    """A state that should not be possible."""

    default_hint = "This is a bug in copilot: please report it with the log."
