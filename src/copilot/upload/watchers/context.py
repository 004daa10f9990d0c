"""What watchers are opened with: places, time, and what stands for the outside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from copilot.engine.cancel import Latch

if TYPE_CHECKING:
    from copilot.core.ports import Clock, Log

SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
EVERY_S: Final = 5.0
"""How often the pod's witness asks while nothing is known: a thousand sidecars must not be a load for the API server."""


class SignalLatch(Latch, Protocol):
    """Remembers that a signal came; armed before anything else was imported."""

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks until it comes, at most ``timeout`` seconds; True if it did."""
        ...


@dataclass(frozen=True, slots=True)
class PodSource:
    """Where our pod is looked up.

    Attributes:
        api: the API server's URL.
        name: the pod's name.
        namespace: its namespace; empty: read from ``namespace_file``.
        container: the task's container; empty: as the pod's annotations say, else the first.
        token_file: the service account's token, read anew for every request since the kubelet renews it; empty: none.
        ca_file: who signed the server's certificate.
        namespace_file: where the pod's own namespace stands.
        every_s: seconds between two requests while nothing is known.
    """

    api: str
    name: str
    namespace: str = ""
    container: str = ""
    token_file: str = f"{SERVICE_ACCOUNT}/token"
    ca_file: str = f"{SERVICE_ACCOUNT}/ca.crt"
    namespace_file: str = f"{SERVICE_ACCOUNT}/namespace"
    every_s: float = EVERY_S


@dataclass(frozen=True, slots=True)
class WatcherContext:
    """What a watcher may need.

    Attributes:
        directory: the output directory.
        clock: for the time of an observation.
        log: for what people should know of the watching.
        latch: the process's SIGTERM latch; None where signals are nobody's business.
        control_dir: the control directory, where the wrapper leaves its word; None where there is none.
        pod: where our own pod is looked up; None outside of a pod.
        process_name: which processes are the task's; empty: all that are not ours.
    """

    directory: Path
    clock: Clock
    log: Log
    latch: SignalLatch | None = None
    control_dir: Path | None = None
    pod: PodSource | None = None
    process_name: str = ""
