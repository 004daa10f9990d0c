"""Every stable reason code: what it means, and what to do. ``docs/errors.md`` prints it, ``copilot explain`` tells it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from copilot.core.errors import CopilotError, ExitCode

#: Where error classes are, besides ``core.errors``.
_MODULES: Final = ("copilot.core.errors", "copilot.control_plane.errors")

#: What to do, by reason; the sentence of a failure itself says more, as it knows the case.
CURES: Final = {
    "AccessDenied": "Grant the identity read (inputs) or write and list (outputs) on the bucket; `copilot config show` tells "
    "which keys and endpoint are in use.",
    "BadConfig": "Correct the file or variable that the sentence names; `copilot config show` prints what is in effect.",
    "BadCredentials": "Renew or correct the keys, the profile or the workload identity; keys given by flags win over all.",
    "CredentialsUnavailable": "Set the cloud's variables or a profile, attach an identity to the pod, or say --anonymous.",
    "BadFlag": "Correct the flag that the sentence names; `copilot COMMAND --help` lists its values.",
    "BadInputs": "Check that the URI names the task's inputs.pb and that every declared input was given; `copilot show URI`.",
    "BadOutput": "Let the task write the value as its declared type is read; docs/outputs.md has the table.",
    "BadRequest": "Correct what the sentence names.",
    "BucketNotFound": "Create the bucket, or correct its name, the endpoint or the account.",
    "Cancelled": "Nothing, if it was meant: nothing half-done is left. Run it again to go on.",
    "ChecksumMismatch": "It was tried again several times: look for a proxy that changes bytes, or a damaged object.",
    "CompletionUnproven": "Let the task write _SUCCESS as its last act, or start the sidecar with --trust-signal.",
    "DeadlineExceeded": "Raise --timeout, or look in the log for what took the time.",
    "DiskFull": "Give the volume more room (emptyDir sizeLimit, ephemeral-storage limit); what was staged has been removed.",
    "Internal": "Report it, with the log at --log-level debug.",
    "Interrupted": "Nothing, if it was meant.",
    "LocalIO": "Look at the path and the error of the operating system that the sentence names.",
    "MissingExtra": "Install the package that the sentence names, or use the image that has it.",
    "MissingOutput": "Let the task write the file or directory of that name, or declare the output as optional.",
    "NotEnoughSpace": "Give the volume the room that the sentence names; nothing has been moved.",
    "NotYetSupported": "Use what the sentence proposes until a later version has it.",
    "ObjectChanged": "Do not write the object while it is read; it was started again several times.",
    "ObjectExists": "Somebody else has written it: choose another prefix, or remove it first.",
    "ObjectNotFound": "Check the URI (keys are taken verbatim, without percent-decoding) and that it was written before.",
    "PodApiUnavailable": "Nothing: it is asked again. If it stays, look at the Kubernetes API server.",
    "PodConflict": "Nothing: it is read and tried again.",
    "PodExists": "Choose another name, or wait until the other pod is gone.",
    "PodFailed": "Look at the pod's events: `kubectl describe pod`.",
    "PodListExpired": "Nothing: it is listed again.",
    "PodUnauthenticated": "Give the server credentials that the cluster knows; what waits goes on by itself then.",
    "PodQuotaExceeded": "Wait for other pods of the namespace to end, or raise its ResourceQuota.",
    "PodNotFound": "Check the namespace and the name; it may have been deleted.",
    "PodRefused": "Correct the pod template: the API server's words are in the sentence.",
    "ReadOnlyPath": "Mount the volume writable, or give it an owner or fsGroup that we run as.",
    "ReservedName": "Give the output another name, or raw outputs a prefix of their own.",
    "SecretCorrupt": "Read it again; if it stays, store the secret anew.",
    "SecretDenied": "Grant the identity read access to that secret.",
    "SecretExists": "Choose another name, delete the secret first, or give it another value instead.",
    "SecretFailed": "Look at the sentence, and at the secret manager's own log.",
    "SecretKeyMissing": "Correct the key after # in the reference; the sentence lists those there are.",
    "SecretLeaked": "Let the task not write the secret; nothing of that output was published.",
    "SecretManagerFault": "Nothing: it was tried again. If it stays, look at the secret manager.",
    "SecretManagerUnreachable": "Check the manager's address, network policy and proxy.",
    "SecretNoIdentity": "Give the pod an identity: a service account with workload identity, or the manager's own variables.",
    "SecretNotFound": "Check the reference's name, region, project or mount.",
    "SecretNotOnTmpfs": "Mount an emptyDir with medium: Memory there, or ask for a disk explicitly.",
    "SecretNotText": "Write it to a file: binary values cannot be variables.",
    "SecretPathTaken": "Give each secret a path of its own.",
    "SecretRefused": "Correct what the manager complains of.",
    "SecretThrottled": "Nothing: it is tried again. Ask for fewer secrets, or for a higher quota.",
    "SecretTokenExpired": "Log in again, or let the workload's token be renewed.",
    "SecretTooLarge": "Write it to a file: the environment has no room for it.",
    "BadSecretRef": "Write it as provider://name#key?version=…, for example aws://prod/db#password.",
    "BadSecretTemplate": "Correct the template at the line that the sentence names.",
    "StoreFailed": "Look at the sentence: the store's own answer is in it.",
    "StoreFault": "Nothing: it was tried again until the time was over. Look at the store.",
    "StoreRefused": "Look at the store's answer: a name it does not take, a wrong region, a clock that is off.",
    "StoreStalled": "Look for what holds the connection: a proxy, a firewall, a store under load.",
    "StoreThrottled": "Lower --max-workers, or ask for a higher quota; it was tried again as the store asked.",
    "StoreUnreachable": "Check --endpoint, DNS, proxies and network policy; it was tried again until the time was over.",
    "TaskDeadlineExceeded": "Give the task more time, or let it do less.",
    "TaskDeleted": "Run it again, unless somebody meant to stop it.",
    "TaskEvicted": "Run it again; ask for what it really needs if its node was under pressure.",
    "TaskFailed": "Look at the task's own log: the message is its own.",
    "TaskOutOfMemory": "Give the task a higher memory limit.",
    "TaskPreempted": "Run it again, or give it a higher priority.",
    "Truncated": "Look for a proxy that cuts answers off; it was tried again.",
    "UnknownLiteral": "Write the input with a current Flyte SDK, or update copilot.",
    "UnreadableOutput": "Leave one regular file or directory for the output, readable by the sidecar's user.",
    "UnsafePath": "Rename the object: it would be written outside the input directory, or twice in the same place.",
    "Conflict": "Read the resource again and repeat the change on what is there now.",
    "ControlPlane": "Look at the server's log.",
    "InvalidRequest": "Correct the field that the sentence names.",
    "NoSuchResource": "Check the name, the project and the domain.",
    "NotAllowed": "Ask for the right, or use a token that has it.",
    "NotServed": "Use a server that serves this service.",
    "ResourceExists": "Choose another name, or use what is there.",
    "StateChanged": "Nothing: it is tried again.",
    "TooLarge": "Send less at once: data belongs into the store.",
    "Unsupported": "Use another scheme for this: http(s) can only be read, for one.",
    "VaultSealed": "Unseal the vault.",
}

EXIT_CODES: Final = {
    ExitCode.OK: "all of it is done",
    ExitCode.INTERNAL: "a bug of ours",
    ExitCode.USAGE: "a flag, a file or a combination of them is wrong",
    ExitCode.STORE: "a store failed in some other way",
    ExitCode.NOT_FOUND: "an object or a bucket is not there",
    ExitCode.DENIED: "the store does not know us, or does not let us",
    ExitCode.UNREACHABLE: "the store did not answer in time, however often it was asked",
    ExitCode.INPUT: "the inputs cannot be used as they are",
    ExitCode.OUTPUT: "the outputs cannot be published as they are",
    ExitCode.LOCAL: "this machine: disk, permissions, files",
    ExitCode.TASK: "the task itself failed",
    ExitCode.SECRET: "a secret",
    ExitCode.UNPROVEN: "nobody can say how the task ended",
    ExitCode.DEADLINE: "the time given is over",
    ExitCode.CONTROL_PLANE: "the control plane",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
    ExitCode.TERMINATED: "told to stop (SIGTERM)",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason code.

    Attributes:
        code: stable: scripts and alerts may rely on it.
        cause: what happened.
        cure: what to do.
        exit_code: under the name ``copilot``.
        fault: ``user`` or ``system``.
        retried: whether it was tried again before it was told.
    """

    code: str
    cause: str
    cure: str
    exit_code: int
    fault: str
    retried: bool


def error_classes() -> Iterator[type[CopilotError]]:
    """Every error there is, parents before children."""
    for name in _MODULES:
        importlib.import_module(name)
    seen: set[type[CopilotError]] = set()
    queue: list[type[CopilotError]] = [CopilotError]
    while queue:
        kind = queue.pop(0)
        if kind not in seen and kind.__module__.startswith("copilot."):
            seen.add(kind)
            yield kind
        queue.extend(kind.__subclasses__())


def reasons() -> dict[str, Reason]:
    """Every reason code, by name. Where several classes share one, the most particular class says what it means."""
    found: dict[str, Reason] = {}
    for kind in error_classes():
        first = (kind.__doc__ or "").strip().splitlines()[0].rstrip(".") if kind is not CopilotError else ""
        if first:
            cure = CURES.get(kind.reason, kind.default_hint)
            found[kind.reason] = Reason(kind.reason, first, cure, kind.exit_code, kind.kind.value, kind.transient)
    return dict(sorted(found.items()))
