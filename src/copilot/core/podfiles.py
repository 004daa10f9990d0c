"""The container protocol's file names, in one place. ``docs/container-protocol.md`` prints this table; a test compares them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ARMED: Final = "ARMED"
READY: Final = "READY"
EXITCODE: Final = "exitcode"
RUNNING: Final = "running"
PROGRESS: Final = "progress"
SENT: Final = "sent"
PUBLISHED: Final = "published"
SECRETS: Final = "secrets"
ENVIRONMENT: Final = "environment"
SUCCESS_MARKER: Final = "_SUCCESS"
ERROR_MARKER: Final = "_ERROR"
INPUTS_PB: Final = "inputs.pb"
INPUTS_JSON: Final = "inputs.json"
INPUTS_YAML: Final = "inputs.yaml"
OUTPUTS_PB: Final = "outputs.pb"
ERROR_PB: Final = "error.pb"
ERRORS_PB: Final = "errors.pb"
MANIFEST: Final = "_manifest.json"
RECEIPT: Final = "_receipt.json"
PARTIAL: Final = "partial/"

MAX_ERROR_MARKER_BYTES: Final = 1024 * 1024
MAX_TERMINATION_MESSAGE_BYTES: Final = 4096

RESERVED_OUTPUT_NAMES: Final = frozenset({OUTPUTS_PB, ERROR_PB, ERRORS_PB, MANIFEST, RECEIPT, PARTIAL.rstrip("/")})


@dataclass(frozen=True, slots=True)
class PodFile:
    """One row of the protocol: a file, who writes it, who reads it, when, and how it appears."""

    name: str
    place: str
    writer: str
    reader: str
    when: str
    appears: str


PROTOCOL: Final = (
    PodFile(ARMED, "control directory", "sidecar", "startup probe", "SIGTERM is handled", "created whole"),
    PodFile(READY, "control directory", "init", "init (a second run)", "every input is in place", "renamed into place"),
    PodFile(INPUTS_PB, "input directory", "init", "task", "after the last input", "renamed into place"),
    PodFile(INPUTS_JSON, "input directory", "init", "task", "format JSON", "renamed into place"),
    PodFile(INPUTS_YAML, "input directory", "init", "task", "format YAML", "renamed into place"),
    PodFile(RUNNING, "control directory", "exec wrapper", "sidecar", "the command runs", "locked until the wrapper ends"),
    PodFile(EXITCODE, "control directory", "exec wrapper", "sidecar", "the command ended", "renamed into place"),
    PodFile(PROGRESS, "control directory", "init, sidecar", "people, probes", "while bytes move", "renamed into place"),
    PodFile(SECRETS, "control directory", "init", "sidecar", "secrets are delivered", "renamed into place, emptied when read"),
    PodFile(ENVIRONMENT, "control directory", "init", "exec wrapper", "secrets are delivered", "renamed into place"),
    PodFile(SENT, "control directory", "sidecar", "sidecar (after a restart)", "a file has arrived", "grows by whole lines"),
    PodFile(
        PUBLISHED, "control directory", "sidecar", "sidecar (after a restart)", "everything is published", "renamed into place"
    ),
    PodFile(SUCCESS_MARKER, "output directory", "task", "sidecar", "the task's last act", "as the task makes it"),
    PodFile(ERROR_MARKER, "output directory", "task", "sidecar", "the task gives up", "as the task makes it"),
    PodFile(MANIFEST, "output prefix", "sidecar", "control plane, people", "before outputs.pb", "one put"),
    PodFile(OUTPUTS_PB, "output prefix", "sidecar", "control plane", "last: it is the commit", "one put"),
    PodFile(ERROR_PB, "output prefix", "init, sidecar", "control plane", "the work failed", "one put"),
    PodFile(ERRORS_PB, "output prefix", "init, sidecar", "as the reference writes it", "the work failed", "one put"),
    PodFile(RECEIPT, "output prefix", "sidecar", "explain, people", "after every end", "one put"),
)
