"""Every error the program knows, in one tree.

::

    CopilotError
    ├── UsageError                 a flag, a file or a combination of them is wrong
    │   ├── BadFlag  BadConfig  MissingExtra  NotYet
    ├── StoreError                 something between us and a store
    │   ├── ObjectNotFound  BucketNotFound  AccessDenied  BadCredentials  BadStoreRequest
    │   ├── AlreadyExists  Unsupported
    │   └── (transient) Unreachable  Throttled  ServerFault  Stalled  Truncated
    │                   ObjectChanged  ChecksumMismatch
    ├── InputError                 the inputs cannot be used as they are
    │   ├── BadInputs  UnknownLiteral  UnsafePath
    ├── OutputError                the task's outputs cannot be published as they are
    │   ├── MissingOutput  UnreadableOutput  BadOutput  ReservedName
    ├── LocalError                 this machine, not the store
    │   ├── DiskFull  ReadOnlyPath  LocalIOError  NotEnoughSpace
    ├── SecretError                a secret cannot be had, or not be handed over as asked
    │   ├── BadSecretRef  SecretNotFound  SecretDenied  SecretNoIdentity  SecretExpiredToken  SecretRefused  VaultSealed
    │   ├── SecretKeyMissing  SecretNotText  SecretTooLarge  NotTmpfs  SecretPathTaken  BadSecretTemplate  SecretLeaked
    │   └── (transient) SecretUnreachable  SecretThrottled  SecretFault  SecretCorrupt
    ├── PodError                   the executor, or the Kubernetes API, about a pod
    │   ├── PodNotFound  PodExists  PodRefused  (transient) PodApiUnavailable
    ├── TaskError                  the task itself ended badly
    │   ├── TaskFailed
    ├── Interrupted                we were told to stop, or time ran out
    │   ├── Cancelled  DeadlineExceeded
    └── InternalError              our bug

An adapter raises these and nothing else; the engine retries what is ``transient``; ``cli.outcome`` alone turns one into an
error document, a termination message and an exit code. The class decides: no code reads an error's text to learn its kind.
"""

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


# --- what was asked -----------------------------------------------------------------------------------------------


class UsageError(CopilotError):
    """The request cannot be understood."""

    reason = "BadRequest"
    exit_code = ExitCode.USAGE
    kind = Kind.USER


class BadFlag(UsageError):
    """A flag's value is not one of those it takes."""

    reason = "BadFlag"


class BadConfig(UsageError):
    """A configuration file, or a variable of the environment, cannot be used."""

    reason = "BadConfig"


class MissingExtra(UsageError):
    """The feature needs a package that is not installed."""

    reason = "MissingExtra"


class NotYet(UsageError):
    """Known, and not to be had in this version."""

    reason = "NotYetSupported"


# --- stores ---------------------------------------------------------------------------------------------------------


class StoreError(CopilotError):
    """A store said no, or nothing."""

    reason = "StoreFailed"
    exit_code = ExitCode.STORE


class ObjectNotFound(StoreError):
    """There is no such object."""

    reason = "ObjectNotFound"
    exit_code = ExitCode.NOT_FOUND
    kind = Kind.USER


class BucketNotFound(StoreError):
    """There is no such bucket, container or host directory."""

    reason = "BucketNotFound"
    exit_code = ExitCode.NOT_FOUND
    kind = Kind.USER


class AccessDenied(StoreError):
    """Who we are is known and may not do this (403)."""

    reason = "AccessDenied"
    exit_code = ExitCode.DENIED
    kind = Kind.USER


class BadCredentials(StoreError):
    """The credentials are missing, malformed, expired or unknown to the store (401 and its like)."""

    reason = "BadCredentials"
    exit_code = ExitCode.DENIED
    kind = Kind.USER


class BadStoreRequest(StoreError):
    """The store refused the request itself (another 4xx)."""

    reason = "StoreRefused"


class AlreadyExists(StoreError):
    """``if_absent`` was asked for and the object is there."""

    reason = "ObjectExists"


