"""What a server is told at its start, as frozen values. ``copilot.cli`` fills them from flags, environment and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from copilot.control_plane.lifecycle.moves import Budgets


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once, and how much at all.

    Attributes:
        max_pods: pods in flight on the executor, all projects together.
        max_root_pods: of these, pods of root actions; the rest is kept for what they call, so that callers cannot starve
            their own callees. None: half of ``max_pods``, rounded up.
        max_runs_per_project: root actions in flight in one project; 0: no limit of its own.
        max_inline_bytes: the largest inputs that are taken inline, and the largest outputs that are given inline.
        max_message_bytes: the largest message an RPC may carry.
        max_upload_bytes: the largest file that may be uploaded through a signed URL of ours.
        max_page: the most rows of one page of a list.
        max_labels: labels, annotations and variables of one run.
        max_url_s: the longest a signed URL may be good for.
    """

    max_pods: int = 64
    max_root_pods: int | None = None
    max_runs_per_project: int = 0
    max_inline_bytes: int = 32 * 1024 * 1024
    max_message_bytes: int = 48 * 1024 * 1024
    max_upload_bytes: int = 5 * 1024 * 1024 * 1024
    max_page: int = 200
    max_labels: int = 1_000
    max_url_s: float = 3600.0

    @property
    def root_pods(self) -> int:
        """``max_root_pods``, or what it is by default."""
        return self.max_root_pods if self.max_root_pods is not None else (self.max_pods + 1) // 2


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds.

    Attributes:
        lease_s: how long an attempt belongs to a server that has stopped renewing; a takeover waits as long.
        resync_s: how often pods are looked at although nothing was said of them.
        sweep_s: how often queues, deadlines and expired leases are looked at although nothing was said of them.
        abort_grace_s: what an aborted task gets between SIGTERM and SIGKILL.
        settle_s: how long a finished pod's side containers may take before the pod is deleted.
        start_s: how long a pod that has a node may be kept from starting: by an image, a missing Secret, a container that
            cannot be made. Flyte's propeller waits as long for an image.
        lost_s: how long a pod may be there beyond its deletion's grace before its node counts as lost.
        log_s: how long the log of an ended attempt is asked for, and a store that refuses it, before its pod goes without.
        crash_s: first wait before an attempt is taken up anew that a bug of ours has stopped.
        retry_s: first wait before an executor or a store that failed is asked again.
        alive_s: how long a followed log may say nothing before its client is told that it goes on.
    """

    lease_s: float = 15.0
    resync_s: float = 10.0
    sweep_s: float = 2.0
    abort_grace_s: float = 8.0
    settle_s: float = 30.0
    start_s: float = 180.0
    lost_s: float = 60.0
    log_s: float = 300.0
    crash_s: float = 5.0
    retry_s: float = 0.2
    alive_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """One server.

    Attributes:
        data: the directory of everything embedded: database, keys, local store.
        database: an SQLAlchemy URL without a driver; empty: SQLite under ``data``.
        store: the URI all objects lie below; empty: ``file://`` under ``data``.
        host: the address to listen on.
        port: the port; 0: any free one.
        metrics_host: the address that metrics are served on; empty: ``host``.
        metrics_port: their port; 0: any free one; None: they are not served.
        public_url: how clients and pods reach this server; empty: as each client says (its ``Host``), and for pods
            the address it listens on.
        require_auth: bearer tokens are needed. Off is refused beyond loopback unless ``insecure`` is set.
        insecure: listen beyond loopback without authentication; said in as many words by ``--insecure-no-auth``.
        namespace: the namespace of all pods.
        domains: the domains every project has.
        default_project: made at the first start, so that there is something to run in.
        pod_env: variables for the data-plane containers of every pod (store endpoints and credentials).
        task_env: variables for Python tasks, which read and write the store themselves.
        secret_keys: base64 keys of secrets at rest, the one that encrypts first; empty: a file under ``data``.
        url_key: the key of our own signed URLs; empty: a file under ``data``. Replicas need the same one.
        log_level: uvicorn's.
        limits, timing, budgets: see there.
    """

    data: Path
    database: str = ""
    store: str = ""
    host: str = "127.0.0.1"
    port: int = 8090
    metrics_host: str = ""
    metrics_port: int | None = None
    public_url: str = ""
    require_auth: bool = False
    insecure: bool = False
    namespace: str = "copilot"
    domains: tuple[str, ...] = ("development", "staging", "production")
    default_project: str = "flytesnacks"
    pod_env: Mapping[str, str] = field(default_factory=dict)
    task_env: Mapping[str, str] = field(default_factory=dict)
    secret_keys: tuple[str, ...] = field(default=(), repr=False)
    url_key: str = field(default="", repr=False)
    log_level: str = "warning"
    limits: Limits = field(default_factory=Limits)
    timing: Timing = field(default_factory=Timing)
    budgets: Budgets = field(default_factory=Budgets)

    @property
    def database_url(self) -> str:
        """The database, embedded if none was given."""
        return self.database or f"sqlite:///{self.data.resolve() / 'copilot.db'}"

    @property
    def store_base(self) -> str:
        """The URI all objects lie below, without a ``/`` at its end; embedded if none was given."""
        return (self.store or f"file://{self.data.resolve() / 'store'}").rstrip("/")


def default_data() -> Path:
    """Where an embedded server keeps its things when it is not told."""
    return Path("~/.local/share/copilot").expanduser()
