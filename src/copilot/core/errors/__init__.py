"""Every error the program knows, in one tree.

::

    CopilotError
    ├── UsageError                 a flag, a file or a combination of them is wrong
    │   ├── BadFlag  BadConfig  MissingExtra  NotYet
    ├── StoreError                 something between us and a store
    │   ├── ObjectNotFound  BucketNotFound  AccessDenied  BadCredentials  BadStoreRequest
    │   ├── AlreadyExists  Unsupported
    │   └── (transient) Unreachable  Throttled  ServerFault  Stalled  Truncated  NoIdentity
    │                   ObjectChanged  ChecksumMismatch
    ├── InputError                 the inputs cannot be used as they are
    │   ├── BadInputs  UnknownLiteral  UnsafePath
    ├── OutputError                the task's outputs cannot be published as they are
    │   ├── MissingOutput  UnreadableOutput  BadOutput  ReservedName
    ├── LocalError                 this machine, not the store
    │   ├── DiskFull  ReadOnlyPath  LocalIOError  NotEnoughSpace
    ├── SecretError                a secret cannot be had, or not be handed over as asked
    │   ├── BadSecretRef  SecretNotFound  SecretExists  SecretDenied  SecretNoIdentity  SecretExpiredToken
    │   ├── SecretRefused  VaultSealed
    │   ├── SecretKeyMissing  SecretNotText  SecretTooLarge  NotTmpfs  SecretPathTaken  BadSecretTemplate  SecretLeaked
    │   └── (transient) SecretUnreachable  SecretThrottled  SecretFault  SecretCorrupt
    ├── PodError                   the executor, or the Kubernetes API, about a pod
    │   ├── PodNotFound  PodExists  PodRefused  PodListExpired  (transient) PodApiUnavailable  PodConflict  PodQuotaExceeded
    │   │                                                        PodUnauthenticated
    ├── TaskError                  the task itself ended badly
    │   ├── TaskFailed  TaskOutOfMemory  TaskDeadline  TaskEvicted  TaskPreempted  TaskDeleted  CompletionUnproven
    ├── Interrupted                we were told to stop, or time ran out
    │   ├── Cancelled  DeadlineExceeded
    └── InternalError              our bug

An adapter raises these and nothing else; the engine retries what is ``transient``; ``cli.outcome`` alone turns one into an
error document, a termination message and an exit code. The class decides: no code reads an error's text to learn its kind.
"""

from copilot.core.errors.base import CopilotError, ExitCode, InternalError, Kind
from copilot.core.errors.inputs import BadInputs, InputError, UnknownLiteral, UnsafePath
from copilot.core.errors.local import DiskFull, LocalError, LocalIOError, NotEnoughSpace, ReadOnlyPath
from copilot.core.errors.outputs import BadOutput, MissingOutput, OutputError, ReservedName, UnreadableOutput
from copilot.core.errors.pods import (
    PodApiUnavailable,
    PodConflict,
    PodError,
    PodExists,
    PodListExpired,
    PodNotFound,
    PodQuotaExceeded,
    PodRefused,
    PodUnauthenticated,
)
from copilot.core.errors.secrets import (
    BadSecretRef,
    BadSecretTemplate,
    NotTmpfs,
    SecretCorrupt,
    SecretDenied,
    SecretError,
    SecretExists,
    SecretExpiredToken,
    SecretFault,
    SecretKeyMissing,
    SecretLeaked,
    SecretNoIdentity,
    SecretNotFound,
    SecretNotText,
    SecretPathTaken,
    SecretRefused,
    SecretThrottled,
    SecretTooLarge,
    SecretUnreachable,
    VaultSealed,
)
from copilot.core.errors.store import (
    AccessDenied,
    AlreadyExists,
    BadCredentials,
    BadStoreRequest,
    BucketNotFound,
    ChecksumMismatch,
    NoIdentity,
    ObjectChanged,
    ObjectNotFound,
    ServerFault,
    Stalled,
    StoreError,
    Throttled,
    Truncated,
    Unreachable,
    Unsupported,
)
from copilot.core.errors.task import (
    Cancelled,
    CompletionUnproven,
    DeadlineExceeded,
    Interrupted,
    TaskDeadline,
    TaskDeleted,
    TaskError,
    TaskEvicted,
    TaskFailed,
    TaskOutOfMemory,
    TaskPreempted,
)
from copilot.core.errors.usage import BadConfig, BadFlag, MissingExtra, NotYet, UsageError

__all__ = [
    "AccessDenied",
    "AlreadyExists",
    "BadConfig",
    "BadCredentials",
    "BadFlag",
    "BadInputs",
    "BadOutput",
    "BadSecretRef",
    "BadSecretTemplate",
    "BadStoreRequest",
    "BucketNotFound",
    "Cancelled",
    "ChecksumMismatch",
    "CompletionUnproven",
    "CopilotError",
    "DeadlineExceeded",
    "DiskFull",
    "ExitCode",
    "InputError",
    "InternalError",
    "Interrupted",
    "Kind",
    "LocalError",
    "LocalIOError",
    "MissingExtra",
    "MissingOutput",
    "NoIdentity",
    "NotEnoughSpace",
    "NotTmpfs",
    "NotYet",
    "ObjectChanged",
    "ObjectNotFound",
    "OutputError",
    "PodApiUnavailable",
    "PodConflict",
    "PodError",
    "PodExists",
    "PodListExpired",
    "PodNotFound",
    "PodQuotaExceeded",
    "PodRefused",
    "PodUnauthenticated",
    "ReadOnlyPath",
    "ReservedName",
    "SecretCorrupt",
    "SecretDenied",
    "SecretError",
    "SecretExists",
    "SecretExpiredToken",
    "SecretFault",
    "SecretKeyMissing",
    "SecretLeaked",
    "SecretNoIdentity",
    "SecretNotFound",
    "SecretNotText",
    "SecretPathTaken",
    "SecretRefused",
    "SecretThrottled",
    "SecretTooLarge",
    "SecretUnreachable",
    "ServerFault",
    "Stalled",
    "StoreError",
    "TaskDeadline",
    "TaskDeleted",
    "TaskError",
    "TaskEvicted",
    "TaskFailed",
    "TaskOutOfMemory",
    "TaskPreempted",
    "Throttled",
    "Truncated",
    "UnknownLiteral",
    "Unreachable",
    "UnreadableOutput",
    "UnsafePath",
    "Unsupported",
    "UsageError",
    "VaultSealed",
]