class Unsupported(StoreError):
    """The store cannot do this at all (writing over plain HTTP, say)."""

    reason = "Unsupported"
    exit_code = ExitCode.USAGE
    kind = Kind.USER


class Unreachable(StoreError):
    """No connection: refused, reset, no such host, TLS."""

    reason = "StoreUnreachable"
    exit_code = ExitCode.UNREACHABLE
    transient = True


class Throttled(StoreError):
    """429, ``SlowDown``: ask again later."""

    reason = "StoreThrottled"
    exit_code = ExitCode.UNREACHABLE
    transient = True


class ServerFault(StoreError):
    """5xx."""

    reason = "StoreFault"
    exit_code = ExitCode.UNREACHABLE
    transient = True


class Stalled(StoreError):
    """No byte for too long."""

    reason = "StoreStalled"
    exit_code = ExitCode.UNREACHABLE
    transient = True


class Truncated(StoreError):
    """Fewer bytes came than were promised."""

    reason = "Truncated"
    exit_code = ExitCode.UNREACHABLE
    transient = True


class ObjectChanged(StoreError):
    """The object is not the one we began with (its etag or size changed while it was read)."""

    reason = "ObjectChanged"
    transient = True


class ChecksumMismatch(StoreError):
    """The bytes are not those that were promised."""

    reason = "ChecksumMismatch"
    transient = True


# --- inputs ---------------------------------------------------------------------------------------------------------


class InputError(CopilotError):
    """The inputs cannot be used as they are."""

    reason = "BadInputs"
    exit_code = ExitCode.INPUT
    kind = Kind.USER


class BadInputs(InputError):
    """``inputs.pb`` is no ``core.LiteralMap``, or does not fit the interface."""


class UnknownLiteral(InputError):
    """A literal without a value, or of a kind this version does not know."""

    reason = "UnknownLiteral"


class UnsafePath(InputError):
    """A name that would be written outside its directory: ``..``, NUL, an absolute path."""

    reason = "UnsafePath"


# --- outputs --------------------------------------------------------------------------------------------------------


class OutputError(CopilotError):
    """The task's outputs cannot be published as they are."""

    reason = "BadOutput"
    exit_code = ExitCode.OUTPUT
    kind = Kind.USER


class MissingOutput(OutputError):
    """A declared output was not written."""

    reason = "MissingOutput"


class UnreadableOutput(OutputError):
    """An output is there and cannot be read (permissions, a device, two candidates)."""

    reason = "UnreadableOutput"


class BadOutput(OutputError):
    """An output's content is not of its declared type."""


class ReservedName(OutputError):
    """An output is called like one of the files the protocol itself keeps."""

    reason = "ReservedName"


# --- this machine ---------------------------------------------------------------------------------------------------


class LocalError(CopilotError):
    """This machine's files or disk."""

    reason = "LocalIO"
    exit_code = ExitCode.LOCAL


class LocalIOError(LocalError):
    """Any other error of the local file system."""


class DiskFull(LocalError):
    """ENOSPC or EDQUOT while writing."""

    reason = "DiskFull"


class NotEnoughSpace(LocalError):
    """What is to come is known not to fit, before a byte is moved."""

    reason = "NotEnoughSpace"


class ReadOnlyPath(LocalError):
    """The place we must write to cannot be written."""

    reason = "ReadOnlyPath"


# --- secrets --------------------------------------------------------------------------------------------------------


class SecretError(CopilotError):
    """A secret cannot be had, or not be handed over as asked. No message of these ever holds a value."""

    reason = "SecretFailed"
    exit_code = ExitCode.SECRET
    kind = Kind.USER


class BadSecretRef(SecretError):
    """The text is no reference to a secret."""

    reason = "BadSecretRef"
    default_hint = "Write it as provider://name#key?version=…, for example aws://prod/db#password."


class SecretNotFound(SecretError):
    """The manager has no such secret, or no such version of it."""

    reason = "SecretNotFound"


class SecretDenied(SecretError):
    """Who we are is known to the manager and may not read this secret."""

    reason = "SecretDenied"


class SecretNoIdentity(SecretError):
    """There are no credentials to show to the manager, or it does not know them."""

    reason = "SecretNoIdentity"


class SecretExpiredToken(SecretError):
    """The token we show was good once and is not any more."""

    reason = "SecretTokenExpired"


class SecretRefused(SecretError):
    """The manager refused the request itself (another 4xx)."""

    reason = "SecretRefused"


class VaultSealed(SecretError):
    """The vault is up and sealed: it can read nothing until somebody unseals it."""

    reason = "VaultSealed"
    kind = Kind.SYSTEM


class SecretKeyMissing(SecretError):
    """The secret is there and has no such field, or is no JSON object."""

    reason = "SecretKeyMissing"


class SecretNotText(SecretError):
    """The value is binary where only text can go (a variable, a template)."""

    reason = "SecretNotText"


class SecretTooLarge(SecretError):
    """The value is longer than a variable of the environment may be."""

    reason = "SecretTooLarge"


class NotTmpfs(SecretError):
    """The file would be written to a disk, and nobody asked for that."""

    reason = "SecretNotOnTmpfs"


class SecretPathTaken(SecretError):
    """Two secrets are to be written to one path, or into one variable."""

    reason = "SecretPathTaken"


class BadSecretTemplate(SecretError):
    """A template cannot be read, or asks for what is not there."""

    reason = "BadSecretTemplate"


class SecretLeaked(SecretError):
    """An output holds a secret's value, and the leak guard was told to refuse that."""

    reason = "SecretLeaked"


class SecretUnreachable(SecretError):
    """No connection to the manager: refused, reset, no such host, TLS, time-out."""

    reason = "SecretManagerUnreachable"
    kind = Kind.SYSTEM
    transient = True


class SecretThrottled(SecretError):
    """The manager asks us to come back later."""

    reason = "SecretThrottled"
    kind = Kind.SYSTEM
    transient = True


class SecretFault(SecretError):
    """The manager failed (5xx)."""

    reason = "SecretManagerFault"
    kind = Kind.SYSTEM
    transient = True


class SecretCorrupt(SecretError):
    """The value does not have the checksum the manager states."""

    reason = "SecretCorrupt"
    kind = Kind.SYSTEM
    transient = True


# --- pods -----------------------------------------------------------------------------------------------------------


class PodError(CopilotError):
    """An executor, or the Kubernetes API, about a pod."""

    reason = "PodFailed"
    exit_code = ExitCode.CONTROL_PLANE


class PodNotFound(PodError):
    """There is no such pod (404)."""

    reason = "PodNotFound"


class PodExists(PodError):
    """A pod of this name is there already (409)."""

    reason = "PodExists"


class PodRefused(PodError):
    """The manifest, or the request, will never be accepted (400, 403, 422): asking again changes nothing."""

    reason = "PodRefused"
    kind = Kind.USER


class PodApiUnavailable(PodError):
    """No answer, 429 or 5xx: ask again later."""

    reason = "PodApiUnavailable"
    transient = True


# --- the task, and the end of it ------------------------------------------------------------------------------------


class TaskError(CopilotError):
    """The task itself ended badly."""

    reason = "TaskFailed"
    exit_code = ExitCode.TASK
    kind = Kind.USER


class TaskFailed(TaskError):
    """The task says so: ``_ERROR``, or a non-zero exit code."""


class Interrupted(CopilotError):
    """The work was stopped from outside."""

    reason = "Interrupted"
    exit_code = ExitCode.INTERRUPTED


class Cancelled(Interrupted):
    """A signal asked us to stop."""

    reason = "Cancelled"


class DeadlineExceeded(Interrupted):
    """The time given for this is over."""

    reason = "DeadlineExceeded"
    exit_code = ExitCode.DEADLINE
